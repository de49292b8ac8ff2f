#include "trainer/nn/sequence_attention.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "services/common/base/logging.h"

namespace regroup {
namespace {

/// The kernel's widest head.
constexpr int64_t kWidestHead = 256;
/// Largest error of a trial, relative in the Frobenius norm: a few roundings of bfloat16.
constexpr double kTolerance = 0.02;

std::atomic<bool> masks_only = false;

/// Attention with a dense mask in float32, for the trial.
at::Tensor AttendDensely(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const at::Tensor& documents_BT, int64_t window, double scale) {
  const int64_t tokens = query.size(2), repeats = query.size(1) / key.size(1);
  const at::Tensor place = at::arange(tokens, documents_BT.options());
  const at::Tensor ahead = place.unsqueeze(0) - place.unsqueeze(1);
  at::Tensor hidden = documents_BT.unsqueeze(1).ne(documents_BT.unsqueeze(2)).logical_or(ahead.gt(0));
  if (window > 0) hidden = hidden.logical_or(ahead.le(-window));
  const at::Tensor logits = query.matmul(key.repeat_interleave(repeats, 1).transpose(2, 3)) * scale;
  const at::Tensor masked = logits.masked_fill(hidden.unsqueeze(1), -std::numeric_limits<float>::infinity());
  return at::softmax(masked, -1).matmul(value.repeat_interleave(repeats, 1));
}

/// Returns infinity for numbers that are not finite.
double Difference(const at::Tensor& got, const at::Tensor& expected) {
  const at::Tensor apart = got.detach().to(at::kCPU, at::kFloat) - expected.detach();
  const double difference = (apart.norm() / expected.detach().norm()).item<double>();
  return std::isfinite(difference) ? difference : std::numeric_limits<double>::infinity();
}

/// Two rows of documents of one token and of several tiles of the kernel.
at::Tensor TrialDocuments() {
  const auto row = [](std::initializer_list<int64_t> lengths) {
    std::vector<at::Tensor> documents;
    for (const int64_t length : lengths) documents.push_back(at::full({length}, std::ssize(documents), at::kLong));
    return at::cat(documents);
  };
  return at::stack({row({1, 130, 1, 168}), row({299, 1})});
}

struct TrialCase {
  int64_t kv_heads = 0;
  int64_t window = 0;
  bool has_documents = true;
};

/// Returns the largest difference of outputs and gradients from those of a dense mask.
double Try(const TrialCase& trial, at::Device device, at::ScalarType dtype, int64_t head_width) {
  at::AutoGradMode with_gradients(true);
  // Not the program's generator, whose numbers others count on.
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(1);
  constexpr int64_t kHeads = 4;
  const at::Tensor documents = trial.has_documents ? TrialDocuments() : at::zeros_like(TrialDocuments());
  const double scale = 1 / std::sqrt(static_cast<double>(head_width));
  std::vector<at::Tensor> given, wide;
  for (const int64_t heads : {kHeads, trial.kv_heads, trial.kv_heads}) {
    const at::Tensor values = at::randn({documents.size(0), heads, documents.size(1), head_width}, generator).to(dtype);
    wide.push_back(values.to(at::kFloat).requires_grad_(true));
    given.push_back(values.to(device).detach().requires_grad_(true));
  }
  const SequenceLayout layout =
      trial.has_documents ? LayoutOfDocuments(documents, trial.window, device) : SequenceLayout{.window = trial.window};
  const at::Tensor expected = AttendDensely(wide[0], wide[1], wide[2], documents, trial.window, scale);
  const at::Tensor got = AttendSequences(given[0], given[1], given[2], layout, scale);
  double worst = Difference(got, expected);
  const at::Tensor weights = at::randn(expected.sizes(), generator);
  const auto of_expected = torch::autograd::grad({expected}, {wide[0], wide[1], wide[2]}, {weights});
  const auto of_got = torch::autograd::grad({got}, {given[0], given[1], given[2]}, {weights.to(device, dtype)});
  for (size_t i = 0; i < of_got.size(); ++i) worst = std::max(worst, Difference(of_got[i], of_expected[i]));
  return worst;
}

double TryAll(at::Device device, at::ScalarType dtype, int64_t head_width) {
  double worst = 0;
  for (const TrialCase& trial :
       {TrialCase{.kv_heads = 4}, TrialCase{.kv_heads = 2, .window = 5}, TrialCase{.kv_heads = 1, .window = 150},
        TrialCase{.kv_heads = 2, .window = 100, .has_documents = false}}) {
    worst = std::max(worst, Try(trial, device, dtype, head_width));
  }
  return worst;
}

bool TryAndLog(at::Device device, at::ScalarType dtype, int64_t head_width) {
  const auto refuse = [&](const std::string& reason) {
    LogWarning("attention within documents and windows uses dense masks on this GPU",
               {{"reason", reason}, {"head_width", head_width}});
    return false;
  };
  try {
    const double worst = TryAll(device, dtype, head_width);
    if (worst > kTolerance)
      return refuse("the flash kernel gives other results, by a share of " + std::to_string(worst));
    LogInfo("attention within documents and windows uses the flash kernel",
            {{"head_width", head_width}, {"difference", worst}});
    return true;
  } catch (const c10::OutOfMemoryError&) {
    throw;
  } catch (const c10::Error& error) {
    return refuse(error.what_without_backtrace());
  }
}

}  // namespace

SequenceLayout LayoutOfDocuments(const at::Tensor& documents_BT, int64_t window, at::Device device) {
  const at::Tensor before = documents_BT.narrow(1, 0, 1).sub(1);
  const at::Tensor first = documents_BT.diff(1, 1, before).ne(0).flatten().nonzero().flatten();
  const at::Tensor starts = at::cat({first, at::full({1}, documents_BT.numel(), at::kLong)});
  return {.starts = starts.to(at::kInt).to(device), .longest = starts.diff().max().item<int64_t>(), .window = window};
}

bool CanAttendSequences(at::Device device, at::ScalarType dtype, int64_t head_width) {
  if (!device.is_cuda() || (dtype != at::kBFloat16 && dtype != at::kHalf)) return false;
  if (head_width % 8 != 0 || head_width > kWidestHead) return false;
  if (masks_only) return false;
  static std::mutex mutex;
  static std::map<std::tuple<at::DeviceIndex, at::ScalarType, int64_t>, bool> known;
  const std::lock_guard lock(mutex);
  const std::tuple key{device.index(), dtype, head_width};
  if (!known.contains(key)) known[key] = TryAndLog(device, dtype, head_width);
  return known[key];
}

void AttendByMasksOnly() { masks_only = true; }

at::Tensor AttendSequences(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const SequenceLayout& layout, double scale) {
  const int64_t batch = query.size(0), tokens = query.size(2);
  const auto rows = [](const at::Tensor& heads) { return heads.transpose(1, 2).flatten(0, 1); };
  const at::Tensor starts = layout.starts.defined() ? layout.starts
                                                    : at::arange(0, (batch + 1) * tokens, tokens,
                                                                 at::TensorOptions(query.device()).dtype(at::kInt));
  const int64_t longest = layout.starts.defined() ? layout.longest : tokens;
  std::optional<int64_t> before, after;
  if (layout.window > 0) before = layout.window - 1, after = 0;
  const at::Tensor attended = std::get<0>(at::_flash_attention_forward(
      rows(query), rows(key), rows(value), starts, starts, longest, longest, /*dropout_p=*/0.0, /*is_causal=*/true,
      /*return_debug_mask=*/false, scale, before, after));
  return attended.unflatten(0, {batch, tokens}).transpose(1, 2);
}

}  // namespace regroup
