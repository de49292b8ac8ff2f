#include "trainer/data/data_decoder.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>

#include "services/common/base/status_macros.h"
#include "trainer/data/parquet/parquet_decoder.h"

namespace regroup {
namespace {

absl::Status Truncated(const std::filesystem::path& path, std::string_view format) {
  return absl::DataLossError(fmt::format(
      "{} ends before its {} data does: the file is truncated; copy or download it again", path.string(), format));
}

absl::Status Damaged(const std::filesystem::path& path, std::string_view format, std::string_view why) {
  return absl::DataLossError(fmt::format(
      "{} cannot be decompressed: its {} data is damaged ({}); copy or download it again", path.string(), format, why));
}

/// Reads a sequence of gzip members, which may be followed by zeros, as gzip itself does.
class GzipDecoder final : public DataDecoder {
 public:
  GzipDecoder() { is_ready_ = inflateInit2(&stream_, 15 + 16) == Z_OK; }
  ~GzipDecoder() override { inflateEnd(&stream_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  absl::StatusOr<size_t> Decode(StoredBytes& stored, char* buffer, size_t count) override {
    if (!is_ready_) return absl::ResourceExhaustedError("zlib has no memory");
    stream_.next_out = reinterpret_cast<Bytef*>(buffer);
    stream_.avail_out = static_cast<uInt>(count);
    while (stream_.avail_out == count) {
      if (stored.rest().empty()) REGROUP_RETURN_IF_ERROR(stored.Fill());
      if (stored.rest().empty() && is_in_member_) return Truncated(stored.path(), "gzip");
      if (stored.rest().empty()) return 0;
      if (!is_in_member_ && stored.rest().front() == '\0') {
        stored.Use(std::min(stored.rest().find_first_not_of('\0'), stored.rest().size()));
      } else {
        REGROUP_RETURN_IF_ERROR(Inflate(stored));
      }
    }
    return count - stream_.avail_out;
  }

 private:
  absl::Status Inflate(StoredBytes& stored) {
    if (!is_in_member_) inflateReset(&stream_);
    is_in_member_ = true;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stored.rest().data()));
    stream_.avail_in = static_cast<uInt>(stored.rest().size());
    const int code = inflate(&stream_, Z_NO_FLUSH);
    stored.Use(stored.rest().size() - stream_.avail_in);
    if (code == Z_STREAM_END) is_in_member_ = false;
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR) return absl::OkStatus();
    return Damaged(stored.path(), "gzip", stream_.msg == nullptr ? "no valid block" : stream_.msg);
  }

  z_stream stream_ = {};
  bool is_ready_ = false;
  bool is_in_member_ = false;
};

class ZstdDecoder final : public DataDecoder {
 public:
  ZstdDecoder() : context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {}

  absl::StatusOr<size_t> Decode(StoredBytes& stored, char* buffer, size_t count) override {
    if (context_ == nullptr) return absl::ResourceExhaustedError("zstd has no memory");
    ZSTD_outBuffer output{buffer, count, 0};
    while (output.pos == 0) {
      if (stored.rest().empty() && !holds_more_) {
        REGROUP_RETURN_IF_ERROR(stored.Fill());
        if (stored.rest().empty() && is_in_frame_) return Truncated(stored.path(), "Zstandard");
        if (stored.rest().empty()) return 0;
      }
      ZSTD_inBuffer input{stored.rest().data(), stored.rest().size(), 0};
      const size_t code = ZSTD_decompressStream(context_.get(), &output, &input);
      stored.Use(input.pos);
      if (ZSTD_isError(code)) return Damaged(stored.path(), "Zstandard", ZSTD_getErrorName(code));
      is_in_frame_ = code != 0;
      holds_more_ = is_in_frame_ && output.pos == output.size;
    }
    return output.pos;
  }

 private:
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context_;
  bool is_in_frame_ = false;
  /// True if the context may have content that did not fit.
  bool holds_more_ = false;
};

/// Returns true for a Zstandard frame, or one that is skipped, which parallel compressors write first.
bool IsZstd(std::string_view start) {
  const bool is_skipped = start.size() >= 4 && (start[0] & '\xf0') == '\x50' && start.substr(1, 3) == "\x2a\x4d\x18";
  return start.starts_with("\x28\xb5\x2f\xfd") || is_skipped;
}

}  // namespace

std::unique_ptr<DataDecoder> MakeDataDecoder(std::string_view start) {
  if (start.starts_with("\x1f\x8b")) return std::make_unique<GzipDecoder>();
  if (IsZstd(start)) return std::make_unique<ZstdDecoder>();
  if (start.starts_with("PAR1")) return std::make_unique<ParquetDecoder>();
  return nullptr;
}

}  // namespace regroup
