// Compares grouping and alignment of one layer of LLaMA-2-7B's shape, from its statistics, with the paper's own
// procedure on activations (published_alignment.h), with the same tokens, similarity (cosine of values) and method.
// usage: alignment_bench [tokens] [heads] [head width] [opponents]      (8192, 32, 128 and both by default)
//        opponents: both | literal | accelerated | none
//
// Heads come in kinds: those of one kind are noisy rotated copies of each other, so that grouping has something to
// find. Both results are judged on the activations, by the paper's objective: the sum over pairs of heads in a group of
// the mean cosine of their rows, for values and for keys.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench_parts.h"
#include "published_alignment.h"
#include "services/common/base/stopwatch.h"
#include "trainer/alignment/align_layer.h"

namespace regroup {
namespace {

constexpr int64_t kKinds = 6;

struct Layer {
  AttentionShape shape;
  AttentionWeights weights;
  at::Tensor values, keys;  // [heads, tokens, width], float64
};

at::Tensor RandomRotation(int64_t width) { return std::get<0>(at::linalg_qr(at::randn({width, width}))); }

at::Tensor RandomPairRotation(int64_t width) {
  const at::Tensor angle = at::rand({width / 2}) * 6.283185307179586;
  const at::Tensor cosine = at::diag(at::cos(angle)), sine = at::diag(at::sin(angle));
  return at::cat({at::cat({cosine, sine}, 1), at::cat({-sine, cosine}, 1)}, 0);
}

/// Returns projections [heads x width, hidden]: rotated copies of one of a few kinds, each with its own noise.
at::Tensor AlikeHeads(int64_t heads, int64_t width, int64_t hidden, at::Tensor (*rotation)(int64_t)) {
  const at::Tensor kinds = at::randn({kKinds, width, hidden});
  std::vector<at::Tensor> rows;
  for (int64_t head = 0; head < heads; ++head) {
    rows.push_back(at::mm(rotation(width), kinds[head * 7 % kKinds]) + 1.5 * at::randn({width, hidden}));
  }
  return at::cat(rows, 0) / std::sqrt(static_cast<double>(hidden));
}

Layer MakeLayer(int64_t tokens, int64_t heads, int64_t width, LayerStatistics* statistics) {
  const int64_t hidden = heads * width;
  Layer layer;
  layer.shape = statistics->Shape();
  layer.weights = {.query = at::randn({hidden, hidden}) / std::sqrt(static_cast<double>(hidden)),
                   .key = AlikeHeads(heads, width, hidden, RandomPairRotation),
                   .value = AlikeHeads(heads, width, hidden, RandomRotation),
                   .output = at::randn({hidden, hidden}) / std::sqrt(static_cast<double>(hidden))};
  // The spectrum decays, as that of real activations does.
  const at::Tensor spectrum = at::arange(1, hidden + 1, at::kFloat).pow(-0.5);
  std::vector<at::Tensor> values, keys;
  for (int64_t done = 0; done < tokens; done += 2048) {
    const at::Tensor input = at::randn({std::min<int64_t>(2048, tokens - done), hidden}) * spectrum;
    const AttentionActivations batch = ProjectKeysAndValues(input, layer.weights);
    statistics->Accumulate(batch);
    values.push_back(batch.values.view({-1, heads, width}));
    keys.push_back(batch.keys.view({-1, heads, width}));
  }
  layer.values = at::cat(values).transpose(0, 1).to(at::kDouble).contiguous();
  layer.keys = at::cat(keys).transpose(0, 1).to(at::kDouble).contiguous();
  return layer;
}

/// Returns the complex factors of pairs as maps on row vectors, [heads, width, width].
at::Tensor MapsOfPairs(const at::Tensor& factors) {
  const at::Tensor real = at::diag_embed(factors.select(-1, 0)), imaginary = at::diag_embed(factors.select(-1, 1));
  return at::cat({at::cat({real, imaginary}, 2), at::cat({-imaginary, real}, 2)}, 1);
}

SimilarityMatrix ToMatrix(const at::Tensor& pairs) {
  const at::Tensor flat = pairs.contiguous();
  const double* const first = flat.const_data_ptr<double>();
  return {pairs.size(0), {first, first + pairs.numel()}};
}

struct Objective {
  double grouping = 0, values = 0, keys = 0;
};

Objective Judge(const Layer& layer, const SimilarityMatrix& similarity, const HeadGroups& groups,
                const at::Tensor& value_maps, const at::Tensor& key_maps) {
  return {GroupingObjective(similarity, groups), SumOfCosines(layer.values, value_maps, groups),
          SumOfCosines(layer.keys, key_maps, groups)};
}

struct Opponent {
  std::string name;
  PublishedMode mode;
};

std::vector<Opponent> Opponents(const std::string& word) {
  std::vector<Opponent> opponents;
  if (word == "both" || word == "literal") opponents.push_back({"published, literal", PublishedMode::kLiteral});
  if (word == "both" || word == "accelerated") {
    opponents.push_back({"published, accelerated", PublishedMode::kAccelerated});
  }
  return opponents;
}

struct Times {
  double seconds = 0;
  double processor_seconds = 0;
};

template <typename Work>
Times Measure(const Work& work) {
  const Stopwatch watch;
  const double before = ProcessorSeconds();
  work();
  return {watch.Seconds(), ProcessorSeconds() - before};
}

struct Timed {
  LayerAlignment alignment;
  Times times;
};

/// Returns the best of three runs, since other programs share the machine.
Timed Align(const LayerGrams& grams, const AttentionWeights& weights, const AlignmentOptions& options) {
  Timed best{.times = {1e300, 1e300}};
  for (int turn = 0; turn < 3; ++turn) {
    const Times times = Measure([&] { best.alignment = AlignGrams(grams, weights, options).value(); });
    best.times.seconds = std::min(best.times.seconds, times.seconds);
    best.times.processor_seconds = std::min(best.times.processor_seconds, times.processor_seconds);
  }
  return best;
}

void Print(const std::string& name, const Times& times) {
  fmt::print("  {:<24} {:>8.2f} {:>8.2f}", name, times.seconds, times.processor_seconds);
}

void Print(const Objective& objective) {
  fmt::print("   {:>10.4f} {:>10.4f} {:>10.4f}\n", objective.grouping, objective.values, objective.keys);
}

void PrintRatio(const std::string& method, const Times& opponent, const Times& own) {
  fmt::print("    {} takes 1 / {:.1f} of it, 1 / {:.1f} of the CPU time\n", method, opponent.seconds / own.seconds,
             opponent.processor_seconds / own.processor_seconds);
}

/// Prints the figures for one group size; returns false if procrustes ends below an opponent.
bool Compare(const Layer& layer, const LayerGrams& grams, int64_t size, const std::vector<Opponent>& opponents) {
  const int64_t groups = layer.shape.kv_heads / size;
  AlignmentOptions options{.method = "procrustes", .compare = "value", .similarity = "cosine", .groups = groups};
  const Timed procrustes = Align(grams, layer.weights, options);
  options.method = "principal";
  const Timed principal = Align(grams, layer.weights, options);
  const LayerAlignment& own = procrustes.alignment;
  const Objective ours =
      Judge(layer, ToMatrix(own.grouping_similarity), own.Groups(), own.value_align, MapsOfPairs(own.key_pairs_align));
  fmt::print("\ngroups of {}               seconds  CPU seconds     grouping     values       keys\n", size);
  Print("procrustes", procrustes.times);
  Print(ours);
  Print("principal", principal.times);
  fmt::print("\n    {} sweeps of procrustes\n", own.iterations);
  bool as_good = true;
  for (const Opponent& opponent : opponents) {
    PublishedAlignment found;
    const Times times = Measure([&] { found = AlignAsPublished(layer.values, layer.keys, groups, opponent.mode, 1); });
    const Objective theirs = Judge(layer, found.similarity, found.groups, found.value_maps, found.key_maps);
    Print(opponent.name, times);
    Print(theirs);
    PrintRatio("procrustes", times, procrustes.times);
    PrintRatio("principal", times, principal.times);
    std::fflush(stdout);
    const auto falls = [](double mine, double other) { return mine < other - 1e-4 * std::abs(other); };
    as_good = as_good && !falls(ours.grouping, theirs.grouping) && !falls(ours.values, theirs.values) &&
              !falls(ours.keys, theirs.keys);
  }
  return as_good;
}

int Main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  const auto number = [&](int index, int64_t otherwise) { return argc > index ? std::atoll(argv[index]) : otherwise; };
  const int64_t tokens = number(1, 8192), heads = number(2, 32), width = number(3, 128);
  const std::vector<Opponent> opponents = Opponents(argc > 4 ? argv[4] : "both");
  at::manual_seed(1);
  LayerStatistics statistics({.hidden = heads * width,
                              .query_heads = heads,
                              .kv_heads = heads,
                              .head_width = width,
                              .value_width = width,
                              .rotary_width = width},
                             /*unit_grams=*/true);
  const Layer layer = MakeLayer(tokens, heads, width, &statistics);
  absl::StatusOr<LayerGrams> grams;
  const Times times = Measure([&] { grams = BuildGrams(statistics, layer.weights); });
  if (!grams.ok()) return 1;
  fmt::print("one layer of {} heads x {}, {} tokens, {} threads\n", heads, width, tokens, at::get_num_threads());
  fmt::print("Grams from the statistics, once per layer: {:.2f} s, {:.2f} s of CPU time\n", times.seconds,
             times.processor_seconds);
  bool as_good = true;
  for (const int64_t size : {2, 4, 8}) as_good = Compare(layer, *grams, size, opponents) && as_good;
  if (!as_good) fmt::print("\nerror: procrustes ends below the published procedure\n");
  return as_good ? 0 : 1;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
