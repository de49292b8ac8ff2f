#include "trainer/stages/student.h"

#include <ATen/ATen.h>

#include "services/base/status_macros.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/gates/gates.h"
#include "trainer/stages/convert_block.h"

namespace regroup {
namespace {

constexpr double kWeightDecay = 1e-4;
constexpr double kSharedRate = 2.0;

at::Tensor OwnedCopy(const at::Tensor& tensor, at::ScalarType dtype, at::Device device) {
  return tensor.defined() ? tensor.to(device, dtype, /*non_blocking=*/false, /*copy=*/true) : tensor;
}

/// Mixes rows: original [H d, ...], shared [G d, ...], gate values [H].
at::Tensor MixRows(const at::Tensor& original, const at::Tensor& shared, const at::Tensor& gate_values) {
  if (!original.defined()) return original;
  const int64_t heads = gate_values.numel();
  const int64_t width = original.size(0) / heads;
  const int64_t groups = shared.size(0) / width;
  const at::Tensor old = original.reshape({groups, heads / groups, width, -1});
  const at::Tensor common = shared.reshape({groups, 1, width, -1});
  const at::Tensor share = gate_values.to(original.scalar_type()).reshape({groups, heads / groups, 1, 1});
  return (common + share * (old - common)).reshape(original.sizes());
}

}  // namespace

absl::StatusOr<Student> Student::Make(const SourceModel& source, const Conversion& conversion, bool gated,
                                      at::ScalarType dtype, at::Device device) {
  Student student;
  student.source_kv_heads_ = source.config().kv_heads;
  const AttentionShape shape = AttentionShapeOf(source.config());
  REGROUP_ASSIGN_OR_RETURN(student.model_, source.Map());
  const std::vector<LayerAlignment>& alignments = conversion.alignments();
  for (size_t layer = 0; layer < alignments.size(); ++layer) {
    Block& block = student.model_.blocks[layer];
    const AttentionWeights weights = AttentionWeightsOf(block);
    if (gated) {
      REGROUP_ASSIGN_OR_RETURN(const AttentionWeights aligned, ApplyAlignment(weights, alignments[layer], shape));
      student.original_.push_back(
          {{OwnedCopy(aligned.key, dtype, device), OwnedCopy(aligned.key_bias, dtype, device)},
           {OwnedCopy(aligned.value, dtype, device), OwnedCopy(aligned.value_bias, dtype, device)}});
    }
    REGROUP_RETURN_IF_ERROR(conversion.Merge(block, static_cast<int64_t>(layer)));
  }
  student.model_.config.kv_heads = conversion.kv_heads();
  student.model_ = CloneModel(student.model_, dtype, device);
  if (gated) {
    student.scores_ = at::full({static_cast<int64_t>(alignments.size()) * student.source_kv_heads_}, kOpenScore,
                               at::TensorOptions(device).dtype(at::kFloat));
  }
  return student;
}

std::vector<ParameterGroup> Student::ParameterGroups(double gate_rate) {
  ParameterGroup base{.name = "base", .weight_decay = kWeightDecay};
  ParameterGroup shared{.name = "shared", .rate = kSharedRate, .weight_decay = kWeightDecay};
  ParameterGroup gates{.name = "gates", .rate = gate_rate, .clipped = false};
  VisitParameters(model_, [&](const std::string& name, at::Tensor& tensor) {
    if (!tensor.defined()) return;
    const bool is_shared =
        name.find("attention.key") != std::string::npos || name.find("attention.value") != std::string::npos;
    (is_shared ? shared : base).parameters.push_back(&tensor);
  });
  for (OriginalHeads& heads : original_) {
    for (at::Tensor* tensor : {&heads.key.weight, &heads.key.bias, &heads.value.weight, &heads.value.bias}) {
      if (tensor->defined()) base.parameters.push_back(tensor);
    }
  }
  if (scores_.defined()) gates.parameters.push_back(&scores_);
  return {base, shared, gates};
}

Linear Student::Mix(const Linear& original, const Linear& shared, const at::Tensor& gate_values) const {
  return {MixRows(original.weight, shared.weight, gate_values), MixRows(original.bias, shared.bias, gate_values)};
}

Model Student::Effective(const at::Tensor& gate_values) const {
  Model model = model_;
  if (!gate_values.defined()) return model;
  model.config.kv_heads = source_kv_heads_;
  for (size_t layer = 0; layer < original_.size(); ++layer) {
    const at::Tensor z = gate_values.narrow(0, static_cast<int64_t>(layer) * source_kv_heads_, source_kv_heads_);
    AttentionProjections& attention = model.blocks[layer].attention;
    attention.key = Mix(original_[layer].key, attention.key, z);
    attention.value = Mix(original_[layer].value, attention.value, z);
  }
  return model;
}

}  // namespace regroup
