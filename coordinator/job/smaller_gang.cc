#include "coordinator/job/smaller_gang.h"

#include <algorithm>

namespace regroup {

std::vector<int> SmallerGangs(const Job& job, size_t task) {
  const v1::Finetune& finetune = job.proto().resolved_spec().finetune();
  const v1::Task& trained = job.task(task);
  if (trained.kind() != v1::TASK_KIND_FINETUNE || !finetune.has_min_ranks()) return {};
  // A first attempt waits for all ranks. A later one may have lost a machine during a pause, which is not counted.
  if (trained.epoch() == 0) return {};
  const int fewest = std::max(finetune.min_ranks(), trained.too_few_ranks() + 1);
  std::vector<int> sizes;
  for (int ranks = finetune.ranks() - 1; ranks >= fewest; --ranks) {
    if (finetune.batch_sequences() % (int64_t{ranks} * finetune.micro_batch_sequences()) == 0) sizes.push_back(ranks);
  }
  return sizes;
}

}  // namespace regroup
