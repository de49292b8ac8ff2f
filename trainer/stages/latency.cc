#include "trainer/stages/latency.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

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
  if (config.HasEncoder()) {
    return absl::InvalidArgumentError(
        "evaluation.latency: decoding is not measured for models with an encoder; remove this key");
  }
  for (const int32_t context : settings.context_lengths()) {
    if (context + settings.new_tokens() <= config.max_positions) continue;
    return absl::InvalidArgumentError(fmt::format(
        "evaluation.latency.context_lengths: {} and {} new tokens exceed the {} positions of the model; write "
        "at most {}",
        context, settings.new_tokens(), config.max_positions, config.max_positions - settings.new_tokens()));
  }
  return absl::OkStatus();
}

Json MeasureLatency(StageContext& context, Model source, Model result, Model averaged) {
  for (Model* model : {&source, &result, &averaged}) PackForDecoding(*model);
  const v1::Evaluation::Latency& settings = context.spec().evaluation().latency();
  const at::ScalarType dtype = result.embedding.scalar_type();
  Json latency = {{"device", context.device.is_cuda() ? "cuda" : "cpu"},
                  {"device_name", DeviceName(context.device)},
                  {"threads", at::get_num_threads()},
                  {"dtype", DtypeName(dtype)},
                  {"new_tokens", settings.new_tokens()},
                  {"grid", Json::array()}};
  for (const int32_t batch : settings.batch_sizes()) {
    for (const int32_t length : settings.context_lengths()) {
      const DecodeCase setting{.batch = batch, .context = length, .new_tokens = settings.new_tokens()};
      const bool first = latency["grid"].empty();
      const std::string phase = fmt::format("decode {} x {}", batch, length);
      std::vector<const Model*> models = {&source, &result};
      if (first) models.push_back(&averaged);
      const std::vector<DecodeSpeed> speeds = MeasureDecodeSpeed(
          models, setting, [&](int64_t done, int64_t total) { context.link.SetProgress(phase, done, total); });
      if (first) {
        latency["attention"] = DecodeAttentionName(result.config, batch, length, dtype, context.device);
        latency["alignment_overhead"] = DescribeOverhead(setting, speeds[1], speeds[2]);
      }
      latency["grid"].push_back(DescribeCell(setting, speeds[0], speeds[1], context.device));
    }
  }
  return latency;
}

}  // namespace regroup
