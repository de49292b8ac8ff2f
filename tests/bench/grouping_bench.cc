// Measures how close simulated annealing comes to the best partition of heads where that can be computed exactly: by
// maximum-weight matching for pairs, by dynamic programming over subsets for up to 16 heads. usage: grouping_bench
// [cases of each kind] [alignment file]...      (20 by default)
//
// Similarities are uniform noise, or noise over planted kinds of similar heads; files add the matrices of real layers
// (`grouping_similarity` of an align task's results). The gap is the share of the optimum's lead over random groups
// that annealing misses.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "services/common/base/stopwatch.h"
#include "trainer/alignment/grouping.h"
#include "trainer/alignment/random_numbers.h"
#include "trainer/model_folder/tensor_file.h"

namespace regroup {
namespace {

constexpr int64_t kMostHeadsForSubsets = 16;

/// Returns numbers uniform in [0, 1), plus `planted` if two heads are of the same of four kinds.
SimilarityMatrix MakeSimilarity(int64_t heads, double planted, uint64_t seed) {
  RandomNumbers random(seed);
  std::vector<int64_t> kinds;
  for (int64_t head = 0; head < heads; ++head) kinds.push_back(random.Below(4));
  SimilarityMatrix similarity{heads, std::vector<double>(heads * heads, 0.0)};
  for (int64_t a = 0; a < heads; ++a) {
    for (int64_t b = a + 1; b < heads; ++b) {
      const double value = random.Unit() + (kinds[a] == kinds[b] ? planted : 0.0);
      similarity.values[a * heads + b] = similarity.values[b * heads + a] = value;
    }
  }
  return similarity;
}

/// Returns the average objective of a random partition.
double MeanObjective(const SimilarityMatrix& similarity, int64_t size) {
  double sum = 0;
  for (int64_t a = 0; a < similarity.size; ++a) {
    for (int64_t b = a + 1; b < similarity.size; ++b) sum += similarity.At(a, b);
  }
  return sum * static_cast<double>(size - 1) / static_cast<double>(similarity.size - 1);
}

struct Row {
  int cases = 0;
  int at_optimum = 0;
  double gaps = 0;
  double worst = 0;
  double annealing_seconds = 0;
  double exact_seconds = 0;

  void Add(const SimilarityMatrix& similarity, int64_t size) {
    const int64_t groups = similarity.size / size;
    const Stopwatch exact_watch;
    const HeadGroups best = size == 2 ? GroupByMatching(similarity) : GroupBySubsets(similarity, groups);
    exact_seconds += exact_watch.Seconds();
    const Stopwatch watch;
    const HeadGroups found = GroupByAnnealing(similarity, groups, static_cast<uint64_t>(cases));
    annealing_seconds += watch.Seconds();
    const double optimum = GroupingObjective(similarity, best);
    const double lead = optimum - MeanObjective(similarity, size);
    const double gap = std::max(0.0, (optimum - GroupingObjective(similarity, found)) / lead);
    ++cases;
    at_optimum += gap < 1e-9 ? 1 : 0;
    gaps += gap;
    worst = std::max(worst, gap);
  }

  void Print(int64_t heads, int64_t size, const std::string& kind) const {
    fmt::print("{:>6} {:>10}  {:<10} {:>6} {:>10.0f} % {:>12.2e} {:>12.2e} {:>12.4f} {:>12.4f}\n", heads, size, kind,
               cases, 100.0 * at_optimum / cases, gaps / cases, worst, annealing_seconds / cases,
               exact_seconds / cases);
  }
};

std::vector<SimilarityMatrix> RealSimilarities(const std::vector<std::string>& files) {
  std::vector<SimilarityMatrix> all;
  for (const std::string& file : files) {
    const auto tensors = LoadTensors(file);
    if (!tensors.ok() || !tensors->contains("grouping_similarity")) {
      fmt::print("{}: no grouping_similarity\n", file);
      continue;
    }
    const at::Tensor matrix = tensors->at("grouping_similarity").to(at::kDouble).contiguous();
    const double* const first = matrix.const_data_ptr<double>();
    all.push_back({matrix.size(0), {first, first + matrix.numel()}});
  }
  return all;
}

void CompareMade(int64_t heads, int64_t size, int cases) {
  for (const double planted : {0.0, 0.5}) {
    Row row;
    for (int seed = 0; seed < cases; ++seed) row.Add(MakeSimilarity(heads, planted, 1000 + seed), size);
    row.Print(heads, size, planted > 0 ? "planted" : "noise");
  }
}

void CompareReal(const std::vector<SimilarityMatrix>& similarities) {
  for (const int64_t size : {2, 4}) {
    Row row;
    for (const SimilarityMatrix& similarity : similarities) {
      if (similarity.size % size == 0 && (size == 2 || similarity.size <= kMostHeadsForSubsets)) {
        row.Add(similarity, size);
      }
    }
    if (row.cases > 0) row.Print(similarities.front().size, size, "real");
  }
}

int Main(int argc, char** argv) {
  const int cases = argc > 1 ? std::max(1, std::atoi(argv[1])) : 20;
  fmt::print(" heads  groups of  similarity  cases  at optimum     mean gap    worst gap  annealing, s     exact, s\n");
  for (const auto& [heads, size] : std::vector<std::pair<int64_t, int64_t>>{
           {8, 2}, {8, 4}, {12, 3}, {12, 4}, {16, 2}, {16, 4}, {16, 8}, {32, 2}, {64, 2}}) {
    CompareMade(heads, size, cases);
  }
  CompareReal(RealSimilarities({argv + std::min(argc, 2), argv + argc}));
  return 0;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
