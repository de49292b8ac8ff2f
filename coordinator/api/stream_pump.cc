#include "coordinator/api/stream_pump.h"

namespace regroup {

bool StreamPump::Add(std::shared_ptr<PumpedStream> stream) {
  std::lock_guard lock(mutex_);
  if (ending_ || streams_.size() >= max_streams_) return false;
  streams_.insert(std::move(stream));
  return true;
}

void StreamPump::Remove(const std::shared_ptr<PumpedStream>& stream) {
  std::lock_guard lock(mutex_);
  streams_.erase(stream);
}

void StreamPump::Wake(const std::shared_ptr<PumpedStream>& stream) {
  if (stream->is_queued_.exchange(true)) return;
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({stream, absl::OkStatus()});
  }
  has_work_.notify_one();
}

void StreamPump::End(const std::shared_ptr<PumpedStream>& stream, const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back({stream, status});
  }
  has_work_.notify_one();
}

void StreamPump::EndStreams() {
  std::set<std::shared_ptr<PumpedStream>> streams;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    streams = streams_;
  }
  for (const auto& stream : streams) Wake(stream);
}

void StreamPump::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  has_work_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void StreamPump::Run() {
  while (true) {
    std::shared_ptr<PumpedStream> stream;
    absl::Status ending;
    {
      std::unique_lock lock(mutex_);
      has_work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      stream = std::move(queue_.front().stream);
      ending = std::move(queue_.front().ending);
      queue_.pop_front();
      if (ending_) ending = absl::UnavailableError("the coordinator is stopping");
    }
    // Cleared first: a wake during Advance must lead to another Advance.
    stream->is_queued_ = false;
    if (!ending.ok()) stream->End(ending);
    stream->Advance();
  }
}

}  // namespace regroup
