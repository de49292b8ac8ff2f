// Lends the sliced blocks of a student for one micro-batch, and gives the gradients of their weights to the optimizer.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "trainer/nn/lent_block.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/training/student.h"

namespace regroup {

class StudentLender final : public BlockLender {
 public:
  /// `gate_values` are those of Student::Effective. Without an optimizer there must be no backward pass. All must
  /// outlive it.
  StudentLender(Student& student, at::Tensor gate_values, ShardedAdamW* optimizer);

  std::vector<at::Tensor> InputsOf(int64_t layer) const override;
  LentBlock Lend(int64_t layer, const std::vector<at::Tensor>& inputs, Pass pass) override;
  void TakeBack(int64_t layer, std::vector<at::Tensor> gradients) override;
  /// Gates and adapters make other weights of the student's.
  bool CanPutAside() const override { return !gate_values_.defined() && !student_.has_adapters(); }
  void PutAside(int64_t layer) override { student_.slices()->PutAside(layer); }
  void Restore(int64_t layer) override { student_.slices()->Restore(layer); }

 private:
  /// Returns the trained parts that the layer has, of those that are used.
  std::vector<SlicedTensors*> TrainedOf(int64_t layer) const;

  Student& student_;
  const at::Tensor gate_values_;
  ShardedAdamW* const optimizer_;
  std::vector<BlockPart> used_, trained_;
};

/// Returns a block of the student with every gate closed, whole for as long as it is held. Every rank must call it for
/// the same layers.
absl::StatusOr<Block> FetchBlock(Student& student, int64_t layer);

}  // namespace regroup
