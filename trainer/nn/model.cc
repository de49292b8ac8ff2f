#include "trainer/nn/model.h"

#include <fmt/format.h>

namespace regroup {
namespace {

void VisitLinear(Linear& linear, const std::string& name, const ParameterVisitor& visit) {
  visit(name + ".weight", linear.weight);
  visit(name + ".bias", linear.bias);
}

void VisitNorm(Norm& norm, const std::string& name, const ParameterVisitor& visit) {
  visit(name + ".weight", norm.weight);
  visit(name + ".bias", norm.bias);
}

at::Tensor OwnedCopy(const at::Tensor& tensor, at::ScalarType dtype, at::Device device) {
  return tensor.defined() ? tensor.detach().to(device, dtype, /*non_blocking=*/false, /*copy=*/true) : tensor;
}

void VisitMaps(FeedForward& feed_forward, const std::function<void(Linear&)>& visit) {
  for (Linear* linear : {&feed_forward.gate, &feed_forward.up, &feed_forward.down}) visit(*linear);
  for (FeedForward& expert : feed_forward.experts) VisitMaps(expert, visit);
}

}  // namespace

Block EmptyBlock(const ModelConfig& config, int64_t layer) {
  Block block;
  if (config.HasExperts(layer)) block.feed_forward.experts.resize(config.experts.count);
  return block;
}

Model EmptyModel(const ModelConfig& config) {
  Model model{.config = config};
  for (int64_t layer = 0; layer < config.layers; ++layer) model.blocks.push_back(EmptyBlock(config, layer));
  return model;
}

void VisitFeedForward(FeedForward& feed_forward, const std::string& prefix, const ParameterVisitor& visit) {
  VisitLinear(feed_forward.gate, prefix + ".gate", visit);
  VisitLinear(feed_forward.up, prefix + ".up", visit);
  VisitLinear(feed_forward.down, prefix + ".down", visit);
  if (feed_forward.experts.empty()) return;
  visit(prefix + ".router.weight", feed_forward.router.weight);
  visit(prefix + ".shared_gate.weight", feed_forward.shared_gate.weight);
  for (size_t index = 0; index < feed_forward.experts.size(); ++index) {
    VisitFeedForward(feed_forward.experts[index], fmt::format("{}.experts.{}", prefix, index), visit);
  }
}

void VisitBlock(Block& block, int64_t index, const ParameterVisitor& visit) {
  const std::string prefix = fmt::format("layers.{}.", index);
  VisitNorm(block.attention_norm, prefix + "attention_norm", visit);
  VisitLinear(block.attention.query, prefix + "attention.query", visit);
  VisitLinear(block.attention.key, prefix + "attention.key", visit);
  VisitLinear(block.attention.value, prefix + "attention.value", visit);
  VisitLinear(block.attention.output, prefix + "attention.output", visit);
  VisitNorm(block.attention.query_norm, prefix + "attention.query_norm", visit);
  VisitNorm(block.attention.key_norm, prefix + "attention.key_norm", visit);
  VisitNorm(block.attention_output_norm, prefix + "attention_output_norm", visit);
  VisitNorm(block.feed_forward_norm, prefix + "feed_forward_norm", visit);
  VisitFeedForward(block.feed_forward, prefix + "feed_forward", visit);
  VisitNorm(block.feed_forward_output_norm, prefix + "feed_forward_output_norm", visit);
}

void VisitOuter(Model& model, const ParameterVisitor& visit) {
  visit("embedding.weight", model.embedding);
  visit("positions.weight", model.positions);
  VisitNorm(model.embedding_norm, "embedding_norm", visit);
  visit("encoder_embedding.weight", model.encoder_embedding);
  visit("encoder_positions.weight", model.encoder_positions);
  VisitNorm(model.encoder_embedding_norm, "encoder_embedding_norm", visit);
  VisitLinear(model.first_convolution, "first_convolution", visit);
  VisitLinear(model.second_convolution, "second_convolution", visit);
  visit("encoder_relative_bias.weight", model.encoder_relative_bias);
  visit("decoder_relative_bias.weight", model.decoder_relative_bias);
  VisitNorm(model.encoder_norm, "encoder_norm", visit);
  VisitNorm(model.final_norm, "final_norm", visit);
  VisitLinear(model.head, "head", visit);
}

void VisitParameters(Model& model, const ParameterVisitor& visit) {
  VisitOuter(model, visit);
  for (size_t index = 0; index < model.blocks.size(); ++index) VisitBlock(model.blocks[index], index, visit);
}

void VisitLinears(Model& model, const std::function<void(Linear&)>& visit) {
  for (Block& block : model.blocks) {
    AttentionProjections& attention = block.attention;
    for (Linear* linear : {&attention.query, &attention.key, &attention.value, &attention.output}) visit(*linear);
    VisitMaps(block.feed_forward, visit);
  }
  visit(model.head);
}

void ConvertBlock(Block& block, at::ScalarType dtype, at::Device device) {
  VisitBlock(block, 0, [&](const std::string&, at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.to(device, dtype);
  });
  at::Tensor& order = block.attention.head_order;
  if (order.defined()) order = order.to(device);
}

Block CloneBlock(const Block& block, at::ScalarType dtype, at::Device device) {
  Block copy = block;
  VisitBlock(copy, 0, [&](const std::string&, at::Tensor& tensor) { tensor = OwnedCopy(tensor, dtype, device); });
  at::Tensor& order = copy.attention.head_order;
  if (order.defined()) order = order.to(device);
  return copy;
}

Model CloneModel(const Model& model, at::ScalarType dtype, at::Device device) {
  Model copy = model;
  VisitOuter(copy, [&](const std::string&, at::Tensor& tensor) { tensor = OwnedCopy(tensor, dtype, device); });
  for (Block& block : copy.blocks) block = CloneBlock(block, dtype, device);
  return copy;
}

}  // namespace regroup
