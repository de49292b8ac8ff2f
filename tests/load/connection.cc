#include "tests/load/connection.h"

#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const LoadOptions& options) {
  auto connection = std::make_unique<Connection>();
  for (int i = 0; i < options.connections; ++i) {
    REGROUP_ASSIGN_OR_RETURN(auto channel, OpenChannel(options.coordinator, options.identity));
    connection->channels_.push_back(std::move(channel));
  }
  return connection;
}

v1::SubmitJobRequest LoadRequest(const std::string& request_id) {
  v1::SubmitJobRequest request;
  request.set_request_id(request_id);
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_name("load");
  spec.mutable_source()->set_checkpoint("/models/load");
  spec.mutable_target()->set_kv_heads(2);
  spec.mutable_calibration()->set_data("/data/train.jsonl");
  spec.mutable_finetune()->set_method("none");
  spec.mutable_output()->set_checkpoint("/models/" + request_id);
  return request;
}

}  // namespace regroup
