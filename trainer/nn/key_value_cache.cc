#include "trainer/nn/key_value_cache.h"

#include <ATen/ATen.h>

#include <cmath>

namespace regroup {
namespace {

/// Which of `total` tokens each of the last `tokens` may read: itself and earlier ones.
at::Tensor CausalMask(int64_t tokens, int64_t total, at::Device device) {
  const auto options = at::TensorOptions(at::kBool).device(device);
  return at::ones({tokens, total}, options).tril_(total - tokens);
}

at::Tensor AttendGrouped(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const std::optional<at::Tensor>& mask, bool causal) {
  const bool grouped = query.size(1) != key.size(1);
  return at::scaled_dot_product_attention(query, key, value, mask, /*dropout_p=*/0.0, causal, /*scale=*/std::nullopt,
                                          grouped);
}

const char* KernelName(int64_t choice) {
  // The order of at::SDPBackend.
  static constexpr const char* kNames[] = {"math", "flash attention", "memory-efficient attention", "cuDNN attention"};
  return choice >= 0 && choice < 4 ? kNames[choice] : "unknown";
}

}  // namespace

KeyValueCache::KeyValueCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype,
                             at::Device device)
    : rotations_(MakeRotaryTable(config.rotary, capacity, device)) {
  const auto options = at::TensorOptions(dtype).device(device);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    keys_.push_back(at::empty({batch, config.kv_heads, capacity, config.head_width}, options));
    values_.push_back(at::empty_like(keys_.back()));
  }
}

int64_t KeyValueCache::Bytes() const {
  int64_t bytes = 0;
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    bytes += static_cast<int64_t>(keys_[layer].narrow(2, 0, length_).nbytes());
    bytes += static_cast<int64_t>(values_[layer].narrow(2, 0, length_).nbytes());
  }
  return bytes;
}

RotaryTable KeyValueCache::NextRotations(int64_t tokens) const {
  return {rotations_.cosine.narrow(0, length_, tokens), rotations_.sine.narrow(0, length_, tokens)};
}

at::Tensor KeyValueCache::Attend(int64_t layer, const at::Tensor& query_BHTd, const at::Tensor& key_BGTd,
                                 const at::Tensor& value_BGTd) {
  const int64_t tokens = query_BHTd.size(2);
  keys_[layer].narrow(2, length_, tokens).copy_(key_BGTd);
  values_[layer].narrow(2, length_, tokens).copy_(value_BGTd);
  if (length_ == 0 && tokens > 1) return AttendGrouped(query_BHTd, key_BGTd, value_BGTd, std::nullopt, true);
  const int64_t total = length_ + tokens;
  const at::Tensor keys = keys_[layer].narrow(2, 0, total);
  const at::Tensor values = values_[layer].narrow(2, 0, total);
  if (tokens > 1) return AttendGrouped(query_BHTd, keys, values, CausalMask(tokens, total, keys.device()), false);
  return keys.is_cuda() ? AttendGrouped(query_BHTd, keys, values, std::nullopt, false)
                        : AttendFolded(query_BHTd, keys, values);
}

void KeyValueCache::FillRandomly(int64_t length) {
  for (at::Tensor& keys : keys_) keys.normal_();
  for (at::Tensor& values : values_) values.normal_();
  length_ = length;
}

at::Tensor AttendFolded(const at::Tensor& query_BH1d, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd) {
  const int64_t groups = key_BGTd.size(1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(query_BH1d.size(3)));
  const at::Tensor query_BGsd = query_BH1d.squeeze(2).unflatten(1, {groups, -1}) * scale;
  const at::Tensor weights_BGsT = at::softmax(at::matmul(query_BGsd, key_BGTd.transpose(2, 3)), -1);
  return at::matmul(weights_BGsT, value_BGTd).flatten(1, 2).unsqueeze(2);
}

std::string DecodeAttentionName(const ModelConfig& config, int64_t batch, int64_t length, at::ScalarType dtype,
                                at::Device device) {
  if (!device.is_cuda()) return "folded matmul";
  const auto options = at::TensorOptions(dtype).device(device);
  const at::Tensor query = at::zeros({batch, config.heads, 1, config.head_width}, options);
  const at::Tensor keys = at::zeros({batch, config.kv_heads, length, config.head_width}, options);
  return KernelName(at::_fused_sdp_choice(query, keys, keys, {}, 0.0, false, std::nullopt,
                                          config.heads != config.kv_heads));
}

}  // namespace regroup
