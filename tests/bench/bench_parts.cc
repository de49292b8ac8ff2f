#include "bench_parts.h"

#include <ATen/ATen.h>

#include <cmath>
#include <ctime>

namespace regroup {
namespace {

at::Tensor RandomWeight(int64_t out, int64_t in) { return at::randn({out, in}) / std::sqrt(static_cast<double>(in)); }

}  // namespace

Model RandomLlama(int64_t layers, int64_t kv_heads) {
  ModelConfig config{.family = "llama", .hidden_size = 1024, .layers = layers, .heads = 16, .kv_heads = kv_heads};
  config.head_width = 64;
  config.intermediate_size = 2816;
  config.vocabulary = 4096;
  config.max_positions = 8192;
  config.kinds[0].rotary = {.width = 64, .inverse_frequencies = {}};
  for (int pair = 0; pair < 32; ++pair)
    config.kinds[0].rotary.inverse_frequencies.push_back(std::pow(1e4, -pair / 32.0));
  Model model{.config = config, .embedding = RandomWeight(config.vocabulary, config.hidden_size)};
  const int64_t hidden = config.hidden_size;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    Block block;
    block.attention_norm = {at::ones({hidden})};
    block.attention = {.query = {RandomWeight(hidden, hidden), {}},
                       .key = {RandomWeight(kv_heads * 64, hidden), {}},
                       .value = {RandomWeight(kv_heads * 64, hidden), {}},
                       .output = {RandomWeight(hidden, hidden), {}}};
    block.feed_forward_norm = {at::ones({hidden})};
    block.feed_forward = {.gate = {RandomWeight(config.intermediate_size, hidden), {}},
                          .up = {RandomWeight(config.intermediate_size, hidden), {}},
                          .down = {RandomWeight(hidden, config.intermediate_size), {}}};
    model.blocks.push_back(block);
  }
  model.final_norm = {at::ones({hidden})};
  model.head.weight = RandomWeight(config.vocabulary, hidden);
  return model;
}

double ProcessorSeconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace regroup
