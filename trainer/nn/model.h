// The weights of a decoder as plain tensors, under names of our own that every family maps to.
//
// A Model owns nothing but tensor handles; copying it shares storage. Not synchronised: one thread at a time may
// change it. Shapes follow the Hugging Face Linear layout, weight [out, in].
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/nn/model_config.h"

namespace regroup {

/// y = x weight^T + bias; `bias` is undefined where the family has none.
struct Linear {
  at::Tensor weight;
  at::Tensor bias;
};

/// Root-mean-square normalisation with a learned scale.
struct Norm {
  at::Tensor weight;
};

/// query [H d, hidden], key and value [H_kv d, hidden], output [hidden, H d].
struct AttentionProjections {
  Linear query, key, value, output;
};

/// Gated feed-forward: down(activation(gate x) * up x).
struct FeedForward {
  Linear gate, up, down;
};

struct Block {
  Norm attention_norm;
  AttentionProjections attention;
  Norm feed_forward_norm;
  FeedForward feed_forward;
};

struct Model {
  ModelConfig config;
  /// [vocabulary, hidden]
  at::Tensor embedding;
  std::vector<Block> blocks;
  Norm final_norm;
  /// [vocabulary, hidden]; undefined where the embedding serves as the output projection.
  at::Tensor head;

  const at::Tensor& OutputProjection() const { return head.defined() ? head : embedding; }
};

using ParameterVisitor = std::function<void(const std::string& name, at::Tensor& tensor)>;

/// Calls `visit` for every parameter slot of one block, also undefined ones, as "layers.<index>.attention.key.weight".
void VisitBlock(Block& block, int64_t index, const ParameterVisitor& visit);

/// Calls `visit` for every parameter slot outside of the blocks: "embedding.weight", "final_norm.weight",
/// "head.weight".
void VisitOuter(Model& model, const ParameterVisitor& visit);

/// All of the model's slots: the outer ones, then block by block.
void VisitParameters(Model& model, const ParameterVisitor& visit);

/// A copy that shares no storage with `model`, in `dtype` on `device`.
Model CloneModel(const Model& model, at::ScalarType dtype, at::Device device);

}  // namespace regroup
