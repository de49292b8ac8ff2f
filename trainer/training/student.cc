#include "trainer/training/student.h"

#include <ATen/ATen.h>

#include <algorithm>
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

/// Replaces all weights outside of the attention by those of another block.
void TakeRest(Block from, Block& to) {
  std::map<std::string, at::Tensor> weights;
  VisitBlock(from, 0, [&](const std::string& name, at::Tensor& tensor) { weights[name] = tensor; });
  VisitBlock(to, 0, [&](const std::string& name, at::Tensor& tensor) {
    if (PartOfBlock(name) == BlockPart::kRest) tensor = weights[name];
  });
}

}  // namespace

std::vector<at::Tensor*> Student::OriginalHeads::Slots() {
  std::vector<at::Tensor*> slots;
  for (at::Tensor* tensor : {&key.weight, &key.bias, &value.weight, &value.bias, &key_norm}) {
    if (tensor->defined()) slots.push_back(tensor);
  }
  return slots;
}

absl::StatusOr<Student> Student::Make(const SourceModel& source, const Conversion& conversion, bool gated,
                                      at::ScalarType dtype, at::Device device, std::optional<GangPlace> sliced_at,
                                      const Teacher* lends_rest) {
  Student student;
  student.aligned_config_ = conversion.AlignedConfig();
  const std::vector<LayerAlignment>& alignments = conversion.alignments();
  const auto layers = static_cast<int64_t>(alignments.size());
  REGROUP_ASSIGN_OR_RETURN(const Model outer, source.MapOuter());
  student.model_ = CloneModel(outer, dtype, device);
  student.model_.config = conversion.MergedConfig();
  student.model_.blocks.resize(layers);
  if (gated) student.original_.resize(layers);
  if (sliced_at.has_value()) student.slices_ = std::make_unique<SlicedBlocks>(layers, *sliced_at);
  int64_t gates = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(Block block, source.MapBlock(layer));
    if (gated) {
      Block aligned = block;
      REGROUP_RETURN_IF_ERROR(AlignBlock(aligned, source.config(), layer, alignments[layer]));
      OriginalHeads& heads = student.original_[layer];
      heads = {.first_gate = gates, .gates = alignments[layer].HeadCount()};
      const auto owned = [&](const Linear& linear) {
        return Linear{OwnedCopy(linear.weight, dtype, device), OwnedCopy(linear.bias, dtype, device)};
      };
      heads.key = owned(aligned.attention.key);
      heads.value = owned(aligned.attention.value);
      if (source.config().query_key_norm == QueryKeyNorm::kAllHeads) {
        heads.key_norm = OwnedCopy(aligned.attention.key_norm.weight, dtype, device);
      }
      gates += heads.gates;
      if (sliced_at.has_value()) student.slices_->Add(layer, BlockPart::kOriginalHeads, heads.Slots());
    }
    REGROUP_RETURN_IF_ERROR(conversion.Merge(block, layer));
    student.model_.blocks[layer] = CloneBlock(block, dtype, device);
    if (sliced_at.has_value()) {
      student.slices_->Add(layer, student.model_.blocks[layer]);
      SlicedTensors* const rest = student.slices_->Find(layer, BlockPart::kRest);
      if (lends_rest != nullptr && rest != nullptr) {
        rest->ShareWith(*lends_rest->slices->Find(layer, BlockPart::kRest));
      }
    } else if (lends_rest != nullptr) {
      TakeRest(lends_rest->model.blocks[layer], student.model_.blocks[layer]);
    }
  }
  if (gated) student.scores_ = at::full({gates}, kOpenScore, at::TensorOptions(device).dtype(at::kFloat));
  return student;
}

void Student::TrainAttentionOnly(const Model& teacher, const SlicedBlocks* slices) {
  trained_ = Trained::kAttention;
  ShareWith(teacher, slices);
}

absl::Status Student::TrainAdapters(const Model& teacher, const AdapterSettings& settings, const SlicedBlocks* slices) {
  trained_ = Trained::kSharedHeads;
  ShareWith(teacher, slices);
  REGROUP_ASSIGN_OR_RETURN(adapters_, Adapters::Make(model_, settings));
  return absl::OkStatus();
}

std::vector<BlockPart> Student::TrainedParts() const {
  switch (trained_) {
    case Trained::kAll:
      break;
    case Trained::kAttention:
      return {BlockPart::kSharedHeads, BlockPart::kAttention, BlockPart::kOriginalHeads};
    case Trained::kSharedHeads:
      return {BlockPart::kSharedHeads};
  }
  return {BlockPart::kSharedHeads, BlockPart::kAttention, BlockPart::kRest, BlockPart::kOriginalHeads};
}

bool Student::Trains(BlockPart part) const {
  const std::vector<BlockPart> trained = TrainedParts();
  return std::find(trained.begin(), trained.end(), part) != trained.end();
}

void Student::ShareWith(const Model& teacher, const SlicedBlocks* slices) {
  std::map<std::string, at::Tensor> originals;
  Model handles = teacher;
  const auto share = [&](const std::string& name, at::Tensor& tensor) {
    const at::Tensor& original = originals[name];
    if (tensor.defined() && original.defined() && at::equal(tensor, original)) tensor = original;
  };
  const auto keep = [&](const std::string& name, at::Tensor& tensor) { originals[name] = tensor; };
  VisitOuter(handles, keep);
  VisitOuter(model_, share);
  for (int64_t layer = 0; layer < static_cast<int64_t>(model_.blocks.size()); ++layer) {
    if (slices_ != nullptr) {
      ShareSlices(layer, *slices);
      continue;
    }
    VisitBlock(handles.blocks[layer], layer, keep);
    VisitBlock(model_.blocks[layer], layer, [&](const std::string& name, at::Tensor& tensor) {
      if (!Trains(PartOfBlock(name))) share(name, tensor);
    });
  }
}

void Student::ShareSlices(int64_t layer, const SlicedBlocks& teacher) {
  for (const BlockPart part : {BlockPart::kAttention, BlockPart::kRest}) {
    SlicedTensors* const own = slices_->Find(layer, part);
    const SlicedTensors* const original = teacher.Find(layer, part);
    if (!Trains(part) && own != nullptr && original != nullptr) own->ShareWith(*original);
  }
}

std::vector<ParameterGroup> Student::ParameterGroups(double gate_rate) {
  ParameterGroup base{.name = "base", .weight_decay = kWeightDecay};
  ParameterGroup shared{.name = "shared", .rate = kSharedRate, .weight_decay = kWeightDecay};
  // It has no gradients once every gate is closed.
  ParameterGroup original{.name = "original", .weight_decay = kWeightDecay, .comes_late = true};
  const auto add = [&](ParameterGroup& group, int64_t layer, BlockPart part, const std::vector<at::Tensor*>& slots) {
    if (!Trains(part) || slots.empty()) return;
    group.parameters.insert(group.parameters.end(), slots.begin(), slots.end());
    if (slices_ != nullptr) group.sliced.push_back(slices_->Find(layer, part));
  };
  const auto add_outer = [&](bool behind) {
    if (trained_ != Trained::kAll) return;
    VisitOuter(model_, [&](const std::string& name, at::Tensor& tensor) {
      // The positions of an encoder that reads audio are sines and cosines, which its class does not train.
      const bool is_fixed = model_.config.ReadsAudio() && name == "encoder_positions.weight";
      if (tensor.defined() && !is_fixed && StandsBehindTheBlocks(name) == behind) base.parameters.push_back(&tensor);
    });
  };
  add_outer(/*behind=*/false);
  for (int64_t layer = 0; layer < static_cast<int64_t>(model_.blocks.size()); ++layer) {
    for (const auto& [part, slots] : PartsOfBlock(model_.blocks[layer])) {
      add(part == BlockPart::kSharedHeads ? shared : base, layer, part, slots);
    }
    if (gated()) add(original, layer, BlockPart::kOriginalHeads, original_[layer].Slots());
  }
  add_outer(/*behind=*/true);
  ParameterGroup gates{.name = "gates", .rate = gate_rate, .clipped = false, .comes_late = true};
  if (scores_.defined()) gates.parameters.push_back(&scores_);
  const ParameterGroup adapters{.name = "adapters", .parameters = adapters_.Parameters(), .weight_decay = kWeightDecay};
  return {base, adapters, shared, original, gates};
}

Linear Student::Mix(const Linear& original, const Linear& shared, const at::Tensor& gate_values) const {
  return {MixRows(original.weight, shared.weight, gate_values), MixRows(original.bias, shared.bias, gate_values)};
}

std::vector<at::Tensor> Student::InputsOf(int64_t layer, const at::Tensor& gate_values) const {
  std::vector<at::Tensor> inputs = adapters_.Of(layer);
  if (gate_values.defined()) {
    const OriginalHeads& heads = original_[layer];
    inputs.push_back(gate_values.narrow(0, heads.first_gate, heads.gates));
  }
  return inputs;
}

Block Student::EffectiveBlock(int64_t layer, bool with_gates, const std::vector<at::Tensor>& inputs) const {
  Block block = model_.blocks[layer];
  adapters_.Apply(layer, inputs, block);
  if (!with_gates) return block;
  const at::Tensor& z = inputs.back();
  const OriginalHeads& heads = original_[layer];
  AttentionProjections& attention = block.attention;
  attention.key = Mix(heads.key, attention.key, z);
  attention.value = Mix(heads.value, attention.value, z);
  if (heads.key_norm.defined()) attention.key_norm.weight = MixRows(heads.key_norm, attention.key_norm.weight, z);
  return block;
}

Model Student::Effective(const at::Tensor& gate_values) const {
  Model model = model_;
  const bool with_gates = gate_values.defined();
  if (with_gates) model.config = aligned_config_;
  for (int64_t layer = 0; slices_ == nullptr && layer < static_cast<int64_t>(model.blocks.size()); ++layer) {
    model.blocks[layer] = EffectiveBlock(layer, with_gates, InputsOf(layer, gate_values));
  }
  return model;
}

}  // namespace regroup
