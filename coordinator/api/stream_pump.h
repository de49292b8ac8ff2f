// Writes messages from their sources into server streams, each at its reader's pace.
//
// A stream asks its source for the next message only after the last one was written, so a slow reader holds one message
// and delays no other. One thread serves all streams; it only reads the store and passes messages to gRPC.
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

class StreamPump {
 public:
  /// Limits all streams together, and those of one caller; without tokens the callers cannot be told apart.
  StreamPump(size_t max_streams, size_t max_per_caller)
      : max_streams_(max_streams), max_per_caller_(max_per_caller), thread_(&StreamPump::Run, this) {}
  ~StreamPump() { Stop(); }

  /// Keeps the stream until Remove. RESOURCE_EXHAUSTED (LIMIT_REACHED) if there are too many streams, of this caller or
  /// of all; UNAVAILABLE if the pump is ending them.
  absl::Status Add(std::shared_ptr<PumpedStream> stream, const std::string& caller);
  void Remove(const std::shared_ptr<PumpedStream>& stream);
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

  void Run();

  const size_t max_streams_;
  const size_t max_per_caller_;
  std::mutex mutex_;
  std::condition_variable has_work_;
  /// The caller of each stream, and the number of streams of each caller.
  std::map<std::shared_ptr<PumpedStream>, std::string> streams_;
  std::map<std::string, size_t> streams_of_;
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
    is_writing_ = true;
    this->StartWrite(&message_);
  }

  void End(const absl::Status& status) override { ending_ = status; }

  void OnWriteDone(bool ok) override {
    if (!ok) is_cancelled_ = true;
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
