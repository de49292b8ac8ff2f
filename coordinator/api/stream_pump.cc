#include "coordinator/api/stream_pump.h"

#include <fmt/format.h>

#include <vector>

#include "services/common/base/error.h"

namespace regroup {

absl::Status StreamPump::Add(std::shared_ptr<PumpedStream> stream, const std::string& caller) {
  const std::lock_guard lock(mutex_);
  if (ending_) return absl::UnavailableError("the coordinator is stopping");
  if (streams_.size() >= limits_.streams) {
    return MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
                     fmt::format("{} streams are open; try again later", streams_.size()));
  }
  Share& own = shares_[caller];
  if (!caller.empty() && own.streams >= limits_.per_caller) {
    return MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
                     fmt::format("{} streams of \"{}\" are open; end some, or try again later", own.streams, caller));
  }
  ++own.streams;
  streams_.emplace(std::move(stream), Held{caller});
  return absl::OkStatus();
}

void StreamPump::Remove(const std::shared_ptr<PumpedStream>& stream) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return;
  const auto own = shares_.find(found->second.caller);
  own->second.bytes -= found->second.bytes;
  if (--own->second.streams == 0) shares_.erase(own);
  streams_.erase(found);
}

absl::Status StreamPump::Hold(const std::shared_ptr<PumpedStream>& stream, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return absl::CancelledError("the stream has ended");
  size_t& own = shares_.at(found->second.caller).bytes;
  const size_t others = own - found->second.bytes;
  if (others > 0 && others + bytes > limits_.bytes_per_caller) {
    return MakeError(absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
                     fmt::format("the streams of this caller hold {} bytes; end some, or try again later", others));
  }
  own = others + bytes;
  found->second.bytes = bytes;
  return absl::OkStatus();
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
  std::vector<std::shared_ptr<PumpedStream>> streams;
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    for (const auto& [stream, caller] : streams_) streams.push_back(stream);
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
