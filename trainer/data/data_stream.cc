#include "trainer/data/data_stream.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/data_decoder.h"
#include "trainer/data/stored_bytes.h"

namespace regroup {

DataStream::DataStream(std::unique_ptr<StoredBytes> stored, std::unique_ptr<DataDecoder> decoder)
    : stored_(std::move(stored)), decoder_(std::move(decoder)) {}
DataStream::DataStream(DataStream&&) noexcept = default;
DataStream& DataStream::operator=(DataStream&&) noexcept = default;
DataStream::~DataStream() = default;

absl::StatusOr<DataStream> DataStream::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  auto stored = std::make_unique<StoredBytes>(std::move(file));
  REGROUP_RETURN_IF_ERROR(stored->Fill());
  std::unique_ptr<DataDecoder> decoder = MakeDataDecoder(stored->rest());
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
const std::filesystem::path& DataStream::path() const { return stored_->path(); }
uint64_t DataStream::bytes_read() const {
  return decoder_ == nullptr ? stored_->bytes_read() : decoder_->bytes_used(*stored_);
}
uint64_t DataStream::file_bytes() const { return stored_->file().bytes(); }

}  // namespace regroup
