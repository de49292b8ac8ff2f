#include "trainer/training/student.h"

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "services/common/base/status_macros.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/nn/parameter_names.h"
#include "trainer/training/gates.h"

namespace regroup {
namespace {

constexpr double kWeightDecay = 1e-4;
constexpr double kSharedRate = 2.0;

at::Tensor OwnedCopy(const at::Tensor& tensor, at::ScalarType dtype, at::Device device) {
  return tensor.defined() ? tensor.to(device, dtype, /*non_blocking=*/false, /*copy=*/true) : tensor;
}

bool IsOfSharedHeads(const std::string& parameter) {
  return parameter.find("attention.key") != std::string::npos || parameter.find("attention.value") != std::string::npos;
}

/// Returns true for outer parameters that come after the blocks.
bool StandsBehindTheBlocks(const std::string& parameter) {
  return parameter.starts_with("encoder_norm") || parameter.starts_with("final_norm") || parameter.starts_with("head");
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
  student.aligned_config_ = conversion.AlignedConfig();
  REGROUP_ASSIGN_OR_RETURN(student.model_, source.Map());
  const std::vector<LayerAlignment>& alignments = conversion.alignments();
  int64_t gates = 0;
  for (size_t layer = 0; layer < alignments.size(); ++layer) {
    Block& block = student.model_.blocks[layer];
    if (gated) {
      Block aligned = block;
      REGROUP_RETURN_IF_ERROR(AlignBlock(aligned, source.config(), static_cast<int64_t>(layer), alignments[layer]));
      OriginalHeads heads{.first_gate = gates, .gates = alignments[layer].HeadCount()};
      const auto owned = [&](const Linear& linear) {
        return Linear{OwnedCopy(linear.weight, dtype, device), OwnedCopy(linear.bias, dtype, device)};
      };
      heads.key = owned(aligned.attention.key);
      heads.value = owned(aligned.attention.value);
      if (source.config().query_key_norm == QueryKeyNorm::kAllHeads) {
        heads.key_norm = OwnedCopy(aligned.attention.key_norm.weight, dtype, device);
      }
      gates += heads.gates;
      student.original_.push_back(std::move(heads));
    }
    REGROUP_RETURN_IF_ERROR(conversion.Merge(block, static_cast<int64_t>(layer)));
  }
  student.model_.config = conversion.MergedConfig();
  student.model_ = CloneModel(student.model_, dtype, device);
  if (gated) student.scores_ = at::full({gates}, kOpenScore, at::TensorOptions(device).dtype(at::kFloat));
  return student;
}

void Student::TrainAttentionOnly(const Model& teacher) {
  trained_ = Trained::kAttention;
  ShareWith(teacher);
}

absl::Status Student::TrainAdapters(const Model& teacher, const AdapterSettings& settings) {
  trained_ = Trained::kSharedHeads;
  ShareWith(teacher);
  REGROUP_ASSIGN_OR_RETURN(adapters_, Adapters::Make(model_, settings));
  return absl::OkStatus();
}

bool Student::Trains(const std::string& name) const {
  switch (trained_) {
    case Trained::kAll:
      break;
    case Trained::kAttention:
      return IsOfAttention(name);
    case Trained::kSharedHeads:
      return IsOfSharedHeads(name);
  }
  return true;
}

void Student::ShareWith(const Model& teacher) {
  std::map<std::string, at::Tensor> originals;
  Model handles = teacher;
  VisitParameters(handles, [&](const std::string& name, at::Tensor& tensor) { originals[name] = tensor; });
  VisitParameters(model_, [&](const std::string& name, at::Tensor& tensor) {
    const at::Tensor& original = originals[name];
    if (!Trains(name) && tensor.defined() && original.defined() && at::equal(tensor, original)) tensor = original;
  });
}

std::vector<ParameterGroup> Student::ParameterGroups(double gate_rate) {
  ParameterGroup base{.name = "base", .weight_decay = kWeightDecay};
  ParameterGroup shared{.name = "shared", .rate = kSharedRate, .weight_decay = kWeightDecay};
  for (const bool behind : {false, true}) {
    VisitParameters(model_, [&](const std::string& name, at::Tensor& tensor) {
      if (!tensor.defined() || StandsBehindTheBlocks(name) != behind || !Trains(name)) return;
      (IsOfSharedHeads(name) ? shared : base).parameters.push_back(&tensor);
    });
  }
  // It has no gradients once every gate is closed.
  ParameterGroup original{.name = "original", .weight_decay = kWeightDecay, .comes_late = true};
  for (OriginalHeads& heads : original_) {
    if (trained_ == Trained::kSharedHeads) break;
    for (at::Tensor* tensor :
         {&heads.key.weight, &heads.key.bias, &heads.value.weight, &heads.value.bias, &heads.key_norm}) {
      if (tensor->defined()) original.parameters.push_back(tensor);
    }
  }
  ParameterGroup gates{.name = "gates", .rate = gate_rate, .clipped = false, .comes_late = true};
  if (scores_.defined()) gates.parameters.push_back(&scores_);
  const ParameterGroup adapters{.name = "adapters", .parameters = adapters_.Parameters(), .weight_decay = kWeightDecay};
  return {base, adapters, shared, original, gates};
}

Linear Student::Mix(const Linear& original, const Linear& shared, const at::Tensor& gate_values) const {
  return {MixRows(original.weight, shared.weight, gate_values), MixRows(original.bias, shared.bias, gate_values)};
}

Model Student::Effective(const at::Tensor& gate_values) const {
  Model model = model_;
  adapters_.Apply(model);
  if (!gate_values.defined()) return model;
  model.config = aligned_config_;
  for (size_t layer = 0; layer < original_.size(); ++layer) {
    const OriginalHeads& heads = original_[layer];
    const at::Tensor z = gate_values.narrow(0, heads.first_gate, heads.gates);
    AttentionProjections& attention = model.blocks[layer].attention;
    attention.key = Mix(heads.key, attention.key, z);
    attention.value = Mix(heads.value, attention.value, z);
    if (heads.key_norm.defined()) attention.key_norm.weight = MixRows(heads.key_norm, attention.key_norm.weight, z);
  }
  return model;
}

}  // namespace regroup
