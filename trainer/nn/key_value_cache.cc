#include "trainer/nn/key_value_cache.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "trainer/nn/grouped_products.h"

namespace regroup {
namespace {

/// Returns the mask of the last `tokens` of `total` tokens: each may read itself and earlier ones.
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

/// Reshapes [B, H, 1, d] to [B, G, s, d] and scales by 1 / sqrt(d).
at::Tensor FoldQueries(const at::Tensor& query_BH1d, int64_t groups) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(query_BH1d.size(3)));
  return query_BH1d.squeeze(2).unflatten(1, {groups, -1}) * scale;
}

const char* KernelName(int64_t choice) {
  // In the order of at::SDPBackend.
  static constexpr const char* kNames[] = {"math", "flash attention", "memory-efficient attention", "cuDNN attention"};
  return choice >= 0 && choice < 4 ? kNames[choice] : "unknown";
}

}  // namespace

KeyValueCache::KeyValueCache(const ModelConfig& config, int64_t batch, int64_t capacity, at::ScalarType dtype,
                             at::Device device)
    : config_(config),
      rotations_(MakeRotaryTable(config.rotary, capacity, device)),
      blocked_(CanMultiplyGrouped(config.head_width, dtype, device)),
      capacity_(capacity) {
  const auto options = at::TensorOptions(dtype).device(device);
  const int64_t width = config.head_width;
  const int64_t blocks = (capacity + kKeyBlock - 1) / kKeyBlock;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const int64_t heads = config.KvHeads(layer);
    values_.push_back(at::zeros({batch, heads, capacity, width}, options));
    keys_.push_back(blocked_ ? at::zeros({batch, heads, blocks, width, kKeyBlock}, options)
                             : at::zeros_like(values_.back()));
  }
}

int64_t KeyValueCache::Bytes() const {
  int64_t bytes = 0;
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    bytes += static_cast<int64_t>(Keys(static_cast<int64_t>(layer), length_).nbytes());
    bytes += static_cast<int64_t>(values_[layer].narrow(2, 0, length_).nbytes());
  }
  return bytes;
}

PositionTables KeyValueCache::NextPositions(int64_t tokens) const {
  return {{rotations_.cosine.narrow(0, length_, tokens), rotations_.sine.narrow(0, length_, tokens)},
          MakePositionBias(config_, length_, tokens, values_.front().device())};
}

void KeyValueCache::Keep(int64_t layer, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd) {
  const int64_t tokens = key_BGTd.size(2);
  values_[layer].narrow(2, length_, tokens).copy_(value_BGTd);
  if (!blocked_) {
    keys_[layer].narrow(2, length_, tokens).copy_(key_BGTd);
    return;
  }
  for (int64_t done = 0; done < tokens;) {
    const int64_t position = length_ + done;
    const int64_t offset = position % kKeyBlock;
    const int64_t count = std::min(kKeyBlock - offset, tokens - done);
    const at::Tensor block = keys_[layer].select(2, position / kKeyBlock).narrow(3, offset, count);
    block.copy_(key_BGTd.narrow(2, done, count).transpose(2, 3));
    done += count;
  }
}

at::Tensor KeyValueCache::Keys(int64_t layer, int64_t tokens) const {
  const at::Tensor& keys = keys_[layer];
  return (blocked_ ? keys.transpose(3, 4).flatten(2, 3) : keys).narrow(2, 0, tokens);
}

at::Tensor KeyValueCache::AttendOne(int64_t layer, const at::Tensor& query_BH1d) const {
  const int64_t total = length_ + 1;
  const at::Tensor& values = values_[layer];
  if (values.is_cuda()) {
    return AttendGrouped(query_BH1d, Keys(layer, total), values.narrow(2, 0, total), std::nullopt, false);
  }
  if (!blocked_) return AttendFolded(query_BH1d, Keys(layer, total), values.narrow(2, 0, total));
  const at::Tensor weights = at::softmax(ScoreKeys(FoldQueries(query_BH1d, values.size(1)), keys_[layer], total), -1);
  return WeighValues(weights, values).flatten(1, 2).unsqueeze(2);
}

at::Tensor KeyValueCache::Attend(int64_t layer, const at::Tensor& query_BHTd, const at::Tensor& key_BGTd,
                                 const at::Tensor& value_BGTd, const at::Tensor& bias) {
  const int64_t tokens = query_BHTd.size(2);
  Keep(layer, key_BGTd, value_BGTd);
  if (bias.defined()) {
    const int64_t read = length_ + tokens;
    return AttendGrouped(query_BHTd, Keys(layer, read), values_[layer].narrow(2, 0, read),
                         bias.to(query_BHTd.scalar_type()), false);
  }
  if (tokens == 1) return AttendOne(layer, query_BHTd);
  if (length_ == 0) return AttendGrouped(query_BHTd, key_BGTd, value_BGTd, std::nullopt, true);
  const int64_t total = length_ + tokens;
  return AttendGrouped(query_BHTd, Keys(layer, total), values_[layer].narrow(2, 0, total),
                       CausalMask(tokens, total, key_BGTd.device()), false);
}

void KeyValueCache::FillRandomly(int64_t length) {
  for (at::Tensor& keys : keys_) keys.normal_();
  for (at::Tensor& values : values_) values.normal_();
  length_ = length;
}

at::Tensor AttendFolded(const at::Tensor& query_BH1d, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd) {
  const at::Tensor query_BGsd = FoldQueries(query_BH1d, key_BGTd.size(1));
  const at::Tensor weights_BGsT = at::softmax(at::matmul(query_BGsd, key_BGTd.transpose(2, 3)), -1);
  return at::matmul(weights_BGsT, value_BGTd).flatten(1, 2).unsqueeze(2);
}

std::string DecodeAttentionName(const ModelConfig& config, int64_t batch, int64_t length, at::ScalarType dtype,
                                at::Device device) {
  if (!device.is_cuda())
    return CanMultiplyGrouped(config.head_width, dtype, device) ? "grouped loops" : "folded matmul";
  const auto options = at::TensorOptions(dtype).device(device);
  const at::Tensor query = at::zeros({batch, config.heads, 1, config.head_width}, options);
  const at::Tensor keys = at::zeros({batch, config.kv_heads, length, config.head_width}, options);
  return KernelName(
      at::_fused_sdp_choice(query, keys, keys, {}, 0.0, false, std::nullopt, config.heads != config.kv_heads));
}

}  // namespace regroup
