#include "coordinator/schedule/fair_order.h"

#include <algorithm>
#include <deque>
#include <tuple>

namespace regroup {
namespace {

/// What an owner would do itself: the higher priority first, then the older job, then the earlier task.
auto OwnPrecedence(const Claim& claim) {
  return std::make_tuple(-claim.priority, claim.create_time, claim.job, claim.task);
}

}  // namespace

std::vector<size_t> FairOrder(const std::vector<Claim>& claims, std::map<std::string, int> busy_slots) {
  std::map<std::string, std::deque<size_t>> queues;
  for (size_t i = 0; i < claims.size(); ++i) queues[claims[i].owner].push_back(i);
  for (auto& [owner, queue] : queues) {
    std::sort(queue.begin(), queue.end(),
              [&](size_t a, size_t b) { return OwnPrecedence(claims[a]) < OwnPrecedence(claims[b]); });
  }
  const auto turn = [&](const auto& entry) {
    const Claim& first = claims[entry.second.front()];
    return std::make_tuple(busy_slots[entry.first], first.create_time, entry.first);
  };
  std::vector<size_t> order;
  while (!queues.empty()) {
    const auto next =
        std::min_element(queues.begin(), queues.end(), [&](const auto& a, const auto& b) { return turn(a) < turn(b); });
    const size_t claim = next->second.front();
    order.push_back(claim);
    busy_slots[next->first] += claims[claim].ranks;
    next->second.pop_front();
    if (next->second.empty()) queues.erase(next);
  }
  return order;
}

}  // namespace regroup
