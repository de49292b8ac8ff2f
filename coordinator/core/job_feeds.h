// Wakes streams when their job has changed. They read the changes from the store at their own pace, so a slow reader
// delays no other.
//
// Progress and the reason for waiting are not stored: their latest values are kept here while a stream watches.
//
// Every function may be called from any thread; wakes run on the caller of Notify and Publish and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"

namespace regroup {

class JobFeeds {
 public:
  using Wake = std::function<void()>;

  /// A job with its live parts. Version 0 means that there is none yet.
  struct Live {
    int64_t version = 0;
    v1::Job job;
  };

  /// Ends the subscription when destroyed; a wake may still be running then.
  using Subscription = std::shared_ptr<void>;

  [[nodiscard]] Subscription Subscribe(const std::string& job, Wake wake);

  /// Wakes the job's streams after a change was stored.
  void Notify(const std::string& job);
  /// Keeps the job as it is now. Wakes its streams only if the progress or the reason for waiting has changed.
  void Publish(const std::string& job, v1::Job described);

  std::vector<std::string> Subscribed() const;
  Live Latest(const std::string& job) const;

 private:
  struct Feed {
    std::map<int64_t, std::shared_ptr<const Wake>> wakes;
    Live live;
  };

  void Unsubscribe(const std::string& job, int64_t id);
  std::vector<std::shared_ptr<const Wake>> WakesOf(const std::string& job) const;

  mutable std::mutex mutex_;
  std::map<std::string, Feed> feeds_;
  int64_t next_id_ = 1;
};

}  // namespace regroup
