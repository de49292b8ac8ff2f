// A small network with two parameter groups and a batch that ranks share out: training with any number of ranks must
// give the same weights.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "trainer/optim/sharded_adamw.h"

namespace regroup {

/// y = W2 tanh(W1 x + b), fitted to random targets; three parameters in "base", one tiny one in "gates".
class Regression {
 public:
  /// Buckets of `options.bucket_bytes`: by default all of a group in one.
  explicit Regression(Communicator& communicator, at::ScalarType dtype = at::kFloat, const AdamWOptions& options = {})
      : communicator_(communicator),
        first_(Random(1, {40, 30}).to(dtype)),
        bias_(Random(2, {40}).to(dtype)),
        second_(Random(3, {5, 40}).to(dtype)),
        scale_(at::ones({5}, dtype)),
        optimizer_({{.name = "base", .parameters = {&first_, &bias_, &second_}, .weight_decay = 1e-2},
                    {.name = "gates", .parameters = {&scale_}, .rate = 3.0, .clipped = false}},
                   options, communicator) {}

  /// Reduces gradients beside the backward pass.
  void Overlap() { overlaps_ = true; }

  /// One step on a global batch of 12 rows, of which every rank takes its share, in so many micro-batches. The gradient
  /// norm.
  double Step(int step, int64_t micro_batches = 1) {
    optimizer_.ZeroGradients();
    const int64_t rows = 12 / communicator_.size() / micro_batches;
    for (int64_t part = 0; part < micro_batches; ++part) {
      if (part > 0) optimizer_.AccumulateGradients();
      if (overlaps_ && part + 1 == micro_batches) optimizer_.OverlapNextBackward();
      const int64_t begin = rows * (communicator_.rank() * micro_batches + part);
      const auto share = [&](const at::Tensor& all) { return all.narrow(0, begin, rows).to(first_.scalar_type()); };
      Backward(share(Random(1000 + step, {12, 30}) * 5.0), share(Random(5000 + step, {12, 5}) * 5.0));
    }
    return *optimizer_.Step(1e-3);
  }

  /// All parameters in one vector.
  at::Tensor Weights() const {
    return at::cat({first_.flatten(), bias_, second_.flatten(), scale_}).detach().to(at::kFloat).clone();
  }
  ShardedAdamW& optimizer() { return optimizer_; }

 private:
  void Backward(const at::Tensor& x, const at::Tensor& y) const {
    const at::Tensor predicted = scale_ * at::linear(at::tanh(at::linear(x, first_, bias_)), second_);
    ((predicted - y).square().sum() / 12.0).backward();
  }
  static at::Tensor Random(uint64_t seed, at::IntArrayRef shape) {
    at::manual_seed(seed);
    return at::randn(shape) * 0.2;
  }

  Communicator& communicator_;
  at::Tensor first_, bias_, second_, scale_;
  ShardedAdamW optimizer_;
  bool overlaps_ = false;
};

}  // namespace regroup
