#include "trainer/optim/bucket_launcher.h"

#include <utility>

namespace regroup {

BucketLauncher::BucketLauncher(std::vector<int64_t> gradients, std::function<void(size_t)> launch)
    : gradients_(std::move(gradients)), launch_(std::move(launch)) {}

void BucketLauncher::Arm() {
  missing_ = gradients_;
  next_ = 0;
  armed_ = true;
  was_late_ = false;
}

void BucketLauncher::NoteGradient(size_t bucket) {
  if (!armed_) return;
  if (bucket < next_) was_late_ = true;
  --missing_[bucket];
  while (next_ < missing_.size() && missing_[next_] <= 0) launch_(next_++);
}

bool BucketLauncher::LaunchRest() {
  while (next_ < gradients_.size()) launch_(next_++);
  armed_ = false;
  return !was_late_;
}

}  // namespace regroup
