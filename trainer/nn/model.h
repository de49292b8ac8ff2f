// Stores the weights of a decoder as plain tensors, under Regroup's own names, to which every family maps its names.
//
// A Model owns only tensor handles; copying it shares storage. Not synchronised: one thread at a time may change it.
// Shapes follow the Hugging Face Linear layout, weight [out, in].
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/nn/model_config.h"
#include "trainer/nn/packed_linear.h"

namespace regroup {

/// y = x weight^T + bias; `bias` is undefined if the family has none.
struct Linear {
  at::Tensor weight;
  at::Tensor bias;
  /// Replaces `weight`, which is then undefined; see PackForDecoding. Not visited as a parameter.
  PackedWeight packed;

  bool defined() const { return weight.defined() || packed.defined(); }
};

/// Weight and bias of a norm. Either may be undefined, see NormKind.
struct Norm {
  at::Tensor weight;
  at::Tensor bias;
};

/// Shapes: query [H d, hidden], key and value [H_kv d, hidden], output [hidden, H d].
struct AttentionProjections {
  Linear query, key, value, output;
  /// See QueryKeyNorm.
  Norm query_norm, key_norm;
  /// Index of the source head at each position, int64 [H]; its position bias moves with it. Undefined: the order is
  /// unchanged. Not a parameter, and defined only if heads have a position bias.
  at::Tensor head_order;
};

/// `gate` is undefined if the feed-forward is not gated. In a mixture of experts (ExpertsConfig) the three are those of
/// the shared expert, or undefined.
struct FeedForward {
  Linear gate, up, down;
  /// Router [experts, hidden], and the shared expert's gate [1, hidden].
  Linear router, shared_gate;
  std::vector<FeedForward> experts;

  bool defined() const { return up.defined() || router.defined(); }
};

/// Feed-forward and its norm are undefined in the self-attention of an encoder-decoder's decoder. Only
/// BlockLayout::kNormAround has the output norms.
struct Block {
  Norm attention_norm;
  AttentionProjections attention;
  Norm attention_output_norm;
  Norm feed_forward_norm;
  FeedForward feed_forward;
  Norm feed_forward_output_norm;
};

struct Model {
  ModelConfig config;
  /// [vocabulary, hidden]
  at::Tensor embedding;
  /// [learned positions, hidden], or undefined
  at::Tensor positions;
  Norm embedding_norm;
  /// Those of an encoder, which has its own, and its embedding [vocabulary, hidden], if it has one.
  at::Tensor encoder_embedding;
  at::Tensor encoder_positions;
  Norm encoder_embedding_norm;
  /// The convolutions of an encoder that reads a spectrogram, with weights [hidden, mel bins or hidden, 3].
  Linear first_convolution, second_convolution;
  /// [buckets, heads], see RelativeBiasConfig; undefined if the model has none.
  at::Tensor encoder_relative_bias, decoder_relative_bias;
  /// Applied after the encoder's last block.
  Norm encoder_norm;
  std::vector<Block> blocks;
  Norm final_norm;
  /// [vocabulary, hidden]; its weight is undefined if the embedding is also the output projection.
  Linear head;

  Linear OutputProjection() const { return {head.defined() ? head.weight : embedding, head.bias, head.packed}; }
};

using ParameterVisitor = std::function<void(const std::string& name, at::Tensor& tensor)>;

/// Return a block and a model without parameters that have a slot for each of them.
Block EmptyBlock(const ModelConfig& config, int64_t layer);
Model EmptyModel(const ModelConfig& config);

/// Calls `visit` for every parameter slot of a feed-forward, as "<prefix>.up.weight" and
/// "<prefix>.experts.<index>.up.weight".
void VisitFeedForward(FeedForward& feed_forward, const std::string& prefix, const ParameterVisitor& visit);

/// Calls `visit` for every parameter slot of one block, including undefined ones, as
/// "layers.<index>.attention.key.weight".
void VisitBlock(Block& block, int64_t index, const ParameterVisitor& visit);

/// Calls `visit` for every parameter slot outside the blocks: "embedding.weight", "positions.weight",
/// "final_norm.weight", "head.weight" and so on.
void VisitOuter(Model& model, const ParameterVisitor& visit);

/// Calls `visit` for all slots of the model: the outer ones, then block by block.
void VisitParameters(Model& model, const ParameterVisitor& visit);

/// Calls `visit` for every linear map of attentions, feed-forwards and experts, and for the head.
void VisitLinears(Model& model, const std::function<void(Linear& linear)>& visit);

/// Moves a block's weights to `dtype` and `device`, copying only those that change.
void ConvertBlock(Block& block, at::ScalarType dtype, at::Device device);

/// Return copies that share no storage with the original, in `dtype` on `device`.
Block CloneBlock(const Block& block, at::ScalarType dtype, at::Device device);
Model CloneModel(const Model& model, at::ScalarType dtype, at::Device device);

}  // namespace regroup
