#include "trainer/stages/latency.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/eval/decode_speed.h"
#include "trainer/eval/decoder.h"
#include "trainer/eval/memory_bandwidth.h"
#include "trainer/nn/key_value_cache.h"
#include "trainer/parallel/device_name.h"
#include "trainer/plan/describe.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kBandwidthRepeats = 5;

Json DescribeSpeed(const DecodeSpeed& speed, const DecodeCase& setting, double bandwidth) {
  const double step = speed.StepSeconds(0.5);
  const double bound = static_cast<double>(speed.step_bytes) / bandwidth;
  return {{"milliseconds_per_token", step * 1e3},
          {"milliseconds_per_token_10", speed.StepSeconds(0.1) * 1e3},
          {"milliseconds_per_token_90", speed.StepSeconds(0.9) * 1e3},
          {"tokens_per_second", speed.TokensPerSecond(setting.batch)},
          {"prefill_seconds", speed.prefill_seconds},
          {"prefill_tokens_per_second",
           static_cast<double>(setting.batch * setting.context) / std::max(1e-9, speed.prefill_seconds)},
          {"kv_bytes", speed.cache_bytes},
          {"kv_bytes_computed", speed.computed_cache_bytes},
          {"weight_bytes", speed.weight_bytes},
          {"step_bytes", speed.step_bytes},
          {"bound_milliseconds_per_token", bound * 1e3},
          {"fraction_of_bound", bound / step}};
}

Json DescribeCell(const DecodeCase& setting, const DecodeSpeed& source, const DecodeSpeed& result, at::Device device) {
  const double bandwidth = MeasureReadBandwidth(source.step_bytes, kBandwidthRepeats, device);
  return {{"batch", setting.batch},
          {"context", setting.context},
          {"read_bytes_per_second", bandwidth},
          {"source", DescribeSpeed(source, setting, bandwidth)},
          {"result", DescribeSpeed(result, setting, bandwidth)},
          {"speed_up", source.StepSeconds(0.5) / result.StepSeconds(0.5)},
          {"speed_up_bound", static_cast<double>(source.step_bytes) / static_cast<double>(result.step_bytes)}};
}

/// Places of the models in what follows.
enum Role : size_t { kSourceModel, kResultModel, kAveragedModel, kRoles };

/// A cell of the grid, and the speeds of the models that were measured in it.
struct MeasuredCell {
  DecodeCase setting;
  std::array<DecodeSpeed, kRoles> speeds;
};

std::vector<MeasuredCell> CellsOf(const v1::Evaluation::Latency& settings) {
  std::vector<MeasuredCell> cells;
  for (const int32_t batch : settings.batch_sizes()) {
    for (const int32_t length : settings.context_lengths()) {
      cells.push_back({.setting = {.batch = batch, .context = length, .new_tokens = settings.new_tokens()}});
    }
  }
  return cells;
}

/// Loads these models and measures them together. The averages are of interest in the first cell only.
absl::Status MeasureGroup(StageContext& context, const DecodedModels& models, const std::vector<Role>& group,
                          std::vector<MeasuredCell>& cells) {
  const std::array<LoadModel, kRoles> loads = {models.source, models.result, models.averaged};
  std::vector<Model> loaded;
  for (const Role role : group) {
    REGROUP_ASSIGN_OR_RETURN(Model model, loads.at(role)());
    PackForDecoding(model);
    loaded.push_back(std::move(model));
  }
  for (MeasuredCell& cell : cells) {
    std::vector<const Model*> pointers;
    std::vector<Role> roles;
    for (size_t i = 0; i < group.size(); ++i) {
      if (group[i] == kAveragedModel && &cell != &cells.front()) continue;
      pointers.push_back(&loaded[i]);
      roles.push_back(group[i]);
    }
    if (pointers.empty()) continue;
    const std::string phase = fmt::format("decode {} x {}", cell.setting.batch, cell.setting.context);
    const auto progress = [&](int64_t done, int64_t total) { context.link.SetProgress(phase, done, total); };
    std::vector<DecodeSpeed> speeds = MeasureDecodeSpeed(pointers, cell.setting, progress);
    for (size_t i = 0; i < roles.size(); ++i) cell.speeds.at(roles[i]) = std::move(speeds[i]);
  }
  return absl::OkStatus();
}

/// On a CPU the models take turns, because other programs may disturb them; a GPU is theirs alone, and may not have
/// room for more than one of them.
absl::StatusOr<std::vector<MeasuredCell>> MeasureCells(StageContext& context, const DecodedModels& models) {
  std::vector<MeasuredCell> cells = CellsOf(context.spec().evaluation().latency());
  using Group = std::vector<Role>;
  const std::vector<Group> groups = context.device.is_cuda()
                                        ? std::vector<Group>{{kResultModel}, {kSourceModel}, {kAveragedModel}}
                                        : std::vector<Group>{{kSourceModel, kResultModel, kAveragedModel}};
  for (const Group& group : groups) REGROUP_RETURN_IF_ERROR(MeasureGroup(context, models, group, cells));
  return cells;
}

/// Compares the same cell with and without alignment: bytes are equal, and times differ only by chance.
Json DescribeOverhead(const DecodeCase& setting, const DecodeSpeed& result, const DecodeSpeed& averaged) {
  return {{"batch", setting.batch},
          {"context", setting.context},
          {"result_step_bytes", result.step_bytes},
          {"averaged_step_bytes", averaged.step_bytes},
          {"result_milliseconds_per_token", result.StepSeconds(0.5) * 1e3},
          {"averaged_milliseconds_per_token", averaged.StepSeconds(0.5) * 1e3},
          {"averaged_milliseconds_per_token_10", averaged.StepSeconds(0.1) * 1e3},
          {"averaged_milliseconds_per_token_90", averaged.StepSeconds(0.9) * 1e3}};
}

}  // namespace

absl::Status CheckLatency(const v1::Evaluation::Latency& settings, const ModelConfig& config) {
  const int64_t most = config.StackPositions();
  for (const int32_t context : settings.context_lengths()) {
    if (context + settings.new_tokens() <= most) continue;
    return absl::InvalidArgumentError(fmt::format(
        "evaluation.latency.context_lengths: {} and {} new tokens exceed the {} positions of the model; write "
        "at most {}",
        context, settings.new_tokens(), most, most - settings.new_tokens()));
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> MeasureLatency(StageContext& context, const DecodedModels& models) {
  const v1::Evaluation::Latency& settings = context.spec().evaluation().latency();
  REGROUP_ASSIGN_OR_RETURN(const std::vector<MeasuredCell> cells, MeasureCells(context, models));
  const auto& [first, speeds] = cells.front();
  Json latency = {{"device", context.device.is_cuda() ? "cuda" : "cpu"},
                  {"device_name", DeviceName(context.device)},
                  {"threads", at::get_num_threads()},
                  {"dtype", DtypeName(models.dtype)},
                  {"new_tokens", settings.new_tokens()},
                  {"grid", Json::array()},
                  {"attention",
                   DecodeAttentionName(models.result_config, first.batch, first.context, models.dtype, context.device)},
                  {"alignment_overhead", DescribeOverhead(first, speeds[kResultModel], speeds[kAveragedModel])}};
  for (const MeasuredCell& cell : cells) {
    latency["grid"].push_back(
        DescribeCell(cell.setting, cell.speeds[kSourceModel], cell.speeds[kResultModel], context.device));
  }
  return latency;
}

}  // namespace regroup
