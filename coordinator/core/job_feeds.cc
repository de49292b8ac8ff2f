#include "coordinator/core/job_feeds.h"

#include <google/protobuf/util/message_differencer.h>

namespace regroup {
namespace {

bool IsSameProgress(const v1::Job& a, const v1::Job& b) {
  if (a.revision() != b.revision() || a.waiting_reason() != b.waiting_reason()) return false;
  if (a.tasks_size() != b.tasks_size()) return false;
  for (int task = 0; task < a.tasks_size(); ++task) {
    using google::protobuf::util::MessageDifferencer;
    if (!MessageDifferencer::Equals(a.tasks(task).progress(), b.tasks(task).progress())) return false;
  }
  return true;
}

}  // namespace

JobFeeds::Subscription JobFeeds::Subscribe(const std::string& job, Wake wake) {
  std::lock_guard lock(mutex_);
  const int64_t id = next_id_++;
  feeds_[job].wakes[id] = std::make_shared<const Wake>(std::move(wake));
  return Subscription(nullptr, [this, job, id](void*) { Unsubscribe(job, id); });
}

void JobFeeds::Unsubscribe(const std::string& job, int64_t id) {
  std::lock_guard lock(mutex_);
  const auto feed = feeds_.find(job);
  feed->second.wakes.erase(id);
  if (feed->second.wakes.empty()) feeds_.erase(feed);
}

void JobFeeds::Notify(const std::string& job) {
  for (const auto& wake : WakesOf(job)) (*wake)();
}

void JobFeeds::Publish(const std::string& job, v1::Job described) {
  {
    std::lock_guard lock(mutex_);
    const auto feed = feeds_.find(job);
    if (feed == feeds_.end()) return;
    Live& live = feed->second.live;
    if (live.version > 0 && IsSameProgress(live.job, described)) return;
    live.job = std::move(described);
    ++live.version;
  }
  Notify(job);
}

std::vector<std::string> JobFeeds::Subscribed() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> jobs;
  for (const auto& [job, feed] : feeds_) jobs.push_back(job);
  return jobs;
}

JobFeeds::Live JobFeeds::Latest(const std::string& job) const {
  std::lock_guard lock(mutex_);
  const auto feed = feeds_.find(job);
  return feed == feeds_.end() ? Live() : feed->second.live;
}

std::vector<std::shared_ptr<const JobFeeds::Wake>> JobFeeds::WakesOf(const std::string& job) const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Wake>> wakes;
  const auto feed = feeds_.find(job);
  if (feed == feeds_.end()) return wakes;
  for (const auto& [id, wake] : feed->second.wakes) wakes.push_back(wake);
  return wakes;
}

}  // namespace regroup
