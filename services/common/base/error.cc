#include "services/common/base/error.h"

#include <fmt/format.h>

#include <optional>

#include "absl/strings/cord.h"

namespace regroup {
namespace {

constexpr char kDomain[] = "regroup";

template <typename Message>
std::string TypeUrl() {
  return "type.googleapis.com/" + Message::descriptor()->full_name();
}

template <typename Message>
void AddPayload(absl::Status* status, const Message& message) {
  status->SetPayload(TypeUrl<Message>(), absl::Cord(message.SerializeAsString()));
}

template <typename Message>
std::optional<Message> PayloadOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(TypeUrl<Message>());
  Message message;
  if (!payload || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, v1::ErrorReason reason, std::string_view message,
                       const std::vector<FieldViolation>& violations) {
  absl::Status status(code, std::string(message));
  google::rpc::ErrorInfo info;
  info.set_reason(v1::ErrorReason_Name(reason));
  info.set_domain(kDomain);
  AddPayload(&status, info);
  if (violations.empty()) return status;
  google::rpc::BadRequest bad_request;
  for (const FieldViolation& violation : violations) *bad_request.add_field_violations() = violation;
  AddPayload(&status, bad_request);
  return status;
}

absl::Status InvalidFields(const std::vector<FieldViolation>& violations) {
  std::string message;
  for (const FieldViolation& violation : violations) {
    if (!message.empty()) message += '\n';
    message += violation.field().empty() ? violation.description()
                                         : fmt::format("{}: {}", violation.field(), violation.description());
  }
  return MakeError(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD, message, violations);
}

v1::ErrorReason ReasonOf(const absl::Status& status) {
  const auto info = PayloadOf<google::rpc::ErrorInfo>(status);
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  if (info) v1::ErrorReason_Parse(info->reason(), &reason);
  return reason;
}

std::vector<FieldViolation> ViolationsOf(const absl::Status& status) {
  const auto bad_request = PayloadOf<google::rpc::BadRequest>(status);
  if (!bad_request) return {};
  return {bad_request->field_violations().begin(), bad_request->field_violations().end()};
}

}  // namespace regroup
