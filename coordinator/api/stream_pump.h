// Writes messages from their sources into server streams, each at its reader's pace.
//
// A stream asks its source for the next message only after the last one was written, so a slow reader holds one message
// and delays no other. The last messages of all streams of one caller are bounded in bytes, because gRPC keeps what was
// not read: the stream that would exceed the bound ends. One thread serves all streams; it only reads the store and
// passes messages to gRPC.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/rpc/status.h"

namespace regroup {

/// Result of StreamSource::Read.
enum class Next { kMessage, kNothingYet, kEnd };

/// Source of the messages of one stream. Called by the pump's thread only.
template <typename Message>
class StreamSource {
 public:
  virtual ~StreamSource() = default;
  /// Fills in the message. kEnd ends the stream with OK, an error ends it with that error.
  virtual absl::StatusOr<Next> Read(Message* message) = 0;
};

/// The pump's interface to a stream.
class PumpedStream {
 public:
  virtual ~PumpedStream() = default;
  /// Sends as much as possible without waiting.
  virtual void Advance() = 0;
  /// Ends the stream with the status as soon as the current message is written.
  virtual void End(const absl::Status& status) = 0;

 private:
  friend class StreamPump;
  std::atomic<bool> is_queued_ = false;
};

struct StreamLimits {
  /// Streams of all callers together.
  size_t streams = 1000;
  /// Streams of one caller; without tokens the callers cannot be told apart, and have no limit of their own.
  size_t per_caller = 200;
  /// Bytes of the last messages of all streams of one caller, or of all callers without tokens.
  size_t bytes_per_caller = size_t{128} << 20;
};

class StreamPump {
 public:
  explicit StreamPump(const StreamLimits& limits) : limits_(limits), thread_(&StreamPump::Run, this) {}
  ~StreamPump() { Stop(); }

  /// Keeps the stream until Remove. RESOURCE_EXHAUSTED (LIMIT_REACHED) if there are too many streams, of this caller or
  /// of all; UNAVAILABLE if the pump is ending them.
  absl::Status Add(std::shared_ptr<PumpedStream> stream, const std::string& caller);
  void Remove(const std::shared_ptr<PumpedStream>& stream);
  /// Counts a message that the stream is about to write, until its next one or its end. RESOURCE_EXHAUSTED
  /// (LIMIT_REACHED) if the messages of its caller would then exceed their bound; a caller's only message never does.
  absl::Status Hold(const std::shared_ptr<PumpedStream>& stream, size_t bytes);
  /// Lets the stream advance soon.
  void Wake(const std::shared_ptr<PumpedStream>& stream);

  /// Ends one stream with the status, soon.
  void End(const std::shared_ptr<PumpedStream>& stream, const absl::Status& status);

  /// Ends all streams, present and future, with UNAVAILABLE; the pump keeps running to end them.
  void EndStreams();
  /// Stops the thread; no stream may be left.
  void Stop();

 private:
  struct Entry {
    std::shared_ptr<PumpedStream> stream;
    /// OK, or the status to end the stream with.
    absl::Status ending;
  };

  /// A caller's name, and the bytes of the stream's last message.
  struct Held {
    std::string caller;
    size_t bytes = 0;
  };
  /// The streams of one caller, and the bytes of their messages.
  struct Share {
    size_t streams = 0;
    size_t bytes = 0;
  };

  void Run();

  const StreamLimits limits_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  std::map<std::shared_ptr<PumpedStream>, Held> streams_;
  std::map<std::string, Share> shares_;
  std::deque<Entry> queue_;
  bool ending_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

/// A server stream that reads from a source. The pump owns it until gRPC is done with it.
template <typename Message>
class SourcedStream : public grpc::ServerWriteReactor<Message>,
                      public PumpedStream,
                      public std::enable_shared_from_this<SourcedStream<Message>> {
 public:
  SourcedStream(StreamPump* pump, std::unique_ptr<StreamSource<Message>> source)
      : pump_(pump), source_(std::move(source)) {}

  /// Keeps an object, such as a subscription, for the life of the stream.
  void Keep(std::shared_ptr<void> kept) { kept_.push_back(std::move(kept)); }

  void Advance() override {
    if (is_writing_ || is_finished_) return;
    if (!ending_.ok()) return FinishWith(ending_);
    if (is_cancelled_) return FinishWith(absl::CancelledError("the caller is gone"));
    message_.Clear();
    const absl::StatusOr<Next> next = source_->Read(&message_);
    if (!next.ok()) return FinishWith(next.status());
    if (*next == Next::kEnd) return FinishWith(absl::OkStatus());
    if (*next == Next::kNothingYet) return;
    const absl::Status held = pump_->Hold(this->shared_from_this(), message_.ByteSizeLong());
    if (!held.ok()) return FinishWith(held);
    is_writing_ = true;
    this->StartWrite(&message_);
  }

  void End(const absl::Status& status) override { ending_ = status; }

  void OnWriteDone(bool ok) override {
    if (!ok) is_cancelled_ = true;
    // Frees the memory, which Clear would keep.
    message_ = Message();
    is_writing_ = false;
    pump_->Wake(this->shared_from_this());
  }
  void OnCancel() override {
    is_cancelled_ = true;
    pump_->Wake(this->shared_from_this());
  }
  void OnDone() override { pump_->Remove(this->shared_from_this()); }

 private:
  void FinishWith(const absl::Status& status) {
    is_finished_ = true;
    this->Finish(ToGrpc(status));
  }

  StreamPump* const pump_;
  std::unique_ptr<StreamSource<Message>> source_;
  std::vector<std::shared_ptr<void>> kept_;
  Message message_;
  std::atomic<bool> is_writing_ = false;
  std::atomic<bool> is_cancelled_ = false;
  // Owned by the pump's thread.
  bool is_finished_ = false;
  absl::Status ending_;
};

/// A server stream that ends at once with a status.
template <typename Message>
class EndedStream : public grpc::ServerWriteReactor<Message> {
 public:
  explicit EndedStream(const absl::Status& status) { this->Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace regroup
