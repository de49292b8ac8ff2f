#include "trainer/training/student_lender.h"

#include <ATen/ATen.h>

#include <utility>

#include "services/common/base/status_macros.h"

namespace regroup {

StudentLender::StudentLender(Student& student, at::Tensor gate_values, ShardedAdamW* optimizer)
    : student_(student),
      gate_values_(std::move(gate_values)),
      optimizer_(optimizer),
      used_{BlockPart::kSharedHeads, BlockPart::kAttention, BlockPart::kRest},
      trained_(student.TrainedParts()) {
  if (gate_values_.defined()) {
    used_.push_back(BlockPart::kOriginalHeads);
  } else {
    std::erase(trained_, BlockPart::kOriginalHeads);
  }
}

std::vector<at::Tensor> StudentLender::InputsOf(int64_t layer) const { return student_.InputsOf(layer, gate_values_); }

std::vector<SlicedTensors*> StudentLender::TrainedOf(int64_t layer) const {
  std::vector<SlicedTensors*> parts;
  for (const BlockPart part : trained_) {
    if (SlicedTensors* const sliced = student_.slices()->Find(layer, part)) parts.push_back(sliced);
  }
  return parts;
}

LentBlock StudentLender::Lend(int64_t layer, const std::vector<at::Tensor>& inputs, Pass pass) {
  student_.slices()->Fill(layer, used_, trained_, pass);
  LentBlock lent{.block = student_.EffectiveBlock(layer, gate_values_.defined(), inputs)};
  for (const SlicedTensors* sliced : TrainedOf(layer)) {
    for (const at::Tensor* slot : sliced->slots()) lent.trained.push_back(*slot);
  }
  return lent;
}

void StudentLender::TakeBack(int64_t layer, std::vector<at::Tensor> gradients) {
  student_.slices()->Empty(layer);
  student_.slices()->Forget(layer);
  if (gradients.empty()) return;
  std::vector<ShardedAdamW::SlicedGradients> parts;
  auto next = gradients.begin();
  for (const SlicedTensors* sliced : TrainedOf(layer)) {
    const auto end = next + static_cast<int64_t>(sliced->slots().size());
    parts.push_back({sliced, {next, end}});
    next = end;
  }
  gradients.clear();
  optimizer_->AddGradients(std::move(parts));
}

absl::StatusOr<Block> FetchBlock(Student& student, int64_t layer) {
  const at::NoGradGuard no_gradients;
  StudentLender lender(student, at::Tensor(), nullptr);
  Block block = lender.Lend(layer, lender.InputsOf(layer), Pass::kForward).block;
  lender.TakeBack(layer, {});
  REGROUP_RETURN_IF_ERROR(student.slices()->Finish());
  return block;
}

}  // namespace regroup
