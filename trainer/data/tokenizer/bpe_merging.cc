#include "trainer/data/tokenizer/bpe_merging.h"

#include <queue>
#include <tuple>

namespace regroup {
namespace {

constexpr int32_t kNone = -1;

/// A token in a doubly linked list; a token that was merged into another has the value kNone.
struct Node {
  int32_t token;
  int32_t previous;
  int32_t next;
};

struct Candidate {
  int32_t rank;
  int32_t position;
  int32_t merged;
  bool operator>(const Candidate& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);
  }
};

class Merging {
 public:
  Merging(const std::vector<int32_t>& tokens, const MergeTable& merges) : merges_(merges) {
    const auto count = static_cast<int32_t>(tokens.size());
    nodes_.reserve(tokens.size());
    for (int32_t i = 0; i < count; ++i) nodes_.push_back({tokens[i], i - 1, i + 1 < count ? i + 1 : kNone});
    for (int32_t i = 0; i + 1 < count; ++i) Consider(i);
  }

  std::vector<int32_t> Run() {
    while (!candidates_.empty()) {
      const Candidate best = candidates_.top();
      candidates_.pop();
      if (StillValid(best)) Apply(best);
    }
    std::vector<int32_t> tokens;
    for (const Node& node : nodes_) {
      if (node.token != kNone) tokens.push_back(node.token);
    }
    return tokens;
  }

 private:
  void Consider(int32_t position) {
    const Merge* merge = merges_.Find(nodes_[position].token, nodes_[nodes_[position].next].token);
    if (merge != nullptr) candidates_.push({merge->rank, position, merge->token});
  }

  /// Earlier merges may have changed either token since the candidate was found.
  bool StillValid(const Candidate& candidate) const {
    const Node& node = nodes_[candidate.position];
    if (node.token == kNone || node.next == kNone) return false;
    const Merge* merge = merges_.Find(node.token, nodes_[node.next].token);
    return merge != nullptr && merge->token == candidate.merged;
  }

  void Apply(const Candidate& candidate) {
    Node& node = nodes_[candidate.position];
    Node& right = nodes_[node.next];
    node.token = candidate.merged;
    node.next = right.next;
    right.token = kNone;
    if (node.next != kNone) {
      nodes_[node.next].previous = candidate.position;
      Consider(candidate.position);
    }
    if (node.previous != kNone) Consider(node.previous);
  }

  const MergeTable& merges_;
  std::vector<Node> nodes_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates_;
};

}  // namespace

std::vector<int32_t> MergeTokens(const std::vector<int32_t>& tokens, const MergeTable& merges) {
  if (tokens.size() < 2) return tokens;
  return Merging(tokens, merges).Run();
}

}  // namespace regroup
