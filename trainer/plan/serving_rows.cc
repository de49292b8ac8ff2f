#include "trainer/plan/serving_rows.h"

#include <algorithm>

#include "trainer/plan/plan_estimate.h"

namespace regroup {
namespace {

int64_t CacheElementBytes(const v1::JobSpec& resolved, const ServedSource& source) {
  const std::string& dtype = resolved.serving().cache_dtype();
  if (dtype == "float32") return 4;
  if (dtype == "bfloat16" || dtype == "float16") return 2;
  return dtype == "fp8" ? 1 : source.element_bytes;
}

}  // namespace

int64_t ServedContext(const v1::JobSpec& resolved, const ModelConfig& config) {
  if (!resolved.serving().has_context_length()) return config.max_positions;
  return std::min<int64_t>(resolved.serving().context_length(), config.max_positions);
}

std::vector<ServingRow> ServingRows(const v1::JobSpec& resolved, const ServedSource& source,
                                    const ModelConfig& result) {
  std::vector<ServingRow> rows;
  if (source.config.HasEncoder()) return rows;
  const double parameters = static_cast<double>(source.parameters);
  const double kept = static_cast<double>(
      ParametersWith(source.config, source.parameters, result.KvHeadsOfAllLayers() / result.layers));
  const v1::Serving& serving = resolved.serving();
  ServingSettings settings{.cache_element_bytes = CacheElementBytes(resolved, source),
                           .context_length = ServedContext(resolved, source.config)};
  if (serving.has_gpu_memory_gib()) {
    settings.usable_bytes = serving.gpu_memory_gib() * (1 << 30) * serving.memory_share();
  }
  const auto wanted = resolved.target().has_tensor_parallel()
                          ? std::optional<int64_t>(resolved.target().tensor_parallel())
                          : std::nullopt;
  for (const int64_t gpus : GpuCounts(wanted)) {
    settings.gpus = gpus;
    ServingRow& row = rows.emplace_back(ServingRow{.gpus = gpus});
    settings.weight_bytes = parameters * static_cast<double>(source.element_bytes);
    row.source = ServingOf(source.config, settings);
    settings.weight_bytes = kept * static_cast<double>(source.element_bytes);
    row.result = ServingOf(result, settings);
  }
  return rows;
}

}  // namespace regroup
