// Grouping and transforms of one layer of LLaMA-2-7B's shape, from its statistics, next to the paper's own procedure on
// activations (published_alignment.h) with the same tokens, similarity (cosine of values) and method.
// usage: alignment_bench [tokens] [heads] [head width]      (8192, 32 and 128 by default)
//
// Heads are made alike: those of one kind are noisy rotated copies of each other, so that grouping has something to
// find. Both results are judged on the activations, by the paper's objective: the sum over pairs of heads in a group of
// the mean cosine of their rows, for values and for keys.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "published_alignment.h"
#include "trainer/alignment/align_layer.h"
#include "trainer/eval/stopwatch.h"

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

/// Projections [heads x width, hidden]: rotated copies of one of a few kinds, each with noise of its own.
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
  // A spectrum that falls, as that of real activations does.
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

/// Complex factors of pairs as maps on row vectors, [heads, width, width].
at::Tensor MapsOfPairs(const at::Tensor& factors) {
  const at::Tensor real = at::diag_embed(factors.select(-1, 0)), imaginary = at::diag_embed(factors.select(-1, 1));
  return at::cat({at::cat({real, imaginary}, 2), at::cat({-imaginary, real}, 2)}, 1);
}

struct Objective {
  double grouping = 0, values = 0, keys = 0;
};

Objective Judge(const Layer& layer, const SimilarityMatrix& similarity, const HeadGroups& groups,
                const at::Tensor& value_maps, const at::Tensor& key_maps) {
  return {GroupingObjective(similarity, groups), SumOfCosines(layer.values, value_maps, groups),
          SumOfCosines(layer.keys, key_maps, groups)};
}

void Print(const char* name, double seconds, const std::string& ratio, const Objective& objective) {
  fmt::print("  {:<24} {:>8.2f} s {:>8}   {:>10.4f} {:>10.4f} {:>10.4f}\n", name, seconds, ratio, objective.grouping,
             objective.values, objective.keys);
}

int Main(int argc, char** argv) {
  const auto number = [&](int index, int64_t otherwise) { return argc > index ? std::atoll(argv[index]) : otherwise; };
  const int64_t tokens = number(1, 8192), heads = number(2, 32), width = number(3, 128);
  at::manual_seed(1);
  LayerStatistics statistics({.hidden = heads * width,
                              .query_heads = heads,
                              .kv_heads = heads,
                              .head_width = width,
                              .value_width = width,
                              .rotary_width = width},
                             /*unit_grams=*/true);
  const Layer layer = MakeLayer(tokens, heads, width, &statistics);
  const Stopwatch grams_watch;
  const auto grams = BuildGrams(statistics, layer.weights);
  if (!grams.ok()) return 1;
  fmt::print("one layer of {} heads x {}, {} tokens, {} threads\n", heads, width, tokens, at::get_num_threads());
  fmt::print("Grams from the statistics, once a layer: {:.2f} s\n", grams_watch.Seconds());
  bool worse = false;
  for (const int64_t size : {2, 4, 8}) {
    AlignmentOptions options{
        .method = "procrustes", .compare = "value", .similarity = "cosine", .groups = heads / size};
    const Stopwatch own_watch;
    const auto own = AlignGrams(*grams, layer.weights, options);
    const double own_seconds = own_watch.Seconds();
    options.method = "principal";
    const Stopwatch principal_watch;
    const auto principal = AlignGrams(*grams, layer.weights, options);
    const double principal_seconds = principal_watch.Seconds();
    if (!own.ok() || !principal.ok()) return 1;
    const Stopwatch published_watch;
    const PublishedAlignment published = AlignAsPublished(layer.values, layer.keys, heads / size, 1);
    const double published_seconds = published_watch.Seconds();
    const Objective theirs =
        Judge(layer, published.similarity, published.groups, published.value_maps, published.key_maps);
    const Objective ours =
        Judge(layer, published.similarity, own->Groups(), own->value_align, MapsOfPairs(own->key_pairs_align));
    fmt::print("\ngroups of {}                     time    ratio     grouping     values       keys\n", size);
    Print("as published", published_seconds, "1", theirs);
    Print("procrustes", own_seconds, fmt::format("{:.1f}", published_seconds / own_seconds), ours);
    fmt::print("  {:<24} {:>8.2f} s {:>8.1f}\n", "principal", principal_seconds, published_seconds / principal_seconds);
    const auto falls = [](double mine, double other) { return mine < other - 1e-3 * std::abs(other); };
    worse = worse || falls(ours.grouping, theirs.grouping) || falls(ours.values, theirs.values);
  }
  if (worse) fmt::print("\nprocrustes ends below the published procedure: that is a fault\n");
  return worse ? 1 : 0;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
