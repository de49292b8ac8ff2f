#include "trainer/nn/serving.h"

#include <algorithm>
#include <iterator>

namespace regroup {
namespace {

bool CanShare(int64_t kv_heads, int64_t gpus) { return kv_heads % gpus == 0 || gpus % kv_heads == 0; }

/// Returns the tokens of a request that are in the cache at most: a window forgets those before it.
int64_t CachedTokens(const ModelConfig& config, int64_t tokens) {
  return config.sliding_window > 0 ? std::min(tokens, config.sliding_window) : tokens;
}

ServingCapacity CapacityOf(const ModelConfig& config, const ServingSettings& settings, int64_t kv_bytes_per_token) {
  const double weights = settings.weight_bytes / static_cast<double>(settings.gpus);
  const double left = std::max(0.0, *settings.usable_bytes - weights);
  ServingCapacity capacity;
  capacity.tokens = static_cast<int64_t>(left / static_cast<double>(kv_bytes_per_token));
  capacity.requests = capacity.tokens / std::max<int64_t>(1, CachedTokens(config, settings.context_length));
  const bool has_all = capacity.tokens >= CachedTokens(config, config.max_positions);
  capacity.longest_context = has_all ? config.max_positions : capacity.tokens;
  return capacity;
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
  if (settings.usable_bytes) serving.capacity = CapacityOf(config, settings, serving.kv_bytes_per_token);
  return serving;
}

std::vector<int64_t> GpuCounts(std::optional<int64_t> wanted) {
  std::vector<int64_t> counts(std::begin(kUsualGpuCounts), std::end(kUsualGpuCounts));
  const bool is_there = wanted && std::find(counts.begin(), counts.end(), *wanted) != counts.end();
  if (wanted && !is_there) counts.insert(std::upper_bound(counts.begin(), counts.end(), *wanted), *wanted);
  return counts;
}

}  // namespace regroup
