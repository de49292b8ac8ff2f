#include "trainer/data/parquet/parquet_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "services/common/base/status_macros.h"

namespace regroup {

absl::Status ParquetDecoder::Open(StoredBytes& stored) {
  std::string error;
  const ParquetRows::Open open = ParquetRows::Load(error);
  if (open == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("{} is a Parquet file, which this build of Regroup does not read ({}); write it as JSON Lines, for "
                    "example with pandas.read_parquet(FILE).to_json(\"data.jsonl\", orient=\"records\", lines=True)",
                    stored.path().string(), error));
  }
  REGROUP_ASSIGN_OR_RETURN(file_, CheckedFile::Read(stored));
  const auto read = [this](uint64_t offset, char* buffer, size_t count) {
    file_error_ = file_->ReadAt(offset, buffer, count);
    return std::string(file_error_.message());
  };
  rows_.reset(open(file_->bytes(), read, error));
  return rows_ == nullptr ? Failed(stored, error) : absl::OkStatus();
}

absl::Status ParquetDecoder::Failed(const StoredBytes& stored, const std::string& error) const {
  if (!file_error_.ok() && !absl::IsOutOfRange(file_error_)) return file_error_;
  return absl::DataLossError(fmt::format("{} cannot be read as Parquet: {}", stored.path().string(), error));
}

absl::Status ParquetDecoder::ReadRow(const StoredBytes& stored) {
  line_.clear();
  used_ = 0;
  std::string error;
  if (rows_->Next(line_, error)) {
    line_ += '\n';
  } else if (!error.empty()) {
    return Failed(stored, error);
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> ParquetDecoder::Decode(StoredBytes& stored, char* buffer, size_t count) {
  if (rows_ == nullptr) REGROUP_RETURN_IF_ERROR(Open(stored));
  size_t filled = 0;
  while (filled < count) {
    if (used_ == line_.size()) REGROUP_RETURN_IF_ERROR(ReadRow(stored));
    if (line_.empty()) break;
    const size_t part = std::min(count - filled, line_.size() - used_);
    std::memcpy(buffer + filled, line_.data() + used_, part);
    used_ += part;
    filled += part;
  }
  return filled;
}

uint64_t ParquetDecoder::bytes_used(const StoredBytes& stored) const {
  const double progress = rows_ == nullptr ? 0 : rows_->progress();
  return static_cast<uint64_t>(progress * static_cast<double>(stored.file().bytes()));
}

}  // namespace regroup
