#include "trainer/data/data_stream.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "services/common/base/input_file.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 18;

absl::Status Truncated(const std::filesystem::path& path, std::string_view format) {
  return absl::DataLossError(fmt::format(
      "{} ends before its {} data does: the file is truncated; copy or download it again", path.string(), format));
}

absl::Status Damaged(const std::filesystem::path& path, std::string_view format, std::string_view why) {
  return absl::DataLossError(fmt::format(
      "{} cannot be decompressed: its {} data is damaged ({}); copy or download it again", path.string(), format, why));
}

}  // namespace

/// The file as it is stored, piece by piece.
class DataStream::StoredBytes {
 public:
  explicit StoredBytes(InputFile file) : file_(std::move(file)), piece_(kPieceBytes) {}

  /// Replaces the piece, of which everything was used; it is empty at the end of the file.
  absl::Status Fill() {
    used_ = 0;
    REGROUP_ASSIGN_OR_RETURN(filled_, file_.Read(piece_.data(), piece_.size()));
    digest_.Update({piece_.data(), filled_});
    bytes_read_ += filled_;
    return absl::OkStatus();
  }
  /// Returns what is left of the piece.
  std::string_view rest() const { return {piece_.data() + used_, filled_ - used_}; }
  void Use(size_t count) { used_ += count; }

  absl::StatusOr<std::string> Digest() {
    do {
      REGROUP_RETURN_IF_ERROR(Fill());
    } while (filled_ > 0);
    return digest_.Finish();
  }

  const InputFile& file() const { return file_; }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  InputFile file_;
  std::vector<char> piece_;
  size_t filled_ = 0, used_ = 0;
  uint64_t bytes_read_ = 0;
  Sha256 digest_;
};

class DataStream::Decoder {
 public:
  virtual ~Decoder() = default;
  /// Decompresses up to `count` bytes; 0 at the end of the file.
  virtual absl::StatusOr<size_t> Decode(StoredBytes& stored, char* buffer, size_t count) = 0;
};

/// Reads a sequence of gzip members, which may be followed by zeros, as gzip itself does.
class DataStream::GzipDecoder : public Decoder {
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
      if (stored.rest().empty() && is_in_member_) return Truncated(stored.file().path(), "gzip");
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
    return Damaged(stored.file().path(), "gzip", stream_.msg == nullptr ? "no valid block" : stream_.msg);
  }

  z_stream stream_ = {};
  bool is_ready_ = false;
  bool is_in_member_ = false;
};

class DataStream::ZstdDecoder : public Decoder {
 public:
  ZstdDecoder() : context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {}

  absl::StatusOr<size_t> Decode(StoredBytes& stored, char* buffer, size_t count) override {
    if (context_ == nullptr) return absl::ResourceExhaustedError("zstd has no memory");
    ZSTD_outBuffer output{buffer, count, 0};
    while (output.pos == 0) {
      if (stored.rest().empty() && !holds_more_) {
        REGROUP_RETURN_IF_ERROR(stored.Fill());
        if (stored.rest().empty() && is_in_frame_) return Truncated(stored.file().path(), "Zstandard");
        if (stored.rest().empty()) return 0;
      }
      ZSTD_inBuffer input{stored.rest().data(), stored.rest().size(), 0};
      const size_t code = ZSTD_decompressStream(context_.get(), &output, &input);
      stored.Use(input.pos);
      if (ZSTD_isError(code)) return Damaged(stored.file().path(), "Zstandard", ZSTD_getErrorName(code));
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

DataStream::DataStream(std::unique_ptr<StoredBytes> stored, std::unique_ptr<Decoder> decoder)
    : stored_(std::move(stored)), decoder_(std::move(decoder)) {}
DataStream::DataStream(DataStream&&) noexcept = default;
DataStream& DataStream::operator=(DataStream&&) noexcept = default;
DataStream::~DataStream() = default;

absl::StatusOr<DataStream> DataStream::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  auto stored = std::make_unique<StoredBytes>(std::move(file));
  REGROUP_RETURN_IF_ERROR(stored->Fill());
  const std::string_view start = stored->rest();
  std::unique_ptr<Decoder> decoder;
  if (start.starts_with("\x1f\x8b")) decoder = std::make_unique<GzipDecoder>();
  // A frame, or one that is skipped, which parallel compressors write first.
  const bool is_skipped = start.size() >= 4 && (start[0] & '\xf0') == '\x50' && start.substr(1, 3) == "\x2a\x4d\x18";
  if (start.starts_with("\x28\xb5\x2f\xfd") || is_skipped) decoder = std::make_unique<ZstdDecoder>();
  return DataStream(std::move(stored), std::move(decoder));
}

absl::StatusOr<size_t> DataStream::Read(char* buffer, size_t count) {
  if (decoder_ != nullptr) return decoder_->Decode(*stored_, buffer, count);
  if (stored_->rest().empty()) REGROUP_RETURN_IF_ERROR(stored_->Fill());
  const size_t got = std::min(count, stored_->rest().size());
  std::memcpy(buffer, stored_->rest().data(), got);
  stored_->Use(got);
  return got;
}

absl::StatusOr<std::string> DataStream::Digest() { return stored_->Digest(); }
const std::filesystem::path& DataStream::path() const { return stored_->file().path(); }
uint64_t DataStream::bytes_read() const { return stored_->bytes_read(); }
uint64_t DataStream::file_bytes() const { return stored_->file().bytes(); }

}  // namespace regroup
