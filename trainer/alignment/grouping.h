// Finds the partition of heads into equal groups with the largest sum of similarities inside the groups (README.md,
// "Which heads form a group").
//
// The functions are pure, work on plain numbers and may be called from any thread. The same input and seed give the
// same answer on every machine with the same floating-point results: the random numbers are our own.
#pragma once

#include <cstdint>
#include <vector>

namespace regroup {

/// Lists the heads of each group: sorted inside, groups ordered by their first head.
using HeadGroups = std::vector<std::vector<int64_t>>;

/// Holds a symmetric matrix [size, size], row by row. The diagonal is not read.
struct SimilarityMatrix {
  int64_t size = 0;
  std::vector<double> values;
  double At(int64_t a, int64_t b) const { return values[a * size + b]; }
};

/// Returns the partition into `groups` equal groups. It is exact for groups of one, two (maximum-weight matching) or
/// all heads, and for up to 16 heads (dynamic programming over subsets); otherwise it is that of GroupByAnnealing.
/// `groups` must divide the size.
HeadGroups GroupHeads(const SimilarityMatrix& similarity, int64_t groups, uint64_t seed);

/// Returns groups of consecutive heads.
HeadGroups NeighbourGroups(int64_t heads, int64_t groups);

/// Returns the sum of similarities over pairs inside groups.
double GroupingObjective(const SimilarityMatrix& similarity, const HeadGroups& groups);

/// Returns the groups sorted inside and by their first head.
HeadGroups SortedGroups(HeadGroups groups);

// The three solvers of GroupHeads, each in a file of its own.
/// Returns the exact answer by dynamic programming over subsets, in at most 2^size * C(size - 1, group size - 1) steps;
/// size <= 20.
HeadGroups GroupBySubsets(const SimilarityMatrix& similarity, int64_t groups);
/// Returns the exact answer for pairs, a maximum-weight perfect matching, in O(size^3 log size). Similarities are
/// rounded to 2^-40 of their range. Neighbours stay together if no other pairs are better.
HeadGroups GroupByMatching(const SimilarityMatrix& similarity);
/// Returns the best of several runs of simulated annealing over swaps, each followed by descent until no swap improves.
/// Neighbours stay together if no run is better.
HeadGroups GroupByAnnealing(const SimilarityMatrix& similarity, int64_t groups, uint64_t seed);

}  // namespace regroup
