#include "trainer/nn/sequence_attention.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
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
/// Largest difference from a dense mask, relative to the largest entry: a few roundings of bfloat16.
constexpr double kTolerance = 0.05;

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

double Difference(const at::Tensor& got, const at::Tensor& expected) {
  const at::Tensor apart = (got.to(at::kCPU, at::kFloat) - expected.to(at::kFloat)).abs().max();
  return apart.item<double>() / expected.abs().max().item<double>();
}

/// Returns the largest difference of outputs and gradients from those of a dense mask.
double Try(at::Device device, at::ScalarType dtype, int64_t head_width) {
  at::AutoGradMode with_gradients(true);
  // Not the program's generator, whose numbers others count on.
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(1);
  constexpr int64_t kBatch = 2, kHeads = 4, kKvHeads = 2, kTokens = 24;
  const at::Tensor documents =
      at::cat({at::zeros({kBatch, 7}, at::kLong), at::ones({kBatch, kTokens - 7}, at::kLong)}, 1);
  const double scale = 1 / std::sqrt(static_cast<double>(head_width));
  double worst = 0;
  for (const int64_t window : {0, 5}) {
    std::vector<at::Tensor> given, wide;
    for (const int64_t heads : {kHeads, kKvHeads, kKvHeads}) {
      const at::Tensor values = at::randn({kBatch, heads, kTokens, head_width}, generator).to(dtype);
      wide.push_back(values.to(at::kFloat).requires_grad_(true));
      given.push_back(values.to(device).detach().requires_grad_(true));
    }
    const at::Tensor expected = AttendDensely(wide[0], wide[1], wide[2], documents, window, scale);
    const at::Tensor got =
        AttendSequences(given[0], given[1], given[2], LayoutOfDocuments(documents, window, device), scale);
    worst = std::max(worst, Difference(got.detach(), expected.detach()));
    const auto expected_gradients = torch::autograd::grad({expected.square().sum()}, {wide[0], wide[1], wide[2]});
    const auto got_gradients =
        torch::autograd::grad({got.to(at::kFloat).square().sum()}, {given[0], given[1], given[2]});
    for (size_t i = 0; i < expected_gradients.size(); ++i) {
      worst = std::max(worst, Difference(got_gradients[i], expected_gradients[i]));
    }
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
    const double worst = Try(device, dtype, head_width);
    // Written so that a difference that is not a number counts too.
    if (!(worst < kTolerance))
      return refuse("the flash kernel gives other results, by a share of " + std::to_string(worst));
    LogInfo("attention within documents and windows uses the flash kernel",
            {{"head_width", head_width}, {"difference", worst}});
    return true;
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
  static std::mutex mutex;
  static std::map<std::tuple<at::DeviceIndex, at::ScalarType, int64_t>, bool> known;
  const std::lock_guard lock(mutex);
  const auto [answer, is_new] = known.try_emplace({device.index(), dtype, head_width}, false);
  if (is_new) answer->second = TryAndLog(device, dtype, head_width);
  return answer->second;
}

at::Tensor AttendSequences(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const SequenceLayout& layout, double scale) {
  const bool packed = layout.starts.defined();
  const auto rows = [&](const at::Tensor& heads) {
    const at::Tensor by_token = heads.transpose(1, 2);
    return packed ? by_token.flatten(0, 1) : by_token;
  };
  const std::optional<at::Tensor> starts = packed ? std::make_optional(layout.starts) : std::nullopt;
  const int64_t longest = packed ? layout.longest : query.size(2);
  std::optional<int64_t> before, after;
  if (layout.window > 0) before = layout.window - 1, after = 0;
  const at::Tensor attended = std::get<0>(at::_flash_attention_forward(
      rows(query), rows(key), rows(value), starts, starts, longest, longest, /*dropout_p=*/0.0, /*is_causal=*/true,
      /*return_debug_mask=*/false, scale, before, after));
  return (packed ? attended.unflatten(0, {query.size(0), query.size(2)}) : attended).transpose(1, 2);
}

}  // namespace regroup
