// Pairs of heads by maximum-weight perfect matching, which LEMON's implementation of Edmonds' blossom algorithm finds.
//
// Compiled as C++17 (CMakeLists.txt): LEMON 1.3.1 calls std::allocator::construct, which C++20 has removed.
#include <lemon/full_graph.h>
#include <lemon/matching.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "trainer/alignment/grouping.h"

namespace regroup {
namespace {

using Graph = lemon::FullGraph;
// Integers make sums of weights exact, so that the answer is the same on every machine.
using Weights = Graph::EdgeMap<int64_t>;

/// Writes the similarities as integers in 0 ... 2^40.
void SetWeights(const SimilarityMatrix& similarity, const Graph& graph, Weights* weights) {
  constexpr double kResolution = 0x1.0p40;
  const auto mean = [&](const Graph::Edge& edge) {
    const int a = graph.index(graph.u(edge)), b = graph.index(graph.v(edge));
    return 0.5 * (similarity.At(a, b) + similarity.At(b, a));
  };
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (Graph::EdgeIt edge(graph); edge != lemon::INVALID; ++edge) {
    low = std::min(low, mean(edge));
    high = std::max(high, mean(edge));
  }
  const double scale = high > low ? kResolution / (high - low) : 0;
  for (Graph::EdgeIt edge(graph); edge != lemon::INVALID; ++edge) {
    (*weights)[edge] = std::llround((mean(edge) - low) * scale);
  }
}

}  // namespace

HeadGroups GroupByMatching(const SimilarityMatrix& similarity) {
  const Graph graph(static_cast<int>(similarity.size));
  Weights weights(graph);
  SetWeights(similarity, graph, &weights);
  lemon::MaxWeightedPerfectMatching<Graph, Weights> matching(graph, weights);
  matching.run();  // A complete graph of an even number of heads always has a perfect matching.
  HeadGroups pairs;
  for (int head = 0; head < graph.nodeNum(); ++head) {
    const int partner = graph.index(matching.mate(graph(head)));
    if (head < partner) pairs.push_back({head, partner});
  }
  pairs = SortedGroups(std::move(pairs));
  HeadGroups neighbours = NeighbourGroups(similarity.size, similarity.size / 2);
  return GroupingObjective(similarity, pairs) > GroupingObjective(similarity, neighbours) ? pairs : neighbours;
}

}  // namespace regroup
