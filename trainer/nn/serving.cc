#include "trainer/nn/serving.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "services/common/base/number_text.h"

namespace regroup {
namespace {

bool CanShare(int64_t kv_heads, int64_t gpus) { return kv_heads % gpus == 0 || gpus % kv_heads == 0; }

/// Returns the most tokens, up to `most`, of a sequence whose keys and values take at most `bytes`.
int64_t LongestSequence(const ModelConfig& config, int64_t element_bytes, double bytes, int64_t most) {
  int64_t fits = 0;
  for (int64_t too_long = most + 1; fits + 1 < too_long;) {
    const int64_t middle = fits + (too_long - fits) / 2;
    (static_cast<double>(config.KvCacheBytes(middle, element_bytes)) <= bytes ? fits : too_long) = middle;
  }
  return fits;
}

ServingCapacity CapacityOf(const ModelConfig& on_one_gpu, const ServingSettings& settings) {
  const double weights = settings.weight_bytes / static_cast<double>(settings.gpus);
  const double left = std::max(0.0, *settings.usable_bytes - weights);
  const int64_t element = settings.cache_element_bytes;
  const auto fit = [&](int64_t tokens) {
    return static_cast<int64_t>(left / static_cast<double>(on_one_gpu.KvCacheBytes(tokens, element)));
  };
  return {.tokens = fit(1),
          .requests = fit(std::max<int64_t>(1, settings.context_length)),
          .longest_context = LongestSequence(on_one_gpu, element, left, on_one_gpu.max_positions)};
}

std::string NoteOnClip(const ModelConfig& source, const ModelConfig& result, int64_t cache_element_bytes) {
  const int64_t before = source.KvCacheBytes(0, cache_element_bytes),
                after = result.KvCacheBytes(0, cache_element_bytes);
  return fmt::format(
      "the cross attention keeps {} B of every clip in the cache{}, beside the bytes of each token",
      GroupedText(before),
      after == before ? "" : fmt::format(" of the source, and {} B in that of the result", GroupedText(after)));
}

}  // namespace

bool CanBeSplit(const ModelConfig& config, int64_t gpus) {
  if (config.heads % gpus != 0) return false;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (!CanShare(config.KvHeads(layer), gpus)) return false;
  }
  return true;
}

Serving ServingOf(const ModelConfig& config, const ServingSettings& settings) {
  Serving serving{.can_be_split = CanBeSplit(config, settings.gpus)};
  if (!serving.can_be_split) return serving;
  ModelConfig on_one_gpu = config;
  on_one_gpu.kv_heads = KvHeadsPerGpu(config.kv_heads, settings.gpus);
  for (int64_t& heads : on_one_gpu.kv_heads_of_layers) heads = KvHeadsPerGpu(heads, settings.gpus);
  serving.kv_heads_per_gpu = on_one_gpu.kv_heads;
  serving.kv_bytes_per_token = on_one_gpu.KvCacheBytesPerToken(settings.cache_element_bytes);
  if (settings.usable_bytes) serving.capacity = CapacityOf(on_one_gpu, settings);
  return serving;
}

std::string NoteOnCache(const ModelConfig& source, const ModelConfig& result, int64_t cache_element_bytes) {
  if (source.ReadsAudio()) return NoteOnClip(source, result, cache_element_bytes);
  int64_t windowed = 0, longest = 0;
  for (int64_t layer = source.encoder_layers; layer < source.layers; ++layer) {
    const int64_t window = source.Kind(layer).sliding_window;
    if (window == 0 || window >= source.StackPositions()) continue;
    ++windowed;
    longest = std::max(longest, window);
  }
  if (windowed == 0) return "";
  const auto growth = [&](const ModelConfig& config) {
    return fmt::format("{} of {} B", GroupedText(config.GrowingKvCacheBytesPerToken(cache_element_bytes)),
                       GroupedText(config.KvCacheBytesPerToken(cache_element_bytes)));
  };
  const bool same = source.KvHeadsOfAllLayers() == result.KvHeadsOfAllLayers();
  return fmt::format(
      "the cache of {} of the {} layers{} stops growing at the layer's window of {} tokens; beyond it a token adds {} "
      "to the cache{}",
      windowed, source.layers - source.encoder_layers, source.HasEncoder() ? " that have one" : "",
      GroupedText(longest), growth(source),
      same ? "" : fmt::format(" of the source, and {} to that of the result", growth(result)));
}

std::vector<int64_t> GpuCounts(std::optional<int64_t> wanted) {
  std::vector<int64_t> counts(std::begin(kUsualGpuCounts), std::end(kUsualGpuCounts));
  const bool is_there = wanted && std::find(counts.begin(), counts.end(), *wanted) != counts.end();
  if (wanted && !is_there) counts.insert(std::upper_bound(counts.begin(), counts.end(), *wanted), *wanted);
  return counts;
}

}  // namespace regroup
