#include "services/common/rpc/status.h"

#include "absl/strings/cord.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace regroup {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/google.rpc.";
constexpr char kBadRequest[] = "type.googleapis.com/google.rpc.BadRequest";

// A status is sent in HTTP headers, of which gRPC's clients accept 8 KiB: the message twice (once percent encoded, once
// with the details in base64) and the details must stay below.
constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxDetailBytes = 2000;

/// Returns the first `most` bytes of the text, not cut within a UTF-8 character.
std::string Beginning(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return text.substr(0, most) + " ...";
}

/// Drops the last violations of a long list: if the details do not fit, the client loses the whole answer.
std::string FittingDetail(const std::string& url, const std::string& value) {
  google::rpc::BadRequest list;
  if (value.size() <= kMaxDetailBytes || url != kBadRequest) return value;
  if (!list.ParseFromString(value)) return value;
  while (list.ByteSizeLong() > kMaxDetailBytes) list.mutable_field_violations()->RemoveLast();
  return list.SerializeAsString();
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(Beginning(std::string(status.message()), kMaxMessageBytes));
  status.ForEachPayload([&wire](absl::string_view type_url, const absl::Cord& payload) {
    const std::string url(type_url);
    if (!url.starts_with(kTypePrefix)) return;
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
