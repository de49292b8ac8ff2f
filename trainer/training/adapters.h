// Trains low-rank changes of frozen linear maps (LoRA, Hu et al., 2022): W + alpha / rank B A for each map of the
// blocks, except the shared keys and values, which train as a whole.
//
// The sum is formed on the weights, in the training's precision, once per forward pass: the model that trains is
// exactly the model that will be written, and the families' forward passes need no change. One thread at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/nn/model.h"

namespace regroup {

struct AdapterSettings {
  int64_t rank = 16;
  double alpha = 32;
  uint64_t seed = 0;
};

class Adapters {
 public:
  /// Initialises A uniformly in +-1 / sqrt(in), the same on every rank of a gang, and B to zero, so that the model is
  /// unchanged at first. INVALID_ARGUMENT names a map that is smaller than the rank.
  static absl::StatusOr<Adapters> Make(const Model& model, const AdapterSettings& settings);
  Adapters() = default;

  /// Returns the parameters in order of use.
  std::vector<at::Tensor*> Parameters();

  /// Returns the parameters of one layer's block, which are none without adapters.
  std::vector<at::Tensor> Of(int64_t layer) const;

  /// Replaces the weights of the layer's maps by weights with the change; `values` begin with what Of returns, or with
  /// tensors that take their place. Differentiable.
  void Apply(int64_t layer, const std::vector<at::Tensor>& values, Block& block) const;

 private:
  struct Adapter {
    /// Index of the map among those of the block.
    size_t map = 0;
    at::Tensor a;  // [rank, in]
    at::Tensor b;  // [out, rank]
  };

  /// By layer.
  std::vector<std::vector<Adapter>> adapters_;
  double scale_ = 1.0;
};

}  // namespace regroup
