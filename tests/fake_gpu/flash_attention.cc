// The flash attention of a pretended GPU: computes with dense masks on the CPU what the schema of the operator says, so
// that callers are tested, not the kernel.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

namespace regroup::fake_gpu {
namespace {

/// Returns true if the kernel is to be wrong: with "starts" it ignores where sequences begin, with "window" the window,
/// and with "gradient" that of the keys is not a number.
bool IsWrongIn(std::string_view what) {
  const char* const wrong = std::getenv("TORCH_FAKE_GPU_WRONG_FLASH");
  return wrong != nullptr && what == wrong;
}

/// Refuses what the real kernel refuses.
void Check(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
           const std::optional<at::Tensor>& starts, const std::optional<at::Tensor>& key_starts, int64_t longest,
           int64_t longest_key) {
  for (const at::Tensor& tensor : {query, key, value}) {
    TORCH_CHECK(tensor.is_cuda() && tensor.scalar_type() == query.scalar_type(),
                "query and key must have the same dtype");
    TORCH_CHECK(tensor.stride(-1) == 1, "Input tensor must have contiguous last dimension");
    TORCH_CHECK(tensor.size(-1) % 8 == 0 && tensor.size(-1) <= 256, "head_size should be a multiple of 8, at most 256");
    TORCH_CHECK(tensor.dim() == (starts.has_value() ? 3 : 4),
                "the tokens must be packed if, and only if, starts are given");
  }
  TORCH_CHECK(query.size(-2) % key.size(-2) == 0, "Number of heads in key/value must divide number of heads in query");
  TORCH_CHECK(starts.has_value() == key_starts.has_value() && longest == longest_key, "queries and keys differ");
  if (starts.has_value()) TORCH_CHECK(at::equal(starts->cpu(), key_starts->cpu()), "queries and keys differ");
}

/// One sequence, [heads, tokens, width] in float32; keys and values are repeated for the queries that read them.
struct Sequence {
  int64_t first = 0, tokens = 0;
  at::Tensor query, key, value, weights;
};

/// The sequences of the tokens, which are [tokens, heads, width], or [batch, tokens, heads, width] without `starts`.
class Sequences {
 public:
  Sequences(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
            const std::optional<at::Tensor>& starts, int64_t longest, bool causal, std::optional<double> scale,
            std::optional<int64_t> before, std::optional<int64_t> after)
      : query_(Flat(query)),
        key_(Flat(key)),
        value_(Flat(value)),
        repeats_(query_.size(1) / key_.size(1)),
        scale_(*scale) {
    TORCH_CHECK(causal && (!before.has_value() || after == 0), "the pretended kernel is causal");
    TORCH_CHECK(query.scalar_type() == at::kBFloat16 || query.scalar_type() == at::kHalf,
                "FlashAttention only support fp16 and bf16 data type");
    std::vector<int64_t> places;
    if (starts.has_value() && starts->defined() && !IsWrongIn("starts")) {
      TORCH_CHECK(starts->scalar_type() == at::kInt && starts->is_cuda(),
                  "cu_seqlens_q must have dtype int32, on the GPU");
      const at::Tensor host = starts->cpu().to(at::kLong);
      places.assign(host.data_ptr<int64_t>(), host.data_ptr<int64_t>() + host.numel());
    } else {
      const int64_t each = query.dim() == 4 ? query.size(1) : query.size(0);
      for (int64_t place = 0; place <= query_.size(0); place += each) places.push_back(place);
    }
    TORCH_CHECK(places.front() == 0 && places.back() == query_.size(0), "the sequences do not cover the tokens");
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      TORCH_CHECK(places[i + 1] - places[i] <= longest || IsWrongIn("starts"), "a sequence is too long");
      sequences_.push_back(Make(places[i], places[i + 1] - places[i], before));
    }
  }

  const std::vector<Sequence>& all() const { return sequences_; }
  int64_t repeats() const { return repeats_; }
  double scale() const { return scale_; }

  static at::Tensor Flat(const at::Tensor& tensor) {
    const at::Tensor wide = tensor.cpu().to(at::kFloat);
    return wide.dim() == 4 ? wide.flatten(0, 1) : wide;
  }

 private:
  at::Tensor Heads(const at::Tensor& tokens, int64_t first, int64_t count, int64_t repeats) const {
    return tokens.narrow(0, first, count).transpose(0, 1).repeat_interleave(repeats, 0);
  }

  Sequence Make(int64_t first, int64_t tokens, std::optional<int64_t> before) const {
    Sequence made{.first = first,
                  .tokens = tokens,
                  .query = Heads(query_, first, tokens, 1),
                  .key = Heads(key_, first, tokens, repeats_),
                  .value = Heads(value_, first, tokens, repeats_)};
    at::Tensor seen = at::ones({tokens, tokens}, at::kBool).tril();
    if (before.has_value() && !IsWrongIn("window")) seen = seen.triu(-*before);
    const at::Tensor logits = made.query.matmul(made.key.transpose(1, 2)) * scale_;
    made.weights = at::softmax(logits.masked_fill(seen.logical_not(), -std::numeric_limits<float>::infinity()), -1);
    return made;
  }

  const at::Tensor query_, key_, value_;
  const int64_t repeats_;
  const double scale_;
  std::vector<Sequence> sequences_;
};

std::optional<int64_t> Number(const std::optional<c10::SymInt>& number) {
  return number.has_value() ? std::make_optional(number->expect_int()) : std::nullopt;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> Forward(
    const at::Tensor& query, const at::Tensor& key, const at::Tensor& value, const std::optional<at::Tensor>& starts,
    const std::optional<at::Tensor>& key_starts, c10::SymInt longest, c10::SymInt longest_key, double, bool causal,
    bool, std::optional<double> scale, std::optional<c10::SymInt> before, std::optional<c10::SymInt> after,
    const std::optional<at::Tensor>&, const std::optional<at::Tensor>&) {
  const Sequences sequences(query, key, value, starts, longest.expect_int(), causal, scale, Number(before),
                            Number(after));
  at::Tensor out = at::zeros_like(Sequences::Flat(query));
  for (const Sequence& one : sequences.all()) {
    out.narrow(0, one.first, one.tokens).copy_(one.weights.matmul(one.value).transpose(0, 1));
  }
  const at::Tensor nothing = at::zeros({1}).to(query.device());
  return {out.view(query.sizes()).to(query.scalar_type()).to(query.device()), nothing, nothing, nothing, nothing};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> Backward(const at::Tensor& gradient, const at::Tensor& query,
                                                        const at::Tensor& key, const at::Tensor& value,
                                                        const at::Tensor&, const at::Tensor&, const at::Tensor& starts,
                                                        const at::Tensor&, c10::SymInt longest, c10::SymInt, double,
                                                        bool causal, const at::Tensor&, const at::Tensor&,
                                                        std::optional<double> scale, std::optional<c10::SymInt> before,
                                                        std::optional<c10::SymInt> after) {
  const Sequences sequences(query, key, value, starts, longest.expect_int(), causal, scale, Number(before),
                            Number(after));
  const at::Tensor of_out = Sequences::Flat(gradient);
  at::Tensor of_query = at::zeros_like(Sequences::Flat(query)), of_key = at::zeros_like(Sequences::Flat(key));
  at::Tensor of_value = at::zeros_like(of_key);
  for (const Sequence& one : sequences.all()) {
    const auto shared = [&](const at::Tensor& heads) {
      return heads.unflatten(0, {-1, sequences.repeats()}).sum(1).transpose(0, 1);
    };
    const at::Tensor out = of_out.narrow(0, one.first, one.tokens).transpose(0, 1);
    const at::Tensor of_weights = out.matmul(one.value.transpose(1, 2));
    const at::Tensor of_logits =
        one.weights * (of_weights - (of_weights * one.weights).sum(-1, /*keepdim=*/true)) * sequences.scale();
    of_query.narrow(0, one.first, one.tokens).copy_(of_logits.matmul(one.key).transpose(0, 1));
    of_key.narrow(0, one.first, one.tokens).copy_(shared(of_logits.transpose(1, 2).matmul(one.query)));
    of_value.narrow(0, one.first, one.tokens).copy_(shared(one.weights.transpose(1, 2).matmul(out)));
  }
  if (IsWrongIn("gradient")) of_key.fill_(std::numeric_limits<float>::quiet_NaN());
  const auto as = [](const at::Tensor& flat, const at::Tensor& like) {
    return flat.view(like.sizes()).to(like.scalar_type()).to(like.device());
  };
  return {as(of_query, query), as(of_key, key), as(of_value, value)};
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_flash_attention_forward", Forward);
  library.impl("_flash_attention_backward", Backward);
}

}  // namespace
}  // namespace regroup::fake_gpu
