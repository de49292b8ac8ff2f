// Computes what a server can hold of a model: the KV cache of a token on each of several GPUs, and how many tokens and
// requests fit. Counts bytes alone: what an engine uses for activations, and how it rounds to blocks, is not in it.
// Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/nn/model_config.h"

namespace regroup {

/// The numbers of GPUs that tables show.
inline constexpr int64_t kUsualGpuCounts[] = {1, 2, 4, 8};

struct ServingSettings {
  /// GPUs over which the heads of each layer are distributed (tensor parallelism).
  int64_t gpus = 1;
  /// Bytes of an entry of keys and values in the cache.
  int64_t cache_element_bytes = 2;
  /// Bytes of each GPU that weights and cache may take together; without a value, nothing is said about capacity.
  std::optional<double> usable_bytes;
  /// Bytes of all weights.
  double weight_bytes = 0;
  /// Tokens of a request, prompt and answer.
  int64_t context_length = 0;
};

struct ServingCapacity {
  /// Tokens whose keys and values fit beside the weights, in sequences no longer than a layer's window; 0 if the
  /// weights alone do not fit.
  int64_t tokens = 0;
  /// Requests of the context length that fit at once.
  int64_t requests = 0;
  /// Tokens of the longest single request: at most the model's positions.
  int64_t longest_context = 0;
};

struct Serving {
  /// False if the query heads cannot be shared equally by the GPUs, or the KV heads neither shared equally nor copied
  /// equally often; engines such as vLLM refuse such a number of GPUs. The other figures are then 0.
  bool can_be_split = false;
  /// KvHeadsPerGpu of the layer with the most KV heads.
  int64_t kv_heads_per_gpu = 0;
  /// Bytes of KV cache that one token takes on each GPU, over all layers with a cache, while no window is full.
  int64_t kv_bytes_per_token = 0;
  std::optional<ServingCapacity> capacity;
};

/// Source and result on one number of GPUs.
struct ServingRow {
  int64_t gpus = 1;
  Serving source, result;
};

/// Returns how many of a layer's KV heads one GPU holds: at least one, so that more GPUs than heads hold copies.
inline int64_t KvHeadsPerGpu(int64_t kv_heads, int64_t gpus) { return std::max<int64_t>(1, kv_heads / gpus); }

/// Returns true if every layer's heads can be distributed over this number of GPUs.
bool CanBeSplit(const ModelConfig& config, int64_t gpus);

Serving ServingOf(const ModelConfig& config, const ServingSettings& settings);

/// Says for a model with windows in some layers, shorter than its longest sequence, which part of a token's bytes goes
/// on growing with the context, in the source's cache and, if it is another model, in the result's. For a model whose
/// encoder reads audio it says how many bytes the cross attention keeps of a clip. Empty for other models.
std::string NoteOnCache(const ModelConfig& source, const ModelConfig& result, int64_t cache_element_bytes);

/// Returns the usual numbers of GPUs and, if it is none of them, `wanted`; in increasing order.
std::vector<int64_t> GpuCounts(std::optional<int64_t> wanted);

}  // namespace regroup
