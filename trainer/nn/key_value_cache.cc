#include "trainer/nn/key_value_cache.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "trainer/nn/grouped_products.h"

namespace regroup {
namespace {

/// Returns the attention of the heads without repeating those of keys and values.
at::Tensor AttendGrouped(const AttentionHeads& heads) {
  if (heads.soft_cap > 0) return Attend(heads);
  std::optional<at::Tensor> mask;
  if (heads.bias.defined()) mask = heads.bias.to(heads.query.scalar_type());
  const bool grouped = heads.query.size(1) != heads.key.size(1);
  return at::scaled_dot_product_attention(heads.query, heads.key, heads.value, mask, /*dropout_p=*/0.0,
                                          heads.causal && !mask, heads.scale, grouped);
}

/// Reshapes [B, H, 1, d] to [B, G, s, d] and scales.
at::Tensor FoldQueries(const AttentionHeads& heads, int64_t groups) {
  return heads.query.squeeze(2).unflatten(1, {groups, -1}) * heads.scale;
}

/// Returns the attention weights of products [B, G, s, T] of scaled queries and keys.
at::Tensor FoldedWeights(const at::Tensor& products_BGsT, const AttentionHeads& heads) {
  const at::Tensor logits = SoftCapped(products_BGsT, heads.soft_cap);
  if (!heads.bias.defined()) return at::softmax(logits, -1);
  const at::Tensor bias = heads.bias.squeeze(2);  // [1, H or 1, T]
  const at::Tensor folded = bias.size(1) == 1 ? bias.unsqueeze(1) : bias.unflatten(1, {logits.size(1), -1});
  return at::softmax(logits + folded.to(logits.scalar_type()), -1);
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
      rotations_(MakeRotaryTables(config, capacity, device)),
      blocked_(CanMultiplyGrouped(config.head_width, dtype, device)),
      capacity_(capacity) {
  const auto options = at::TensorOptions(dtype).device(device);
  const int64_t width = config.head_width;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const bool encodes = config.Role(layer) == AttentionRole::kEncoder;
    const int64_t heads = config.KvHeads(layer), slots = encodes ? 0 : config.Kind(layer).TokensSeen(capacity);
    const int64_t blocks = (slots + kKeyBlock - 1) / kKeyBlock;
    values_.push_back(at::zeros({batch, heads, slots, width}, options));
    keys_.push_back(blocked_ ? at::zeros({batch, heads, blocks, width, kKeyBlock}, options)
                             : at::zeros_like(values_.back()));
  }
}

int64_t KeyValueCache::Kept(int64_t layer, int64_t length) const {
  return config_.Role(layer) == AttentionRole::kCross ? memory_ : std::min(length, Slots(layer));
}

int64_t KeyValueCache::Bytes() const {
  int64_t bytes = 0;
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const int64_t kept = Kept(layer, length_);
    bytes += static_cast<int64_t>(Keys(layer, kept).nbytes() + values_[layer].narrow(2, 0, kept).nbytes());
  }
  return bytes;
}

std::vector<PositionTables> KeyValueCache::NextPositions(int64_t tokens) const {
  std::vector<PositionTables> tables;
  for (size_t i = 0; i < config_.kinds.size(); ++i) {
    PositionTables& table = tables.emplace_back(PositionTables{.rotary = rotations_[i]});
    if (table.rotary.cosine.defined()) {
      table.rotary.cosine = table.rotary.cosine.narrow(0, length_, tokens);
      table.rotary.sine = table.rotary.sine.narrow(0, length_, tokens);
    }
    // One token sees all that is in a layer's ring.
    const bool needs_bias = tokens > 1 || config_.alibi;
    if (needs_bias) table.bias = MakePositionBias(config_, config_.kinds[i], length_, tokens, values_.front().device());
  }
  return tables;
}

void KeyValueCache::Keep(int64_t layer, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd) {
  const int64_t slots = Slots(layer), tokens = key_BGTd.size(2);
  for (int64_t done = std::max<int64_t>(0, tokens - slots); done < tokens;) {
    const int64_t slot = (length_ + done) % slots;
    const int64_t count = std::min(slots - slot, tokens - done);
    KeepInSlots(layer, slot, key_BGTd.narrow(2, done, count), value_BGTd.narrow(2, done, count));
    done += count;
  }
}

void KeyValueCache::KeepInSlots(int64_t layer, int64_t slot, const at::Tensor& key_BGTd, const at::Tensor& value_BGTd) {
  const int64_t tokens = key_BGTd.size(2);
  values_[layer].narrow(2, slot, tokens).copy_(value_BGTd);
  if (!blocked_) {
    keys_[layer].narrow(2, slot, tokens).copy_(key_BGTd);
    return;
  }
  for (int64_t done = 0; done < tokens;) {
    const int64_t offset = (slot + done) % kKeyBlock;
    const int64_t count = std::min(kKeyBlock - offset, tokens - done);
    const at::Tensor block = keys_[layer].select(2, (slot + done) / kKeyBlock).narrow(3, offset, count);
    block.copy_(key_BGTd.narrow(2, done, count).transpose(2, 3));
    done += count;
  }
}

at::Tensor KeyValueCache::Keys(int64_t layer, int64_t slots) const {
  const at::Tensor& keys = keys_[layer];
  return (blocked_ ? keys.transpose(3, 4).flatten(2, 3) : keys).narrow(2, 0, slots);
}

void KeyValueCache::KeepMemory(int64_t layer, const at::Tensor& key_BGMd, const at::Tensor& value_BGMd) {
  memory_ = key_BGMd.size(2);
  KeepInSlots(layer, 0, key_BGMd, value_BGMd);
}

at::Tensor KeyValueCache::AttendOne(int64_t layer, const AttentionHeads& heads, int64_t kept) const {
  const at::Tensor& values = values_[layer];
  if (blocked_) {
    const at::Tensor products = ScoreKeys(FoldQueries(heads, values.size(1)), keys_[layer], kept);
    return WeighValues(FoldedWeights(products, heads), values).flatten(1, 2).unsqueeze(2);
  }
  AttentionHeads all = heads;
  all.key = Keys(layer, kept);
  all.value = values.narrow(2, 0, kept);
  all.causal = false;
  return values.is_cuda() ? AttendGrouped(all) : AttendFolded(all);
}

AttentionHeads KeyValueCache::WithEarlier(int64_t layer, const AttentionHeads& heads) const {
  const int64_t kept = std::min(length_, Slots(layer)), tokens = heads.key.size(2);
  const at::Tensor order =
      at::arange(length_ - kept, length_, heads.key.options().dtype(at::kLong)).remainder_(Slots(layer));
  AttentionHeads all = heads;
  all.key = at::cat({Keys(layer, kept).index_select(2, order), heads.key}, 2);
  all.value = at::cat({values_[layer].index_select(2, order), heads.value}, 2);
  all.bias = heads.bias.defined() ? heads.bias.narrow(3, length_ - kept, kept + tokens)
                                  : CausalBias(kept, tokens, 0, heads.key.device());
  return all;
}

at::Tensor KeyValueCache::AttendSeveral(int64_t layer, const AttentionHeads& heads) {
  const int64_t tokens = heads.key.size(2), read = length_ + tokens;
  if (length_ == 0 || Slots(layer) < read) {
    const AttentionHeads all = length_ == 0 ? heads : WithEarlier(layer, heads);
    Keep(layer, heads.key, heads.value);
    return AttendGrouped(all);
  }
  Keep(layer, heads.key, heads.value);
  AttentionHeads all = heads;
  all.key = Keys(layer, read);
  all.value = values_[layer].narrow(2, 0, read);
  if (!all.bias.defined()) all.bias = CausalBias(length_, tokens, 0, heads.key.device());
  return AttendGrouped(all);
}

at::Tensor KeyValueCache::AttendMemory(int64_t layer, const AttentionHeads& heads) const {
  AttentionHeads all = heads;
  all.key = Keys(layer, memory_);
  all.value = values_[layer].narrow(2, 0, memory_);
  return AttendGrouped(all);
}

at::Tensor KeyValueCache::Attend(int64_t layer, const AttentionHeads& heads) {
  const bool is_one = heads.query.size(2) == 1;
  if (!heads.key.defined()) return is_one ? AttendOne(layer, heads, memory_) : AttendMemory(layer, heads);
  const bool in_order = length_ < Slots(layer);
  if (!is_one || (heads.bias.defined() && !in_order)) return AttendSeveral(layer, heads);
  Keep(layer, heads.key, heads.value);
  return AttendOne(layer, heads, Kept(layer, length_ + 1));
}

void KeyValueCache::FillRandomly(int64_t length) {
  for (at::Tensor& keys : keys_) keys.normal_();
  for (at::Tensor& values : values_) values.normal_();
  length_ = length;
  memory_ = config_.HasEncoder() ? length : 0;
}

at::Tensor AttendFolded(const AttentionHeads& heads) {
  const at::Tensor query_BGsd = FoldQueries(heads, heads.key.size(1));
  const at::Tensor weights_BGsT = FoldedWeights(at::matmul(query_BGsd, heads.key.transpose(2, 3)), heads);
  return at::matmul(weights_BGsT, heads.value).flatten(1, 2).unsqueeze(2);
}

std::string DecodeAttentionName(const ModelConfig& config, int64_t batch, int64_t length, at::ScalarType dtype,
                                at::Device device) {
  if (!device.is_cuda())
    return CanMultiplyGrouped(config.head_width, dtype, device) ? "grouped loops" : "folded matmul";
  const auto options = at::TensorOptions(dtype).device(device);
  const at::Tensor query = at::zeros({batch, config.heads, 1, config.head_width}, options);
  const at::Tensor keys = at::zeros({batch, config.kv_heads, length, config.head_width}, options);
  std::optional<at::Tensor> mask;
  if (config.HeadsHavePositionBias()) mask = at::zeros({1, config.heads, 1, length}, options);
  return KernelName(
      at::_fused_sdp_choice(query, keys, keys, mask, 0.0, false, std::nullopt, config.heads != config.kv_heads));
}

}  // namespace regroup
