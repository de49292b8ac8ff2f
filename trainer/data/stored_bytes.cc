#include "trainer/data/stored_bytes.h"

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 18;

}  // namespace

StoredBytes::StoredBytes(InputFile file) : file_(std::move(file)), piece_(kPieceBytes) {}

absl::Status StoredBytes::Fill() {
  used_ = 0;
  REGROUP_ASSIGN_OR_RETURN(filled_, file_.Read(piece_.data(), piece_.size()));
  digest_.Update({piece_.data(), filled_});
  bytes_read_ += filled_;
  return absl::OkStatus();
}

absl::StatusOr<std::string> StoredBytes::Digest() {
  do {
    REGROUP_RETURN_IF_ERROR(Fill());
  } while (filled_ > 0);
  return digest_.Finish();
}

}  // namespace regroup
