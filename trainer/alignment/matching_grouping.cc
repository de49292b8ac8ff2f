// Pairs of heads by maximum-weight perfect matching: Edmonds' blossom algorithm, primal-dual, O(heads^3).
//
// Weights are integers, so that "tight" is an exact question. A constant on every edge makes any matching with
// more edges heavier than any with fewer; the graph is complete and even, hence the heaviest matching is perfect.
//
// A node is a vertex (1 ... n) or a blossom (above n): an odd cycle of nodes that acts as one. Node 0 means none. Outer
// nodes are at even distance from an unmatched root of the search forest, inner ones at odd distance. The dual
// values keep slack(u, v) = dual[u] + dual[v] - 2 weight(u, v) >= 0; only edges with slack 0 are used.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

#include "trainer/alignment/grouping.h"

namespace regroup {
namespace {

class BlossomMatching {
 public:
  /// `weights` [vertices, vertices], positive off the diagonal.
  BlossomMatching(int vertices, const std::vector<int64_t>& weights)
      : vertices_(vertices),
        nodes_(vertices),
        capacity_(2 * vertices + 1),
        edges_(capacity_ * capacity_),
        petal_of_(capacity_ * capacity_, 0),
        nodes_state_(capacity_) {
    int64_t heaviest = 0;
    for (int u = 1; u <= vertices; ++u) {
      for (int v = 1; v <= vertices; ++v) {
        EdgeAt(u, v) = {u, v, u == v ? 0 : weights[(u - 1) * vertices + v - 1]};
        heaviest = std::max(heaviest, EdgeAt(u, v).weight);
      }
    }
    for (int u = 1; u <= vertices; ++u) {
      At(u).top = u;
      At(u).dual = heaviest;
      PetalOf(u, u) = u;
    }
  }

  /// The partner of each vertex, counted from 0.
  std::vector<int> Solve() {
    while (GrowMatching()) {
    }
    std::vector<int> partners;
    for (int u = 1; u <= vertices_; ++u) partners.push_back(At(u).mate - 1);
    return partners;
  }

 private:
  enum class Label { kNone, kOuter, kInner };

  // The edge that stands for all edges between two nodes: the least slack, between vertices `from` and `to`.
  struct Edge {
    int from = 0;
    int to = 0;
    int64_t weight = 0;
  };

  struct Node {
    int64_t dual = 0;
    int mate = 0;     // the vertex that a top-level node is matched to
    int nearest = 0;  // the outer vertex whose edge to this node has the least slack
    int top = 0;      // the outermost blossom around this node; 0 for a blossom that does not exist
    int parent = 0;   // the vertex from which the search reached this inner node
    Label label = Label::kNone;
    int visit = 0;            // mark of the last search for a common ancestor
    std::vector<int> petals;  // nodes around a blossom, its base first
  };

  Node& At(int node) { return nodes_state_[node]; }
  Edge& EdgeAt(int from, int to) { return edges_[from * capacity_ + to]; }
  int& PetalOf(int blossom, int vertex) { return petal_of_[blossom * capacity_ + vertex]; }
  bool IsTop(int node) { return At(node).top == node; }
  int64_t Slack(const Edge& edge) {
    return At(edge.from).dual + At(edge.to).dual - 2 * EdgeAt(edge.from, edge.to).weight;
  }

  void OfferNearest(int vertex, int node) {
    int& nearest = At(node).nearest;
    if (nearest == 0 || Slack(EdgeAt(vertex, node)) < Slack(EdgeAt(nearest, node))) nearest = vertex;
  }

  void FindNearest(int node) {
    At(node).nearest = 0;
    for (int u = 1; u <= vertices_; ++u) {
      if (EdgeAt(u, node).weight > 0 && At(u).top != node && At(At(u).top).label == Label::kOuter)
        OfferNearest(u, node);
    }
  }

  void Enqueue(int node) {
    if (node <= vertices_) return queue_.push_back(node);
    for (const int petal : At(node).petals) Enqueue(petal);
  }

  void SetTop(int node, int top) {
    At(node).top = top;
    if (node <= vertices_) return;
    for (const int petal : At(node).petals) SetTop(petal, top);
  }

  // Place of `petal`, with the cycle turned round if needed so that the place is even.
  int EvenPlace(int blossom, int petal) {
    auto& petals = At(blossom).petals;
    const int place = std::find(petals.begin(), petals.end(), petal) - petals.begin();
    if (place % 2 == 0) return place;
    std::reverse(petals.begin() + 1, petals.end());
    return static_cast<int>(petals.size()) - place;
  }

  // Matches node u to node v, and the inside of u accordingly: its base becomes the petal that the edge touches.
  void SetMate(int u, int v) {
    const Edge edge = EdgeAt(u, v);
    At(u).mate = edge.to;
    if (u <= vertices_) return;
    const int petal = PetalOf(u, edge.from);
    const int place = EvenPlace(u, petal);
    auto& petals = At(u).petals;
    for (int i = 0; i < place; ++i) SetMate(petals[i], petals[i ^ 1]);
    SetMate(petal, v);
    std::rotate(petals.begin(), petals.begin() + place, petals.end());
  }

  // Flips the path from u to its root, after u got the new partner v.
  void Augment(int u, int v) {
    while (true) {
      const int next = At(At(u).mate).top;
      SetMate(u, v);
      if (next == 0) return;
      const int parent = At(At(next).parent).top;
      SetMate(next, parent);
      u = parent;
      v = next;
    }
  }

  // The outer node that two search paths meet in; 0 if they have different roots.
  int CommonAncestor(int u, int v) {
    ++visits_;
    while (u != 0 || v != 0) {
      if (u != 0) {
        if (At(u).visit == visits_) return u;
        At(u).visit = visits_;
        u = At(At(u).mate).top;
        if (u != 0) u = At(At(u).parent).top;
      }
      std::swap(u, v);
    }
    return 0;
  }

  int UnusedBlossom() {
    int blossom = vertices_ + 1;
    while (blossom <= nodes_ && At(blossom).top != 0) ++blossom;
    nodes_ = std::max(nodes_, blossom);
    return blossom;
  }

  void AppendPath(int blossom, int from, int ancestor) {
    for (int outer = from; outer != ancestor;) {
      const int inner = At(At(outer).mate).top;
      At(blossom).petals.push_back(outer);
      At(blossom).petals.push_back(inner);
      Enqueue(inner);
      outer = At(At(inner).parent).top;
    }
  }

  // Joins the cycle through u, v and their common ancestor into one outer node.
  void MakeBlossom(int u, int ancestor, int v) {
    const int blossom = UnusedBlossom();
    Node& node = At(blossom);
    node.dual = 0;
    node.label = Label::kOuter;
    node.mate = At(ancestor).mate;
    node.petals.assign(1, ancestor);
    AppendPath(blossom, u, ancestor);
    std::reverse(node.petals.begin() + 1, node.petals.end());
    AppendPath(blossom, v, ancestor);
    SetTop(blossom, blossom);
    CollectEdges(blossom);
    FindNearest(blossom);
  }

  void CollectEdges(int blossom) {
    for (int x = 1; x <= nodes_; ++x) EdgeAt(blossom, x).weight = EdgeAt(x, blossom).weight = 0;
    for (int u = 1; u <= vertices_; ++u) PetalOf(blossom, u) = 0;
    for (const int petal : At(blossom).petals) {
      for (int x = 1; x <= nodes_; ++x) {
        if (EdgeAt(petal, x).weight == 0) continue;
        if (EdgeAt(blossom, x).weight == 0 || Slack(EdgeAt(petal, x)) < Slack(EdgeAt(blossom, x))) {
          EdgeAt(blossom, x) = EdgeAt(petal, x);
          EdgeAt(x, blossom) = EdgeAt(x, petal);
        }
      }
      for (int u = 1; u <= vertices_; ++u) {
        if (PetalOf(petal, u) != 0) PetalOf(blossom, u) = petal;
      }
    }
  }

  // Dissolves an inner blossom whose dual has reached 0. The even way round stays in the search forest.
  void DissolveBlossom(int blossom) {
    for (const int petal : At(blossom).petals) SetTop(petal, petal);
    const int entry = PetalOf(blossom, EdgeAt(blossom, At(blossom).parent).from);
    const int place = EvenPlace(blossom, entry);
    const std::vector<int> petals = At(blossom).petals;
    for (int i = 0; i < place; i += 2) {
      const int inner = petals[i];
      const int outer = petals[i + 1];
      At(inner).parent = EdgeAt(outer, inner).from;
      At(inner).label = Label::kInner;
      At(inner).nearest = 0;
      At(outer).label = Label::kOuter;
      FindNearest(outer);
      Enqueue(outer);
    }
    At(entry).label = Label::kInner;
    At(entry).parent = At(blossom).parent;
    for (size_t i = place + 1; i < petals.size(); ++i) {
      At(petals[i]).label = Label::kNone;
      FindNearest(petals[i]);
    }
    At(blossom).top = 0;
  }

  // Uses an edge of slack 0 from an outer node. True if it completed an augmenting path.
  bool UseTightEdge(const Edge edge) {
    const int u = At(edge.from).top;
    const int v = At(edge.to).top;
    if (At(v).label == Label::kNone) {
      At(v).parent = edge.from;
      At(v).label = Label::kInner;
      const int mate = At(At(v).mate).top;
      At(v).nearest = At(mate).nearest = 0;
      At(mate).label = Label::kOuter;
      Enqueue(mate);
      return false;
    }
    if (At(v).label == Label::kInner) return false;
    const int ancestor = CommonAncestor(u, v);
    if (ancestor != 0) {
      MakeBlossom(u, ancestor, v);
      return false;
    }
    Augment(u, v);
    Augment(v, u);
    return true;
  }

  bool StartForest() {
    queue_.clear();
    for (int x = 1; x <= nodes_; ++x) {
      At(x).label = Label::kNone;
      At(x).nearest = 0;
    }
    for (int x = 1; x <= nodes_; ++x) {
      if (!IsTop(x) || At(x).mate != 0) continue;
      At(x).parent = 0;
      At(x).label = Label::kOuter;
      Enqueue(x);
    }
    return !queue_.empty();
  }

  // Follows tight edges from every outer vertex. True if an augmenting path was found.
  bool ScanOuterVertices() {
    while (!queue_.empty()) {
      const int u = queue_.front();
      queue_.pop_front();
      if (At(At(u).top).label == Label::kInner) continue;
      for (int v = 1; v <= vertices_; ++v) {
        if (EdgeAt(u, v).weight == 0 || At(u).top == At(v).top) continue;
        if (Slack(EdgeAt(u, v)) != 0) {
          OfferNearest(u, At(v).top);
        } else if (UseTightEdge(EdgeAt(u, v))) {
          return true;
        }
      }
    }
    return false;
  }

  // The largest change of the duals that keeps every slack and every blossom's dual at least 0.
  int64_t DualStep() {
    int64_t step = std::numeric_limits<int64_t>::max();
    for (int x = 1; x <= nodes_; ++x) {
      if (!IsTop(x)) continue;
      if (x > vertices_ && At(x).label == Label::kInner) step = std::min(step, At(x).dual / 2);
      if (At(x).nearest == 0 || At(x).label == Label::kInner) continue;
      const int64_t slack = Slack(EdgeAt(At(x).nearest, x));
      step = std::min(step, At(x).label == Label::kNone ? slack : slack / 2);
    }
    return step;
  }

  // False if an outer vertex would drop to dual 0: then the matching is as heavy as it can be.
  bool ChangeDuals(int64_t step) {
    for (int u = 1; u <= vertices_; ++u) {
      const Label label = At(At(u).top).label;
      if (label == Label::kOuter && At(u).dual <= step) return false;
      if (label == Label::kOuter) At(u).dual -= step;
      if (label == Label::kInner) At(u).dual += step;
    }
    for (int b = vertices_ + 1; b <= nodes_; ++b) {
      if (!IsTop(b)) continue;
      if (At(b).label == Label::kOuter) At(b).dual += 2 * step;
      if (At(b).label == Label::kInner) At(b).dual -= 2 * step;
    }
    return true;
  }

  bool UseNearestEdges() {
    for (int x = 1; x <= nodes_; ++x) {
      const int nearest = At(x).nearest;
      if (!IsTop(x) || nearest == 0 || At(nearest).top == x) continue;
      if (Slack(EdgeAt(nearest, x)) == 0 && UseTightEdge(EdgeAt(nearest, x))) return true;
    }
    return false;
  }

  // One more pair in the matching. False if there is none to be had.
  bool GrowMatching() {
    if (!StartForest()) return false;
    while (true) {
      if (ScanOuterVertices()) return true;
      if (!ChangeDuals(DualStep())) return false;
      queue_.clear();
      if (UseNearestEdges()) return true;
      for (int b = vertices_ + 1; b <= nodes_; ++b) {
        if (IsTop(b) && At(b).label == Label::kInner && At(b).dual == 0) DissolveBlossom(b);
      }
    }
  }

  int vertices_;
  int nodes_;  // vertices and blossoms in use
  int capacity_;
  std::vector<Edge> edges_;
  std::vector<int> petal_of_;
  std::vector<Node> nodes_state_;
  std::deque<int> queue_;
  int visits_ = 0;
};

// Similarities as integers in 1 ... 2^40, lifted so far that every perfect matching outweighs every smaller one.
std::vector<int64_t> IntegerWeights(const SimilarityMatrix& similarity) {
  constexpr double kResolution = 0x1.0p40;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (int64_t a = 0; a < similarity.size; ++a) {
    for (int64_t b = 0; b < similarity.size; ++b) {
      if (a == b) continue;
      low = std::min(low, similarity.At(a, b));
      high = std::max(high, similarity.At(a, b));
    }
  }
  const double scale = high > low ? kResolution / (high - low) : 0;
  const int64_t lift = (similarity.size / 2 + 1) * static_cast<int64_t>(kResolution);
  std::vector<int64_t> weights(similarity.values.size(), 0);
  for (int64_t a = 0; a < similarity.size; ++a) {
    for (int64_t b = 0; b < similarity.size; ++b) {
      if (a == b) continue;
      const double mean = 0.5 * (similarity.At(a, b) + similarity.At(b, a));
      weights[a * similarity.size + b] = lift + std::llround((mean - low) * scale);
    }
  }
  return weights;
}

}  // namespace

HeadGroups GroupByMatching(const SimilarityMatrix& similarity) {
  const auto partners = BlossomMatching(static_cast<int>(similarity.size), IntegerWeights(similarity)).Solve();
  HeadGroups groups;
  for (int head = 0; head < static_cast<int>(partners.size()); ++head) {
    if (head < partners[head]) groups.push_back({head, partners[head]});
  }
  return SortedGroups(std::move(groups));
}

}  // namespace regroup
