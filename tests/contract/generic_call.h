// Calls any RPC by its name, with a request of any type, for tests that iterate over all RPCs.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "services/common/rpc/status.h"

namespace regroup {

/// Returns the status of a unary or server-streaming call "/regroup.v1.JobService/GetJob" with any bytes as its
/// request; a stream is cancelled after its first message. `token` may be empty, and `reply` null.
inline absl::Status GenericCallWithBytes(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                                         const std::string& bytes, const std::string& token,
                                         std::chrono::milliseconds patience, std::string* reply_bytes = nullptr) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + patience);
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer body(&slice, 1);
  grpc::CompletionQueue queue;
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  const auto call = stub.PrepareCall(&context, path, &queue);
  call->StartCall(nullptr);
  wait();
  call->WriteLast(body, grpc::WriteOptions(), nullptr);
  wait();
  grpc::ByteBuffer reply;
  call->Read(&reply, nullptr);
  const bool has_reply = wait();
  if (has_reply && reply_bytes != nullptr) {
    grpc::Slice whole;
    if (reply.DumpToSingleSlice(&whole).ok()) {
      reply_bytes->assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
    }
  }
  if (has_reply) context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  queue.Shutdown();
  while (wait()) {
  }
  // A stream that delivered a message was accepted, whatever its status after the cancellation.
  return has_reply ? absl::OkStatus() : FromGrpc(status);
}

/// Does the same with a request as a message.
inline absl::Status GenericCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                                const google::protobuf::Message& request, const std::string& token,
                                google::protobuf::Message* reply = nullptr) {
  std::string bytes;
  absl::Status status =
      GenericCallWithBytes(channel, path, request.SerializeAsString(), token, std::chrono::seconds(20), &bytes);
  if (reply != nullptr && !reply->ParseFromString(bytes)) return absl::InternalError("the reply cannot be read");
  return status;
}

}  // namespace regroup
