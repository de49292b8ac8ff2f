// One call that a CallGate has admitted: reads the request, checks its limits, parses it, and runs the service's own
// method with it, as if gRPC had called the service.
//
// A service written for gRPC's callback interface is used unchanged: its reactors are bound to an object of this file
// instead of one of gRPC's. gRPC calls from its threads; the call deletes itself at its end.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <functional>
#include <utility>

#include "services/common/rpc/request_limits.h"

namespace regroup {

/// The part that is the same for all types of requests and replies.
class GatedCall : public grpc::ServerGenericBidiReactor {
 public:
  GatedCall(const google::protobuf::Descriptor& request_type, const RequestLimits& limits)
      : request_type_(request_type), limits_(limits) {
    StartRead(&bytes_);
  }

  void OnReadDone(bool ok) final;
  void OnCancel() final;
  void OnDone() final;

 protected:
  /// Parses the request and runs the service's method; sets the reactor that it returns.
  virtual grpc::Status Serve(grpc::ByteBuffer* bytes) = 0;

  grpc::internal::ServerReactor* reactor_ = nullptr;

 private:
  enum State : unsigned { kIsServed = 1, kIsCancelled = 2 };

  const google::protobuf::Descriptor& request_type_;
  const RequestLimits limits_;
  grpc::ByteBuffer bytes_;
  std::atomic<unsigned> state_ = 0;
};

template <typename Request, typename Response>
class GatedUnaryCall final : public GatedCall {
 public:
  using Method = std::function<grpc::ServerUnaryReactor*(grpc::CallbackServerContext*, const Request*, Response*)>;

  /// `method` must outlive the call.
  GatedUnaryCall(grpc::CallbackServerContext* context, const Method* method, const RequestLimits& limits)
      : GatedCall(*Request::descriptor(), limits), context_(context), method_(method), reply_(this) {}

 private:
  /// Takes the place of gRPC's call for the service's reactor.
  class Reply final : public grpc::ServerCallbackUnary {
   public:
    explicit Reply(GatedUnaryCall* call) : call_(call) {}
    void Bind(grpc::ServerUnaryReactor* reactor) { BindReactor(reactor); }
    void Finish(grpc::Status status) override { call_->FinishWithReply(std::move(status)); }
    void SendInitialMetadata() override { call_->StartSendInitialMetadata(); }

   private:
    grpc::internal::ServerReactor* reactor() override { return call_->reactor_; }
    // The gated call calls OnDone itself.
    void CallOnDone() override {}

    GatedUnaryCall* const call_;
  };

  grpc::Status Serve(grpc::ByteBuffer* bytes) override {
    const grpc::Status parsed = grpc::SerializationTraits<Request>::Deserialize(bytes, &request_);
    if (!parsed.ok()) return parsed;
    grpc::ServerUnaryReactor* reactor = (*method_)(context_, &request_, &response_);
    reactor_ = reactor;
    reply_.Bind(reactor);
    return grpc::Status::OK;
  }

  void FinishWithReply(grpc::Status status) {
    if (!status.ok()) return Finish(std::move(status));
    bool own = false;
    grpc::Status written = grpc::SerializationTraits<Response>::Serialize(response_, &response_bytes_, &own);
    if (!written.ok()) return Finish(std::move(written));
    StartWriteAndFinish(&response_bytes_, grpc::WriteOptions(), std::move(status));
  }

  grpc::CallbackServerContext* const context_;
  const Method* const method_;
  Reply reply_;
  Request request_;
  Response response_;
  grpc::ByteBuffer response_bytes_;
};

template <typename Request, typename Response>
class GatedStream final : public GatedCall {
 public:
  using Method = std::function<grpc::ServerWriteReactor<Response>*(grpc::CallbackServerContext*, const Request*)>;

  /// `method` must outlive the call.
  GatedStream(grpc::CallbackServerContext* context, const Method* method, const RequestLimits& limits)
      : GatedCall(*Request::descriptor(), limits), context_(context), method_(method), writer_(this) {}

  void OnWriteDone(bool ok) override { stream_->OnWriteDone(ok); }

 private:
  /// Takes the place of gRPC's writer for the service's reactor.
  class Writer final : public grpc::ServerCallbackWriter<Response> {
   public:
    explicit Writer(GatedStream* call) : call_(call) {}
    void Bind(grpc::ServerWriteReactor<Response>* reactor) { this->BindReactor(reactor); }
    void Finish(grpc::Status status) override { call_->Finish(std::move(status)); }
    void SendInitialMetadata() override { call_->StartSendInitialMetadata(); }
    void Write(const Response* message, grpc::WriteOptions options) override {
      call_->Encode(*message);
      call_->StartWrite(&call_->message_bytes_, options);
    }
    void WriteAndFinish(const Response* message, grpc::WriteOptions options, grpc::Status status) override {
      call_->Encode(*message);
      call_->StartWriteAndFinish(&call_->message_bytes_, options, std::move(status));
    }

   private:
    grpc::internal::ServerReactor* reactor() override { return call_->reactor_; }
    // The gated call calls OnDone itself.
    void CallOnDone() override {}

    GatedStream* const call_;
  };

  grpc::Status Serve(grpc::ByteBuffer* bytes) override {
    const grpc::Status parsed = grpc::SerializationTraits<Request>::Deserialize(bytes, &request_);
    if (!parsed.ok()) return parsed;
    stream_ = (*method_)(context_, &request_);
    reactor_ = stream_;
    writer_.Bind(stream_);
    return grpc::Status::OK;
  }

  void Encode(const Response& message) {
    bool own = false;
    message_bytes_.Clear();
    grpc::SerializationTraits<Response>::Serialize(message, &message_bytes_, &own);
  }

  grpc::CallbackServerContext* const context_;
  const Method* const method_;
  Writer writer_;
  Request request_;
  grpc::ServerWriteReactor<Response>* stream_ = nullptr;
  grpc::ByteBuffer message_bytes_;
};

}  // namespace regroup
