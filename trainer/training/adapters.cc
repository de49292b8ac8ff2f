#include "trainer/training/adapters.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace regroup {
namespace {

struct NamedMap {
  std::string name;
  Linear* map;
};

std::vector<NamedMap> AdaptedMaps(Model& model) {
  std::vector<NamedMap> maps;
  for (size_t layer = 0; layer < model.blocks.size(); ++layer) {
    Block& block = model.blocks[layer];
    const auto add = [&](const char* name, Linear& map) {
      maps.push_back({fmt::format("layers.{}.{}.weight", layer, name), &map});
    };
    add("attention.query", block.attention.query);
    add("attention.output", block.attention.output);
    add("feed_forward.gate", block.feed_forward.gate);
    add("feed_forward.up", block.feed_forward.up);
    add("feed_forward.down", block.feed_forward.down);
  }
  return maps;
}

}  // namespace

absl::StatusOr<Adapters> Adapters::Make(const Model& model, const AdapterSettings& settings) {
  Model handles = model;
  const std::vector<NamedMap> maps = AdaptedMaps(handles);
  Adapters result;
  result.scale_ = settings.alpha / static_cast<double>(settings.rank);
  at::Generator random = at::make_generator<at::CPUGeneratorImpl>(settings.seed);
  for (size_t place = 0; place < maps.size(); ++place) {
    const at::Tensor& weight = maps[place].map->weight;
    if (!weight.defined()) continue;
    const int64_t outputs = weight.size(0), inputs = weight.size(1);
    if (settings.rank > std::min(outputs, inputs)) {
      return absl::InvalidArgumentError(
          fmt::format("finetune.lora_rank: {} does not fit {} [{} x {}]; write at most {}", settings.rank,
                      maps[place].name, outputs, inputs, std::min(outputs, inputs)));
    }
    const double bound = 1.0 / std::sqrt(static_cast<double>(inputs));
    const at::Tensor a = at::empty({settings.rank, inputs}).uniform_(-bound, bound, random);
    result.adapters_.push_back({place, a.to(weight.options()), at::zeros({outputs, settings.rank}, weight.options())});
  }
  return result;
}

std::vector<at::Tensor*> Adapters::Parameters() {
  std::vector<at::Tensor*> parameters;
  for (Adapter& adapter : adapters_) {
    parameters.push_back(&adapter.a);
    parameters.push_back(&adapter.b);
  }
  return parameters;
}

void Adapters::Apply(Model& model) const {
  if (adapters_.empty()) return;
  const std::vector<NamedMap> maps = AdaptedMaps(model);
  for (const Adapter& adapter : adapters_) {
    at::Tensor& weight = maps[adapter.map].map->weight;
    weight = at::addmm(weight, adapter.b, adapter.a, /*beta=*/1, /*alpha=*/scale_);
  }
}

}  // namespace regroup
