// Measures how much faster a random LLaMA decodes on this machine with fewer KV heads, and compares this with the bound
// set by memory bandwidth. usage: decode_bench [batch] [context] [new tokens] [cpu | cuda]      (8, 2048, 32 and cpu by
// default)
//
// float32 on the CPU, bfloat16 on a GPU.
//
// The cache is filled with random numbers: the time of a step does not depend on them.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>

#include <cstdlib>

#include "bench_parts.h"
#include "trainer/eval/decode_speed.h"
#include "trainer/eval/decoder.h"
#include "trainer/eval/memory_bandwidth.h"
#include "trainer/parallel/device.h"

namespace regroup {
namespace {

void PrintModel(const Model& model, const DecodeSpeed& speed, const DecodeSpeed& source, double bandwidth,
                int64_t batch) {
  const double step = speed.StepSeconds(0.5);
  const double bound = static_cast<double>(source.step_bytes) / static_cast<double>(speed.step_bytes);
  const double speed_up = source.StepSeconds(0.5) / step;
  fmt::print("{:>8} {:>8.1f} {:>15} {:>9.0f} {:>8.0f} {:>8.0f} {:>8.2f} {:>9.2f} {:>6.2f} {:>15.2f}\n",
             model.config.kv_heads, step * 1e3,
             fmt::format("{:.1f} - {:.1f}", speed.StepSeconds(0.1) * 1e3, speed.StepSeconds(0.9) * 1e3),
             speed.TokensPerSecond(batch), static_cast<double>(speed.cache_bytes) / 1e6,
             static_cast<double>(speed.step_bytes) / 1e6, static_cast<double>(speed.step_bytes) / bandwidth / step,
             speed_up, bound, speed_up / bound);
}

int Main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  const auto number = [&](int index, int64_t otherwise) { return argc > index ? std::atoll(argv[index]) : otherwise; };
  const DecodeCase setting{
      .batch = number(1, 8), .context = number(2, 2048), .new_tokens = number(3, 32), .prefill = false};
  const absl::StatusOr<at::Device> device = ChooseDevice(argc > 4 ? argv[4] : "cpu");
  if (!device.ok()) {
    fmt::print(stderr, "decode_bench: {}\n", std::string(device.status().message()));
    return 1;
  }
  const at::ScalarType dtype = device->is_cuda() ? at::kBFloat16 : at::kFloat;
  at::manual_seed(1);
  std::vector<Model> models = {RandomLlama(8, 16), RandomLlama(8, 4), RandomLlama(8, 2)};
  std::vector<const Model*> pointers;
  for (Model& model : models) {
    model = CloneModel(model, dtype, *device);
    PackForDecoding(model);
    pointers.push_back(&model);
  }
  const std::vector<DecodeSpeed> speeds = MeasureDecodeSpeed(pointers, setting);
  const double bandwidth = MeasureReadBandwidth(speeds.front().step_bytes, 5, *device);
  fmt::print("LLaMA of width 1024 x 8 layers, 16 heads of 64, {}; batch {}, context {}, {} new tokens, {} threads\n",
             c10::toString(dtype), setting.batch, setting.context, setting.new_tokens, at::get_num_threads());
  fmt::print("memory reads at {:.1f} GB/s (best of 5 reads of {:.0f} MB)\n\n", bandwidth / 1e9,
             static_cast<double>(speeds.front().step_bytes) / 1e6);
  fmt::print(
      "KV heads  ms/step     10 % - 90 %  tokens/s cache MB  step MB of bound  speed-up  bound speed-up/bound\n");
  for (size_t index = 0; index < models.size(); ++index) {
    PrintModel(models[index], speeds[index], speeds.front(), bandwidth, setting.batch);
  }
  return 0;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
