#include "coordinator/schedule/fair_order.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <utility>

namespace regroup {
namespace {

/// Returns true if the owner would run `a` first: the higher priority, then the older job, then the earlier task.
bool OwnerPrefers(const Claim& a, const Claim& b) {
  return std::tie(b.priority, a.create_time, a.job, a.task) < std::tie(a.priority, b.create_time, b.job, b.task);
}

/// An owner's claims in its own order.
struct Line {
  std::vector<size_t> claims;
  size_t next = 0;
  int busy_slots = 0;
};

/// Returns each owner's claims in the owner's own order.
std::map<std::string, Line> LinesOf(const std::vector<Claim>& claims, const std::map<std::string, int>& busy_slots) {
  std::map<std::string, Line> lines;
  for (size_t i = 0; i < claims.size(); ++i) lines[claims[i].owner].claims.push_back(i);
  for (auto& [owner, line] : lines) {
    std::sort(line.claims.begin(), line.claims.end(),
              [&](size_t a, size_t b) { return OwnerPrefers(claims[a], claims[b]); });
    const auto busy = busy_slots.find(owner);
    if (busy != busy_slots.end()) line.busy_slots = busy->second;
  }
  return lines;
}

}  // namespace

std::vector<size_t> FairOrder(const std::vector<Claim>& claims, const std::map<std::string, int>& busy_slots) {
  std::map<std::string, Line> lines = LinesOf(claims, busy_slots);
  // The next turn goes to the owner with the fewest slots, then to the older claim. Only the line that was served
  // changes its place.
  const auto comes_later = [&claims](const Line* a, const Line* b) {
    const Claim& first_a = claims[a->claims[a->next]];
    const Claim& first_b = claims[b->claims[b->next]];
    return std::tie(a->busy_slots, first_a.create_time, first_a.owner) >
           std::tie(b->busy_slots, first_b.create_time, first_b.owner);
  };
  std::priority_queue<Line*, std::vector<Line*>, decltype(comes_later)> turns(comes_later);
  for (auto& [owner, line] : lines) turns.push(&line);
  std::vector<size_t> order;
  order.reserve(claims.size());
  while (!turns.empty()) {
    Line* const line = turns.top();
    turns.pop();
    const size_t claim = line->claims[line->next++];
    order.push_back(claim);
    line->busy_slots += claims[claim].ranks;
    if (line->next < line->claims.size()) turns.push(line);
  }
  return order;
}

}  // namespace regroup
