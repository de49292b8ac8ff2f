#include "services/common/rpc/status.h"

#include <fmt/format.h>

#include <optional>

#include "absl/strings/cord.h"
#include "google/rpc/status.pb.h"

namespace regroup {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";
constexpr char kDomain[] = "regroup";

// An answer's status travels in HTTP headers, of which gRPC's clients take 8 KiB: the message twice (once percent
// encoded, once with the details in base64) and the details must stay below.
constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxDetailBytes = 2000;

template <typename Message>
std::string TypeUrl() {
  return kTypePrefix + Message::descriptor()->full_name();
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

/// The text up to `most` bytes, not cut within a character.
std::string Beginning(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return text.substr(0, most) + " ...";
}

/// Leaves out the last violations of a long list: what does not fit behind an answer is lost with the whole answer.
std::string FittingDetail(const std::string& url, const std::string& value) {
  google::rpc::BadRequest list;
  if (value.size() <= kMaxDetailBytes || url != TypeUrl<google::rpc::BadRequest>()) return value;
  if (!list.ParseFromString(value)) return value;
  while (list.ByteSizeLong() > kMaxDetailBytes) list.mutable_field_violations()->RemoveLast();
  return list.SerializeAsString();
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

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(Beginning(std::string(status.message()), kMaxMessageBytes));
  status.ForEachPayload([&wire](absl::string_view type_url, const absl::Cord& payload) {
    const std::string url(type_url);
    if (url.rfind(std::string(kTypePrefix) + "google.rpc.", 0) != 0) return;
    google::protobuf::Any* detail = wire.add_details();
    detail->set_type_url(url);
    detail->set_value(FittingDetail(url, std::string(payload)));
  });
  return {static_cast<grpc::StatusCode>(status.code()), wire.message(), wire.SerializeAsString()};
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status wire;
  if (!wire.ParseFromString(status.error_details())) return result;
  for (const google::protobuf::Any& detail : wire.details()) {
    result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

}  // namespace regroup
