#include "trainer/training/adapters.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace regroup {
namespace {

struct NamedMap {
  const char* name;
  Linear* map;
};

std::vector<NamedMap> AdaptedMaps(Block& block) {
  return {{"attention.query", &block.attention.query},
          {"attention.output", &block.attention.output},
          {"feed_forward.gate", &block.feed_forward.gate},
          {"feed_forward.up", &block.feed_forward.up},
          {"feed_forward.down", &block.feed_forward.down}};
}

}  // namespace

absl::StatusOr<Adapters> Adapters::Make(const Model& model, const AdapterSettings& settings) {
  Adapters result;
  result.scale_ = settings.alpha / static_cast<double>(settings.rank);
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(settings.seed);
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Block block = model.blocks[layer];
    const std::vector<NamedMap> maps = AdaptedMaps(block);
    std::vector<Adapter>& adapters = result.adapters_.emplace_back();
    for (size_t place = 0; place < maps.size(); ++place) {
      const at::Tensor& weight = maps[place].map->weight;
      if (!weight.defined()) continue;
      const int64_t outputs = weight.size(0), inputs = weight.size(1);
      if (settings.rank > std::min(outputs, inputs)) {
        return absl::InvalidArgumentError(
            fmt::format("finetune.lora_rank: {} does not fit layers.{}.{}.weight [{} x {}]; write at most {}",
                        settings.rank, layer, maps[place].name, outputs, inputs, std::min(outputs, inputs)));
      }
      const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
      const at::Tensor a = at::empty({settings.rank, inputs}).uniform_(-bound, bound, random);
      adapters.push_back({place, a.to(weight.options()), at::zeros({outputs, settings.rank}, weight.options())});
    }
  }
  return result;
}

std::vector<at::Tensor*> Adapters::Parameters() {
  std::vector<at::Tensor*> parameters;
  for (std::vector<Adapter>& layer : adapters_) {
    for (Adapter& adapter : layer) {
      parameters.push_back(&adapter.a);
      parameters.push_back(&adapter.b);
    }
  }
  return parameters;
}

std::vector<at::Tensor> Adapters::Of(int64_t layer) const {
  std::vector<at::Tensor> values;
  if (adapters_.empty()) return values;
  for (const Adapter& adapter : adapters_[layer]) {
    values.push_back(adapter.a);
    values.push_back(adapter.b);
  }
  return values;
}

void Adapters::Apply(int64_t layer, const std::vector<at::Tensor>& values, Block& block) const {
  if (adapters_.empty()) return;
  const std::vector<NamedMap> maps = AdaptedMaps(block);
  size_t next = 0;
  for (const Adapter& adapter : adapters_[layer]) {
    const at::Tensor& a = values[next++];
    const at::Tensor& b = values[next++];
    at::Tensor& weight = maps[adapter.map].map->weight;
    weight = at::addmm(weight, b, a, /*beta=*/1, /*alpha=*/scale_);
  }
}

}  // namespace regroup
