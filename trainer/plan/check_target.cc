#include "trainer/plan/check_target.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "services/common/base/status_macros.h"
#include "services/common/job_file/arms.h"
#include "trainer/nn/serving.h"

namespace regroup {
namespace {

absl::Status CheckHeads(const v1::JobSpec& spec, const ModelConfig& config) {
  std::vector<int32_t> wanted = TargetsOf(spec);
  // Checked as written even where the sweep replaces it.
  if (spec.target().has_kv_heads()) wanted.push_back(spec.target().kv_heads());
  for (const int32_t heads : wanted) {
    if (heads >= 1 && config.kv_heads % heads == 0) continue;
    std::string possible;
    for (int64_t divisor = config.kv_heads; divisor >= 1; --divisor) {
      if (config.kv_heads % divisor == 0) possible += fmt::format("{}{}", possible.empty() ? "" : ", ", divisor);
    }
    return absl::InvalidArgumentError(
        fmt::format("target.kv_heads: {} does not divide the source's {} KV heads; write one of {}", heads,
                    config.kv_heads, possible));
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

absl::Status CheckTarget(const v1::JobSpec& resolved, const ModelConfig& config) {
  REGROUP_RETURN_IF_ERROR(CheckHeads(resolved, config));
  return CheckTensorParallel(resolved, config);
}

}  // namespace regroup
