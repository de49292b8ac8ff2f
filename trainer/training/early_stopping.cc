#include "trainer/training/early_stopping.h"

#include <ATen/ATen.h>

namespace regroup {

void EarlyStopping::Add(int64_t step, double perplexity) {
  if (perplexity < best_) {
    best_ = perplexity;
    best_step_ = step;
    without_better_ = 0;
  } else {
    ++without_better_;
  }
}

at::Tensor EarlyStopping::State() const {
  return at::tensor({best_, static_cast<double>(best_step_), static_cast<double>(without_better_)}, at::kDouble);
}

absl::Status EarlyStopping::Load(const at::Tensor& state) {
  if (state.scalar_type() != at::kDouble || state.dim() != 1 || state.size(0) != 3) {
    return absl::DataLossError("the state of early stopping is not three numbers");
  }
  best_ = state[0].item<double>();
  best_step_ = static_cast<int64_t>(state[1].item<double>());
  without_better_ = static_cast<int64_t>(state[2].item<double>());
  return absl::OkStatus();
}

}  // namespace regroup
