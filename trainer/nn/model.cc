#include "trainer/nn/model.h"

#include <fmt/format.h>

namespace regroup {
namespace {

void VisitLinear(Linear& linear, const std::string& name, const ParameterVisitor& visit) {
  visit(name + ".weight", linear.weight);
  visit(name + ".bias", linear.bias);
}

}  // namespace

void VisitBlock(Block& block, int64_t index, const ParameterVisitor& visit) {
  const std::string prefix = fmt::format("layers.{}.", index);
  visit(prefix + "attention_norm.weight", block.attention_norm.weight);
  VisitLinear(block.attention.query, prefix + "attention.query", visit);
  VisitLinear(block.attention.key, prefix + "attention.key", visit);
  VisitLinear(block.attention.value, prefix + "attention.value", visit);
  VisitLinear(block.attention.output, prefix + "attention.output", visit);
  visit(prefix + "feed_forward_norm.weight", block.feed_forward_norm.weight);
  VisitLinear(block.feed_forward.gate, prefix + "feed_forward.gate", visit);
  VisitLinear(block.feed_forward.up, prefix + "feed_forward.up", visit);
  VisitLinear(block.feed_forward.down, prefix + "feed_forward.down", visit);
}

void VisitOuter(Model& model, const ParameterVisitor& visit) {
  visit("embedding.weight", model.embedding);
  visit("final_norm.weight", model.final_norm.weight);
  visit("head.weight", model.head);
}

void VisitParameters(Model& model, const ParameterVisitor& visit) {
  VisitOuter(model, visit);
  for (size_t index = 0; index < model.blocks.size(); ++index) VisitBlock(model.blocks[index], index, visit);
}

Model CloneModel(const Model& model, at::ScalarType dtype, at::Device device) {
  Model copy = model;
  VisitParameters(copy, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.detach().to(device, dtype, /*non_blocking=*/false, /*copy=*/true);
  });
  return copy;
}

}  // namespace regroup
