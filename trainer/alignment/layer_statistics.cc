#include "trainer/alignment/layer_statistics.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/pair_gram.h"
#include "trainer/alignment/split_heads.h"

namespace regroup {
namespace {

// Longer float32 sums than this would cost digits; shorter ones cost time.
constexpr int64_t kBlockTokens = 4096;
// A symmetric product of wider matrices is computed in strips that begin at the diagonal, so that little more than one
// half is computed.
constexpr int64_t kSymmetricWidth = 512;
constexpr int64_t kSymmetricBlocks = 8;

at::Tensor ComputeType(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kDouble ? tensor : tensor.to(at::kFloat);
}

// Returns the rows of the tokens that count, [tokens, width].
at::Tensor CountedRows(const at::Tensor& tensor, const at::Tensor& mask) {
  const auto rows = tensor.detach().reshape({-1, tensor.size(-1)});
  if (!mask.defined()) return ComputeType(rows);
  return ComputeType(rows.index_select(0, mask.reshape({-1}).to(rows.device()).nonzero().squeeze(1)));
}

// Adds rows^T rows to `sum` on and above the diagonal; entries below it must not be used.
void AddSymmetricProduct(at::Tensor& sum, const at::Tensor& rows) {
  if (rows.size(1) < kSymmetricWidth) {
    sum.add_(rows.t().mm(rows));
    return;
  }
  const int64_t width = (rows.size(1) + kSymmetricBlocks - 1) / kSymmetricBlocks;
  for (int64_t begin = 0; begin < rows.size(1); begin += width) {
    const int64_t height = std::min(width, rows.size(1) - begin), rest = rows.size(1) - begin;
    auto strip = sum.narrow(0, begin, height).narrow(1, begin, rest);
    strip.add_(rows.narrow(1, begin, height).t().mm(rows.narrow(1, begin, rest)));
  }
}

void AddMoments(at::Tensor& tokens, at::Tensor& moment, at::Tensor& sum, const at::Tensor& rows) {
  for (const auto& block : rows.split(kBlockTokens)) {
    tokens.add_(block.size(0));
    sum.add_(block.sum(0));
    AddSymmetricProduct(moment, block);
  }
}

// Turns [tokens, heads * width] into [tokens, heads, width], each head of length 1, or 0 where it was 0.
at::Tensor UnitHeads(const at::Tensor& rows, int64_t heads) {
  const auto split = rows.view({rows.size(0), heads, rows.size(1) / heads});
  return split / split.norm(2, -1, true).clamp_min(1e-30);
}

}  // namespace

AttentionActivations ProjectKeysAndValues(const at::Tensor& input, const AttentionWeights& weights) {
  AttentionActivations batch;
  batch.input = input;
  batch.keys = at::linear(input, weights.key, weights.key_bias);
  batch.values = at::linear(input, weights.value, weights.value_bias);
  return batch;
}

template <typename Fields>
auto LayerStatistics::Named(Fields& sums) {
  std::vector<std::pair<std::string, decltype(&sums.tokens)>> all = {
      {"tokens", &sums.tokens},
      {"input_moment", &sums.input_moment},
      {"input_sum", &sums.input_sum},
      {"query_tokens", &sums.query_tokens},
      {"query_moment", &sums.query_moment},
      {"query_sum", &sums.query_sum},
      {"unit_value_gram", &sums.unit_value_gram},
      {"unit_key_pairs", &sums.unit_key_pairs},
      {"unit_key_free_gram", &sums.unit_key_free_gram},
      {"unit_key_free_sum", &sums.unit_key_free_sum},
  };
  std::erase_if(all, [](const auto& entry) { return !entry.second->defined() || entry.second->numel() == 0; });
  return all;
}

LayerStatistics::LayerStatistics(const AttentionShape& shape, bool unit_grams)
    : shape_(shape), unit_grams_(unit_grams) {
  const auto zeros = [](at::IntArrayRef sizes) { return at::zeros(sizes, at::kDouble); };
  sums_.tokens = zeros({1});
  sums_.input_moment = zeros({shape.hidden, shape.hidden});
  sums_.input_sum = zeros({shape.hidden});
  if (shape.cross_attention) {
    sums_.query_tokens = zeros({1});
    sums_.query_moment = zeros({shape.query_hidden, shape.query_hidden});
    sums_.query_sum = zeros({shape.query_hidden});
  }
  if (!unit_grams) return;
  const int64_t heads = shape.kv_heads;
  sums_.unit_value_gram = zeros({heads * shape.value_width, heads * shape.value_width});
  sums_.unit_key_pairs = zeros({shape.RotaryPairs(), heads, heads, 2});
  sums_.unit_key_free_gram = zeros({heads * shape.FreeWidth(), heads * shape.FreeWidth()});
  sums_.unit_key_free_sum = zeros({heads * shape.FreeWidth()});
}

void LayerStatistics::MoveSumsTo(at::Device device) {
  if (sums_.tokens.device() == device) return;
  for (auto& [name, sum] : Named(sums_)) *sum = sum->to(device);
}

void LayerStatistics::Accumulate(const AttentionActivations& batch) {
  const at::NoGradGuard no_grad;
  lower_halves_stale_ = true;
  MoveSumsTo(batch.input.device());
  AddMoments(sums_.tokens, sums_.input_moment, sums_.input_sum, CountedRows(batch.input, batch.mask));
  if (shape_.cross_attention && batch.query_input.defined()) {
    AddMoments(sums_.query_tokens, sums_.query_moment, sums_.query_sum,
               CountedRows(batch.query_input, batch.query_mask));
  }
  if (!unit_grams_) return;
  for (const auto& block : CountedRows(batch.values, batch.mask).split(kBlockTokens)) AddUnitValues(block);
  for (const auto& block : CountedRows(batch.keys, batch.mask).split(kBlockTokens)) AddUnitKeys(block);
}

void LayerStatistics::AddUnitValues(const at::Tensor& values) {
  AddSymmetricProduct(sums_.unit_value_gram, UnitHeads(values, shape_.kv_heads).flatten(1));
}

void LayerStatistics::AddUnitKeys(const at::Tensor& keys) {
  const auto unit = UnitHeads(keys, shape_.kv_heads);
  if (shape_.RotaryPairs() > 0) {
    const auto pairs = PairsOfTokens(unit, shape_);
    sums_.unit_key_pairs.add_(ComplexGramParts(pairs.transpose(1, 2).bmm(pairs)));
  }
  if (shape_.FreeWidth() > 0) {
    const auto free = unit.narrow(2, shape_.rotary_width, shape_.FreeWidth()).flatten(1);
    AddSymmetricProduct(sums_.unit_key_free_gram, free);
    sums_.unit_key_free_sum.add_(free.sum(0));
  }
}

std::vector<at::Tensor> LayerStatistics::Sums() const {
  std::vector<at::Tensor> sums;
  for (const auto& [name, sum] : Named(sums_)) sums.push_back(*sum);
  return sums;
}

void LayerStatistics::Merge(const LayerStatistics& other) {
  const auto theirs = other.Sums();
  const auto ours = Sums();
  TORCH_CHECK(ours.size() == theirs.size(), "statistics of different settings cannot be added");
  for (size_t i = 0; i < ours.size(); ++i) ours[i].add_(theirs[i].to(ours[i].device()));
  lower_halves_stale_ |= other.lower_halves_stale_;
}

LayerStatistics LayerStatistics::Split(int64_t kv_heads) const {
  LayerStatistics split(WithKvHeads(shape_, kv_heads), unit_grams_);
  split.sums_ = sums_;
  split.lower_halves_stale_ = lower_halves_stale_;
  if (!unit_grams_) return split;
  const int64_t heads = shape_.kv_heads, copies = kv_heads / heads;
  const auto both_axes = [&](const at::Tensor& gram) {
    return RepeatHeads(RepeatHeads(Whole(gram), heads, copies).t(), heads, copies).t().contiguous();
  };
  split.sums_.unit_value_gram = both_axes(sums_.unit_value_gram);
  split.sums_.unit_key_pairs = sums_.unit_key_pairs.repeat_interleave(copies, 1).repeat_interleave(copies, 2);
  split.sums_.unit_key_free_gram = both_axes(sums_.unit_key_free_gram);
  split.sums_.unit_key_free_sum = RepeatHeads(sums_.unit_key_free_sum, heads, copies);
  return split;
}

NamedTensors LayerStatistics::ToTensors() const {
  NamedTensors tensors;
  for (const auto& [name, sum] : Named(sums_)) {
    const bool is_symmetric = sum->dim() == 2;
    tensors.emplace_back(name, (is_symmetric ? Whole(*sum) : *sum).detach().cpu());
  }
  return tensors;
}

absl::StatusOr<LayerStatistics> LayerStatistics::FromTensors(const AttentionShape& shape, const TensorMap& tensors) {
  REGROUP_RETURN_IF_ERROR(CheckShape(shape));
  LayerStatistics statistics(shape, tensors.contains("unit_value_gram"));
  for (auto& [name, sum] : Named(statistics.sums_)) {
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor stored, TakeTensor(tensors, name, sum->sizes()));
    *sum = stored.to(at::kCPU, at::kDouble).contiguous();
  }
  return statistics;
}

at::Tensor LayerStatistics::Whole(const at::Tensor& sum) const {
  return lower_halves_stale_ && sum.defined() ? sum.triu() + sum.triu(1).t() : sum;
}

double LayerStatistics::Tokens() const { return sums_.tokens.item<double>(); }

double LayerStatistics::QueryTokens() const {
  return shape_.cross_attention ? sums_.query_tokens.item<double>() : Tokens();
}

at::Tensor LayerStatistics::QueryMoment() const {
  return Whole(shape_.cross_attention ? sums_.query_moment : sums_.input_moment);
}

const at::Tensor& LayerStatistics::QuerySum() const {
  return shape_.cross_attention ? sums_.query_sum : sums_.input_sum;
}

}  // namespace regroup
