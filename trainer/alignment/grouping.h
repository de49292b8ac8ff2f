// Partition of heads into equal groups with the largest sum of similarities inside the groups (design 4.3).
//
// Pure functions on plain numbers; any thread. Same input and seed give the same answer on every machine with the same
// floating-point results: the random numbers are our own.
#pragma once

#include <cstdint>
#include <vector>

namespace regroup {

/// Heads of each group; sorted inside, groups ordered by their first head.
using HeadGroups = std::vector<std::vector<int64_t>>;

/// Symmetric [size, size], row by row. The diagonal is not read.
struct SimilarityMatrix {
  int64_t size = 0;
  std::vector<double> values;
  double At(int64_t a, int64_t b) const { return values[a * size + b]; }
};

/// The partition into `groups` equal groups. Exact for groups of one, two (maximum-weight matching) or all heads, and
/// for up to 16 heads (dynamic programming over subsets); otherwise GroupByAnnealing. `groups` must divide the size.
HeadGroups GroupHeads(const SimilarityMatrix& similarity, int64_t groups, uint64_t seed);

/// Consecutive heads.
HeadGroups NeighbourGroups(int64_t heads, int64_t groups);

/// Sum of similarities over pairs inside groups.
double GroupingObjective(const SimilarityMatrix& similarity, const HeadGroups& groups);

/// Sorted inside and by first head.
HeadGroups SortedGroups(HeadGroups groups);

// The three solvers of GroupHeads, each in its own file.
/// Exact, by dynamic programming over subsets: at most 2^size * C(size - 1, group size - 1) steps, size <= 20.
HeadGroups GroupBySubsets(const SimilarityMatrix& similarity, int64_t groups);
/// Returns the exact answer for pairs, a maximum-weight perfect matching, in O(size^3 log size). Similarities are rounded
/// to 2^-40 of their range. Neighbours stay together where no other pairs are better.
HeadGroups GroupByMatching(const SimilarityMatrix& similarity);
/// Simulated annealing over swaps from several starts, each followed by descent until no swap improves.
HeadGroups GroupByAnnealing(const SimilarityMatrix& similarity, int64_t groups, uint64_t seed);

}  // namespace regroup
