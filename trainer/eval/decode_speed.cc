#include "trainer/eval/decode_speed.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "services/common/base/stopwatch.h"
#include "trainer/eval/decoder.h"

namespace regroup {
namespace {

constexpr int64_t kStepsPerTurn = 8;
/// The first steps are slower because they touch new memory, so they are not counted.
constexpr int64_t kUncountedSteps = 2;

at::Tensor RandomTokens(const Model& model, int64_t batch, int64_t length) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(1);
  return at::randint(0, model.config.vocabulary, {batch, length}, generator, at::TensorOptions(at::kLong))
      .to(model.embedding.device());
}

/// Removes what an encoder-decoder needs only to encode: the encoder, and the keys and values of its output.
void RemoveEncoder(Model& model) {
  if (!model.config.HasEncoder()) return;
  VisitOuter(model, [](const std::string& name, at::Tensor& tensor) {
    if (name.starts_with("encoder_")) tensor.reset();
  });
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    Block& block = model.blocks[layer];
    const AttentionRole role = model.config.Role(layer);
    if (role == AttentionRole::kEncoder) block = {};
    if (role == AttentionRole::kCross) block.attention.key = block.attention.value = {};
  }
}

/// One model during the measurement of a case.
class Run {
 public:
  Run(const Model& model, const DecodeCase& setting)
      : model_(model), decoder_(model, setting.batch, setting.context + setting.new_tokens) {
    const at::Tensor tokens = RandomTokens(model, setting.batch, std::max<int64_t>(1, setting.context));
    if (setting.prefill) {
      const Stopwatch watch;
      if (model.config.HasEncoder()) decoder_.Encode(tokens);
      next_ = decoder_.Read(tokens);
      speed_.prefill_seconds = watch.Seconds();
    } else {
      decoder_.cache().FillRandomly(setting.context);
      next_ = tokens.narrow(1, 0, 1);
    }
    DescribeBytes(setting);
    // Not more than are counted: the model may have no positions for them.
    const int64_t uncounted = std::min(kUncountedSteps, setting.new_tokens);
    for (int64_t step = 0; step < uncounted; ++step) next_ = decoder_.Read(next_);
    decoder_.cache().Truncate(setting.context);
  }

  void Decode(int64_t steps) {
    for (int64_t step = 0; step < steps; ++step) {
      const Stopwatch watch;
      next_ = decoder_.Read(next_);
      speed_.step_seconds.push_back(watch.Seconds());
    }
  }

  DecodeSpeed TakeSpeed() { return std::move(speed_); }

 private:
  void DescribeBytes(const DecodeCase& setting) {
    const auto element = static_cast<int64_t>(model_.embedding.element_size());
    const auto cache_bytes = [&](int64_t tokens) {
      return model_.config.KvCacheBytes(tokens, element) * setting.batch;
    };
    speed_.cache_bytes = decoder_.cache().Bytes();
    speed_.computed_cache_bytes = cache_bytes(decoder_.cache().length());
    speed_.weight_bytes = DecodedWeightBytes(model_, setting.batch);
    speed_.step_bytes = speed_.weight_bytes + cache_bytes(setting.context + setting.new_tokens / 2);
  }

  const Model& model_;
  Decoder decoder_;
  at::Tensor next_;
  DecodeSpeed speed_;
};

}  // namespace

double DecodeSpeed::StepSeconds(double share) const {
  std::vector<double> sorted = step_seconds;
  std::sort(sorted.begin(), sorted.end());
  const auto last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<size_t>(std::lround(share * last))];
}

int64_t DecodedWeightBytes(const Model& model, int64_t batch) {
  const ExpertsConfig& experts = model.config.experts;
  const auto bytes_of = [](const at::Tensor& tensor) {
    return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
  };
  Model slots = model;
  RemoveEncoder(slots);
  int64_t bytes = 0;
  VisitOuter(slots, [&](const std::string& name, at::Tensor& tensor) {
    const bool rows_only = name == "embedding.weight" && model.head.defined();
    if (!rows_only) bytes += bytes_of(tensor);
  });
  for (Block& block : slots.blocks) {
    int64_t of_experts = 0;
    VisitBlock(block, 0, [&](const std::string& name, at::Tensor& tensor) {
      (name.find(".experts.") == std::string::npos ? bytes : of_experts) += bytes_of(tensor);
    });
    for (const FeedForward& expert : block.feed_forward.experts) {
      for (const Linear* map : {&expert.gate, &expert.up, &expert.down}) of_experts += bytes_of(map->packed.panels);
    }
    if (of_experts > 0) bytes += of_experts * std::min(experts.count, batch * experts.per_token) / experts.count;
    block.feed_forward.experts.clear();
  }
  VisitLinears(slots, [&](const Linear& linear) { bytes += bytes_of(linear.packed.panels); });
  return bytes;
}

std::vector<DecodeSpeed> MeasureDecodeSpeed(const std::vector<const Model*>& models, const DecodeCase& setting,
                                            const std::function<void(int64_t, int64_t)>& progress) {
  const int64_t turns = (setting.new_tokens + kStepsPerTurn - 1) / kStepsPerTurn;
  const int64_t rounds = turns + static_cast<int64_t>(models.size());
  int64_t done = 0;
  const auto advance = [&] {
    if (progress) progress(++done, rounds);
  };
  std::vector<std::unique_ptr<Run>> runs;
  for (const Model* model : models) {
    runs.push_back(std::make_unique<Run>(*model, setting));
    advance();
  }
  for (int64_t turn = 0; turn < turns; ++turn) {
    const int64_t steps = std::min(kStepsPerTurn, setting.new_tokens - turn * kStepsPerTurn);
    for (const auto& run : runs) run->Decode(steps);
    advance();
  }
  std::vector<DecodeSpeed> speeds;
  for (const auto& run : runs) speeds.push_back(run->TakeSpeed());
  return speeds;
}

}  // namespace regroup
