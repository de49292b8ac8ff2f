#include "trainer/plan/check_target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "services/common/base/status_macros.h"
#include "services/common/job_file/arms.h"
#include "trainer/nn/serving.h"
#include "trainer/plan/plan_estimate.h"
#include "trainer/plan/settings.h"

namespace regroup {
namespace {

bool DividesEveryLayer(const ModelConfig& config, int64_t heads) {
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.KvHeads(layer) % heads != 0) return false;
  }
  return true;
}

/// Returns "8", or "1 to 4" for layers with unequal numbers.
std::string HeadsText(const ModelConfig& config) {
  if (config.kv_heads_of_layers.empty()) return std::to_string(config.kv_heads);
  const auto [least, most] = std::minmax_element(config.kv_heads_of_layers.begin(), config.kv_heads_of_layers.end());
  return fmt::format("{} to {}", *least, *most);
}

absl::Status CheckHeads(const v1::JobSpec& spec, const ModelConfig& config) {
  std::vector<int32_t> wanted = TargetsOf(spec);
  // Checked as written even where the sweep replaces it.
  if (spec.target().has_kv_heads()) wanted.push_back(spec.target().kv_heads());
  std::vector<int64_t> possible = PossibleKvHeads(config);
  const bool divides = SpendsHeadsPerLayer(spec) || !config.kv_heads_of_layers.empty();
  // Layers that get unequal numbers of heads share out whole KV heads.
  if (divides) std::erase_if(possible, [&](int64_t heads) { return !DividesEveryLayer(config, heads); });
  for (const int32_t heads : wanted) {
    if (std::find(possible.begin(), possible.end(), heads) != possible.end()) continue;
    return absl::InvalidArgumentError(
        divides ? fmt::format("target.kv_heads: {} does not divide the source's {} KV heads; write one of {}", heads,
                              HeadsText(config), fmt::join(possible, ", "))
                : fmt::format("target.kv_heads: {} is more than the source's {} KV heads or does not divide its {} "
                              "heads; write one of {}",
                              heads, config.kv_heads, config.heads, fmt::join(possible, ", ")));
  }
  return absl::OkStatus();
}

/// Refuses a number of GPUs that cannot share the heads, or for which the conversion saves nothing.
absl::Status CheckTensorParallel(const v1::JobSpec& spec, const ModelConfig& config) {
  if (!spec.target().has_tensor_parallel()) return absl::OkStatus();
  constexpr std::string_view key = "target.tensor_parallel";
  const int64_t gpus = spec.target().tensor_parallel();
  if (config.HasEncoder()) {
    return absl::InvalidArgumentError(fmt::format("{}: not known for an encoder-decoder; remove the key", key));
  }
  if (config.heads % gpus != 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {} GPUs cannot share the {} heads of a layer equally", key, gpus, config.heads));
  }
  for (const int32_t heads : TargetsOf(spec)) {
    const int64_t before = KvHeadsPerGpu(config.kv_heads, gpus), after = KvHeadsPerGpu(heads, gpus);
    if (heads == config.kv_heads || after < before) continue;
    return absl::InvalidArgumentError(fmt::format(
        "{}: on {} GPUs each holds {} KV head{} of the source and {} of a result with {}, so that nothing is "
        "saved; write fewer KV heads or fewer GPUs",
        key, gpus, before, before == 1 ? "" : "s", after, heads));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<int64_t> PossibleKvHeads(const ModelConfig& config) {
  std::vector<int64_t> possible;
  const bool equal = config.kv_heads_of_layers.empty();
  for (int64_t heads = config.kv_heads; heads >= 1; --heads) {
    if (equal ? config.heads % heads == 0 : DividesEveryLayer(config, heads)) possible.push_back(heads);
  }
  return possible;
}

absl::Status CheckTarget(const v1::JobSpec& resolved, const ModelConfig& config) {
  REGROUP_RETURN_IF_ERROR(CheckHeads(resolved, config));
  return CheckTensorParallel(resolved, config);
}

std::string NoteOnSplitHeads(const v1::JobSpec& resolved, const ModelConfig& config) {
  std::string targets;
  for (const int32_t heads : TargetsOf(resolved)) {
    const int64_t copies = CopiesForTarget(config, heads);
    if (copies == 1) continue;
    targets += fmt::format("{}for {}, each is split into {} copies", targets.empty() ? "" : "; ", heads, copies);
  }
  if (targets.empty()) return "";
  return fmt::format(
      "the target does not divide the source's {} KV heads: {}. Copies share the query heads of their head and are "
      "grouped like heads of their own, so that a group may hold parts of several heads",
      config.kv_heads, targets);
}

}  // namespace regroup
