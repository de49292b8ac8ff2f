#include "trainer/plan/plan_estimate.h"

#include <algorithm>

#include "trainer/alignment/split_heads.h"
#include "trainer/families/family.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/parallel/bucket_bytes.h"

namespace regroup {
namespace {

/// Returns the number of key and value weights of all layers, which together have this many KV heads.
int64_t KeyValueParameters(const ModelConfig& config, int64_t kv_heads_of_all_layers) {
  return 2 * kv_heads_of_all_layers * config.head_width * config.hidden_size;
}

int64_t SourceKeyValueParameters(const ModelConfig& config) {
  return KeyValueParameters(config, config.KvHeadsOfAllLayers());
}

/// Returns the number of key and value weights that gates keep beside the shared ones, 0 without gates. The source's
/// heads are split where the target does not divide them.
int64_t OriginalHeadParameters(const ModelConfig& config, const PlannedTraining& training) {
  return training.gated ? SourceKeyValueParameters(config) * CopiesForTarget(config, training.kv_heads) : 0;
}

/// Returns the share of a window's tokens that a layer processes: each layer of an encoder-decoder sees one half.
double TokenShare(const ModelConfig& config) { return config.HasEncoder() ? 0.5 : 1.0; }

/// Returns how many embeddings the model has: an encoder may have its own.
double Embeddings(const ModelConfig& config) {
  const auto family = FamilyOf({{"model_type", config.family}});
  return family.ok() && PlaceOf(**family, config, "encoder_embedding.weight").has_value() ? 2 : 1;
}

/// Returns the number of matrices of a feed-forward.
double FeedForwardMatrices(const ModelConfig& config) { return config.gated_feed_forward ? 3 : 2; }

using WidthOfLayer = int64_t (ModelConfig::*)(int64_t layer) const;

/// Returns the largest width of a layer's feed-forward, or the sum over those of all layers. Layers of an
/// encoder-decoder have the same feed-forward, if any.
double LargestWidth(const ModelConfig& config, WidthOfLayer width) {
  int64_t largest = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) largest = std::max(largest, (config.*width)(layer));
  return static_cast<double>(largest);
}

int64_t SumOfWidths(const ModelConfig& config, WidthOfLayer width) {
  if (config.HasEncoder()) return config.FeedForwards() * config.intermediate_size;
  int64_t sum = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) sum += (config.*width)(layer);
  return sum;
}

/// Returns the number of weights of the largest layer's feed-forward, all experts included.
double LargestFeedForward(const ModelConfig& config) {
  return FeedForwardMatrices(config) * static_cast<double>(config.hidden_size) *
         LargestWidth(config, &ModelConfig::FeedForwardWidth);
}

/// Returns the elements that the backward pass keeps of a feed-forward for each token: four intermediate results if it
/// is gated, else two; with experts also each chosen expert's input and output.
double FeedForwardElements(const ModelConfig& config) {
  return (config.gated_feed_forward ? 4.0 : 2.0) * LargestWidth(config, &ModelConfig::ActiveFeedForwardWidth) +
         2.0 * static_cast<double>(config.experts.per_token * config.hidden_size);
}

/// Returns the elements that it keeps of the rest of a layer: input, scaled and normalised input of both norms;
/// queries, repeated keys and values, the attention's output and its copy.
double OtherElements(const ModelConfig& config) {
  return 6.0 * static_cast<double>(config.hidden_size) + 5.0 * static_cast<double>(config.heads * config.head_width);
}

/// Returns the elements that a forward pass without gradients holds for each token: the feed-forward's intermediate
/// results, or queries, keys and values with their copies.
double PassingElements(const ModelConfig& config) {
  const double hidden = static_cast<double>(config.hidden_size);
  return std::max(FeedForwardElements(config) + hidden,
                  2 * hidden + 6.0 * static_cast<double>(config.heads * config.head_width));
}

/// Returns the elements kept per token in all layers. With recomputation, the layer whose backward pass runs has all
/// its elements in memory.
double KeptElementsOfAllLayers(const ModelConfig& config, Recompute recompute) {
  const double layers = static_cast<double>(config.layers);
  const double inner = FeedForwardElements(config), other = OtherElements(config);
  switch (recompute) {
    case Recompute::kNothing:
      break;
    case Recompute::kFeedForward:
      return layers * other + inner;
    case Recompute::kBlock:
      return layers * static_cast<double>(config.hidden_size) + other + inner;
  }
  return layers * (other + inner);
}

/// Returns the number of weights of the query and output projections and of those for the given number of KV heads.
int64_t AttentionParameters(const ModelConfig& config, int64_t kv_heads) {
  return 2 * config.layers * config.heads * config.head_width * config.hidden_size +
         KeyValueParameters(config, config.layers * kv_heads);
}

/// Returns the number of weights of the query and output projections.
int64_t QueryOutputParameters(const ModelConfig& config) { return AttentionParameters(config, 0); }

int64_t FeedForwardParameters(const ModelConfig& config, int64_t width_of_all_layers) {
  return static_cast<int64_t>(FeedForwardMatrices(config)) * config.hidden_size * width_of_all_layers;
}

/// Returns the model without the experts that tokens choose, which have no adapters.
ModelConfig WithoutExperts(ModelConfig config) {
  config.experts.count = config.experts.count > 0 ? 1 : 0;
  config.experts.width = 0;
  return config;
}

/// Returns the number of weights of the maps that adapters change.
int64_t AdaptedParameters(const ModelConfig& config) {
  return QueryOutputParameters(config) +
         FeedForwardParameters(config, SumOfWidths(WithoutExperts(config), &ModelConfig::FeedForwardWidth));
}

/// Returns rank x (in + out) summed over these maps.
int64_t AdapterParameters(const ModelConfig& config, int64_t rank) {
  const int64_t attention = config.hidden_size + config.heads * config.head_width;
  const ModelConfig adapted = WithoutExperts(config);
  int64_t feed_forwards = config.FeedForwards();
  for (int64_t layer = 0; layer < config.layers && config.experts.count > 0; ++layer) {
    if (adapted.FeedForwardWidth(layer) == 0) --feed_forwards;
  }
  const int64_t widths = feed_forwards * config.hidden_size + SumOfWidths(adapted, &ModelConfig::FeedForwardWidth);
  return rank * (2 * config.layers * attention + static_cast<int64_t>(FeedForwardMatrices(config)) * widths);
}

int64_t TrainedParameters(const ModelConfig& config, int64_t parameters, const PlannedTraining& training) {
  const int64_t original = OriginalHeadParameters(config, training);
  if (training.adapter_rank > 0) {
    return AdapterParameters(config, training.adapter_rank) +
           KeyValueParameters(config, config.layers * training.kv_heads);
  }
  return original + (training.attention_only ? AttentionParameters(config, training.kv_heads)
                                             : ParametersWith(config, parameters, training.kv_heads));
}

/// Returns the number of the student's entries that neither train nor belong to the teacher: see PlannedTraining.
int64_t FrozenParameters(const ModelConfig& config, const PlannedTraining& training) {
  if (training.adapter_rank == 0) return 0;
  return QueryOutputParameters(config) + AdaptedParameters(config) + OriginalHeadParameters(config, training);
}

/// Returns the number of weights of the blocks' linear maps.
int64_t BlockParameters(const ModelConfig& config, int64_t kv_heads_of_all_layers) {
  return QueryOutputParameters(config) +
         FeedForwardParameters(config, SumOfWidths(config, &ModelConfig::FeedForwardWidth)) +
         KeyValueParameters(config, kv_heads_of_all_layers);
}

/// Returns true if embeddings and output projection are trained.
bool TrainsEmbeddings(const PlannedTraining& training) {
  return !training.attention_only && training.adapter_rank == 0;
}

/// Returns the bytes of weights, gradients and optimizer state, of student and teacher, with kOptimizer and kGradients.
double ModelBytes(const ModelConfig& config, int64_t parameters, const PlannedTraining& training) {
  const double e = static_cast<double>(training.element_bytes);
  const double ranks = static_cast<double>(training.ranks);
  const double student = static_cast<double>(TrainedParameters(config, parameters, training));
  const double moments = 8 + (e == 4 ? 0 : 4);
  // Gradients of one bucket, flat in float32, and the sum of the slice.
  const double largest = TrainsEmbeddings(training) ? static_cast<double>(config.vocabulary * config.hidden_size) : 0;
  const double bucket = std::min(student, std::max(largest, static_cast<double>(kBucketBytes) / e));
  const double state = training.sharding == Sharding::kGradients
                           ? student * (e + (4 + moments) / ranks) + bucket * (e + 4 + 4 / ranks)
                           : student * (2 * e + (training.sums_apart ? 4 : 0) + (e + moments) / ranks);
  // These are the mixed weights, the values that their gradient needs, and that gradient.
  const double mixing = 3 * e * static_cast<double>(OriginalHeadParameters(config, training));
  const double frozen = e * static_cast<double>(FrozenParameters(config, training));
  return state + mixing + frozen + e * static_cast<double>(parameters);
}

/// Returns the same with kAll. Embeddings, output projection and adapters stay whole; of the blocks, one layer at a
/// time is whole, with its gradients and what its weights are computed from.
double SlicedModelBytes(const ModelConfig& config, int64_t parameters, const PlannedTraining& training) {
  const double e = static_cast<double>(training.element_bytes);
  const double ranks = static_cast<double>(training.ranks);
  const double layers = static_cast<double>(config.layers);
  const double moments = 8 + (e == 4 ? 0 : 4);
  const double of_teacher = static_cast<double>(BlockParameters(config, config.KvHeadsOfAllLayers()));
  const double original = static_cast<double>(OriginalHeadParameters(config, training));
  const double of_student = static_cast<double>(BlockParameters(config, config.layers * training.kv_heads)) + original;
  const double outer = static_cast<double>(parameters) - of_teacher;
  const double trained = static_cast<double>(TrainedParameters(config, parameters, training));
  const double adapters =
      training.adapter_rank > 0 ? static_cast<double>(AdapterParameters(config, training.adapter_rank)) : 0;
  const double whole = TrainsEmbeddings(training) ? outer : adapters;
  const double sliced = trained - whole;
  // Frozen slices that the conversion changed; the others are the teacher's.
  const double changed = training.adapter_rank > 0 ? static_cast<double>(QueryOutputParameters(config)) + original : 0;
  const double kept = whole * (e + (4 + moments) / ranks) + sliced * (e + 4 + moments) / ranks + e * changed / ranks +
                      e * (outer + of_teacher / ranks);
  const double adapted = training.adapter_rank > 0 ? static_cast<double>(AdaptedParameters(config)) : 0;
  // Layers with experts are larger than the average.
  const double uneven =
      config.experts.count > 0
          ? LargestFeedForward(config) * layers /
                static_cast<double>(FeedForwardParameters(config, SumOfWidths(config, &ModelConfig::FeedForwardWidth)))
          : 1;
  const double fetched =
      uneven * std::max(of_student, of_teacher) / layers * e * static_cast<double>(training.whole_blocks);
  // Gradients of as many layers, and those of one of its parts flat in float32 with the sum of the slice.
  const double summed = uneven * sliced / layers * (e * static_cast<double>(training.whole_blocks) + 4 + 4 / ranks);
  return kept + fetched + summed + e * (adapted + 3 * original) / layers;
}

double LossBytes(const ModelConfig& config, double tokens, const PlannedTraining& training) {
  constexpr double kCopies = 5;
  const double chunk = std::min(tokens, static_cast<double>(training.loss_chunk_tokens)) *
                       static_cast<double>(config.vocabulary) * 4 * kCopies;
  if (!TrainsEmbeddings(training)) return chunk;
  return chunk + 4.0 * static_cast<double>(config.vocabulary * config.hidden_size);
}

/// Returns the tokens that a token of a sequence sees on average, summed over layers.
double TokensSeenOnAverage(const ModelConfig& config, int64_t sequence_length) {
  if (sequence_length == 0) return 0;
  const double length = static_cast<double>(sequence_length);
  double sum = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const double seen = static_cast<double>(config.Kind(layer).TokensSeen(sequence_length));
    sum += seen - seen * seen / (2 * length);
  }
  return sum;
}

/// Returns the bytes of the attention's logits and their gradients, in float32, of one sequence at a time where no
/// fused kernel takes them.
double CappedLogitBytes(const ModelConfig& config, int64_t sequence_length) {
  constexpr double kCopies = 5;
  if (config.attention_soft_cap == 0) return 0;
  const double length = static_cast<double>(sequence_length) * TokenShare(config);
  return kCopies * 4 * static_cast<double>(config.heads) * length * length;
}

}  // namespace

int64_t CopiesForTarget(const ModelConfig& config, int64_t kv_heads) {
  if (!config.kv_heads_of_layers.empty()) return 1;
  return HeadsForTarget(AttentionShapeOf(config, 0), kv_heads) / config.kv_heads;
}

int64_t ParametersWith(const ModelConfig& config, int64_t parameters, int64_t kv_heads) {
  return parameters - SourceKeyValueParameters(config) + KeyValueParameters(config, config.layers * kv_heads);
}

double ForwardFlops(const ModelConfig& config, int64_t kv_heads, int64_t sequence_length) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double attention = static_cast<double>(config.heads * config.head_width);
  const double weights =
      static_cast<double>(config.layers) * 2 * hidden * attention +
      static_cast<double>(FeedForwardParameters(config, SumOfWidths(config, &ModelConfig::ActiveFeedForwardWidth))) +
      static_cast<double>(KeyValueParameters(config, config.layers * kv_heads)) +
      hidden * static_cast<double>(config.vocabulary);
  const double scores = 2 * attention * TokensSeenOnAverage(config, sequence_length);
  return 2 * (weights + scores) * TokenShare(config);
}

double TrainingFlops(const ModelConfig& config, int64_t kv_heads, bool gated, int64_t sequence_length) {
  const double teacher = ForwardFlops(config, config.kv_heads, sequence_length);
  const int64_t trained = gated ? config.kv_heads * CopiesForTarget(config, kv_heads) : kv_heads;
  return teacher + 3 * ForwardFlops(config, trained, sequence_length);
}

double TrainingBytes(const ModelConfig& config, int64_t parameters, const PlannedTraining& training) {
  const double e = static_cast<double>(training.element_bytes);
  const double tokens = static_cast<double>(training.micro_batch_tokens);
  const bool is_sliced = training.sharding == Sharding::kAll;
  const double models =
      is_sliced ? SlicedModelBytes(config, parameters, training) : ModelBytes(config, parameters, training);
  const double backward = e * tokens * TokenShare(config) * KeptElementsOfAllLayers(config, training.recompute);
  // The teacher's outputs, and in float32 the targets and the differences that the backward pass needs.
  const double compared = training.compares_attention ? (e + 8) * tokens * TokenShare(config) *
                                                            static_cast<double>(config.layers * config.hidden_size)
                                                      : 0;
  const double step = backward + compared +
                      std::max(LossBytes(config, tokens, training), CappedLogitBytes(config, training.sequence_length));
  const double measured_tokens = static_cast<double>(training.measured_tokens);
  const double measurement = e * measured_tokens * TokenShare(config) * PassingElements(config) +
                             4.0 * 2 * std::min(measured_tokens, static_cast<double>(training.loss_chunk_tokens)) *
                                 static_cast<double>(config.vocabulary);
  return models + std::max(step, measurement);
}

double CheckpointCopyBytes(const ModelConfig& config, int64_t parameters, const PlannedTraining& training) {
  if (!training.writes_checkpoints) return 0;
  return 12.0 * static_cast<double>(TrainedParameters(config, parameters, training)) /
         static_cast<double>(training.ranks);
}

double ForwardBytes(const ModelConfig& config, double tokens) {
  const double attention = static_cast<double>(config.heads * config.head_width);
  return 4 * tokens * TokenShare(config) *
         (FeedForwardElements(config) + 4 * static_cast<double>(config.hidden_size) + 4 * attention);
}

double CalibrationBytes(const ModelConfig& config, double tokens) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double attention = 2.0 * static_cast<double>((config.heads + config.kv_heads) * config.head_width);
  const double block = hidden * attention + LargestFeedForward(config);
  return 4 * (2 * block + Embeddings(config) * static_cast<double>(config.vocabulary) * hidden) +
         ForwardBytes(config, tokens);
}

double LayerwiseBytes(const ModelConfig& config, const PlannedLayers& planned) {
  const double e = static_cast<double>(planned.element_bytes);
  const double hidden = static_cast<double>(config.hidden_size);
  const double attention = static_cast<double>(config.heads * config.head_width);
  const double kv = static_cast<double>(planned.kv_heads * config.head_width);
  const double source_kv = static_cast<double>(config.kv_heads * config.head_width);
  const double block = e * (2 * hidden * (attention + source_kv) + LargestFeedForward(config));
  // The merged weights stay, beside the student's: weights, gradients, their shard, moments and master weights.
  const double student = 2 * hidden * (attention + kv) * (e + 3 * e + 8 + (e == 4 ? 0 : 4));
  const double tokens = static_cast<double>(planned.sequences_in_training * planned.sequence_length);
  const double rows = e * tokens * TokenShare(config) * (8 * hidden + 9 * attention + 4 * kv);
  const double of_forward = e * static_cast<double>(planned.sequences_at_once * planned.sequence_length) *
                            TokenShare(config) * PassingElements(config);
  const double maps = planned.with_map ? 2 * 4.0 * static_cast<double>(config.heads) * tokens * TokenShare(config) *
                                             static_cast<double>(planned.sequence_length) * TokenShare(config)
                                       : 0;
  return block + student + std::max(rows + maps, of_forward);
}

double LayerwiseFlops(const ModelConfig& config, const PlannedLayers& planned) {
  const double hidden = static_cast<double>(config.hidden_size);
  const double attention = static_cast<double>(config.heads * config.head_width);
  const double length = static_cast<double>(planned.sequence_length) * TokenShare(config);
  const auto layer = [&](int64_t kv_heads, double products) {
    const double kv = static_cast<double>(kv_heads * config.head_width);
    return 2 * (2 * hidden * (attention + kv) + products * attention * length);
  };
  // Probabilities take one product of full length, since explicit masks do not halve them.
  const double teacher = planned.with_map ? 0.4 * layer(config.kv_heads, 1) : 0;
  return static_cast<double>(config.layers) * TokenShare(config) * (3 * layer(planned.kv_heads, 1) + teacher);
}

double EvaluationBytes(const ModelConfig& config, int64_t parameters, const PlannedEvaluation& evaluation) {
  const double e = static_cast<double>(evaluation.element_bytes);
  const double result = e * static_cast<double>(ParametersWith(config, parameters, evaluation.kv_heads));
  const double source = e * static_cast<double>(parameters);
  double measured = std::max(source, result);
  if (evaluation.window_tokens > 0) {
    // The logits of both models, their logarithms, and what is computed of them.
    constexpr double kCopies = 5;
    const double tokens = static_cast<double>(evaluation.window_tokens);
    const double vocabulary = static_cast<double>(config.vocabulary);
    const double projection = e * vocabulary * static_cast<double>(config.hidden_size);
    measured = std::max(source, result + projection) + 4 * kCopies * tokens * vocabulary +
               e * static_cast<double>(evaluation.tokens_at_once) * TokenShare(config) * PassingElements(config);
  }
  if (evaluation.cached_tokens == 0) return measured;
  ModelConfig small = config;
  small.kv_heads = evaluation.kv_heads;
  small.kv_heads_of_layers.clear();
  const auto cache = [&](const ModelConfig& model) {
    return static_cast<double>(evaluation.cached_sequences *
                               model.KvCacheBytes(evaluation.cached_tokens, evaluation.element_bytes));
  };
  const double of_source = source + cache(config), of_result = result + cache(small);
  return std::max(measured, evaluation.in_turns ? of_source + 2 * of_result : std::max(of_source, of_result));
}

}  // namespace regroup
