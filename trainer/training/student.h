// The model that fine-tuning trains: queries and outputs of the aligned layers, one shared KV head per group, and for
// `l0` also the aligned original KV heads with one gate each.
//
// Effective key of original head i in group g: z_i W_i + (1 - z_i) W_g, formed on the weights, which for linear
// projections equals the mix of activations and costs one product.
//
// The blocks are either whole, or sliced over the ranks (sliced_blocks.h). One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/model.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/training/adapters.h"
#include "trainer/training/sliced_blocks.h"
#include "trainer/training/teacher.h"

namespace regroup {

class Student {
 public:
  /// `gated` keeps the original heads (l0); otherwise only the merged model is trained (direct). With a place in a gang
  /// the blocks are sliced, one after the other. With a teacher, the student takes over its weights outside of the
  /// attention, which then must not train, so that they are never in memory twice.
  static absl::StatusOr<Student> Make(const SourceModel& source, const Conversion& conversion, bool gated,
                                      at::ScalarType dtype, at::Device device, std::optional<GangPlace> sliced_at = {},
                                      const Teacher* lends_rest = nullptr);

  /// Freezes every weight outside the attention. Frozen weights that equal the teacher's, which are all that the
  /// conversion did not change, share the teacher's memory from then on. `slices` are those of the teacher, if its
  /// blocks are sliced as the student's are. Call it before ParameterGroups.
  void TrainAttentionOnly(const Model& teacher, const SlicedBlocks* slices = nullptr);

  /// Freezes every weight except the shared heads (and gates), and trains adapters for the other linear maps. Shares
  /// memory as above. INVALID_ARGUMENT names a map that is smaller than the adapters' rank.
  absl::Status TrainAdapters(const Model& teacher, const AdapterSettings& settings,
                             const SlicedBlocks* slices = nullptr);

  /// Returns the parameter groups for the optimizer: "base", "adapters", "shared" heads at twice the rate, the
  /// "original" heads that gates remove, and "gates" at `gate_rate` times the rate.
  std::vector<ParameterGroup> ParameterGroups(double gate_rate);

  /// Returns the model of one step, with its adapters in the weights: with gate values z (one per original KV head of
  /// all layers), or with every gate closed if `gate_values` is undefined. Differentiable. Of sliced blocks it has the
  /// shapes alone; StudentLender lends their weights.
  Model Effective(const at::Tensor& gate_values) const;

  /// Returns what the weights of a layer's block depend on beside weights: its gate values, if any are given, and its
  /// adapters.
  std::vector<at::Tensor> InputsOf(int64_t layer, const at::Tensor& gate_values) const;
  /// Returns a block as Effective does, for these inputs. Sliced blocks must be filled.
  Block EffectiveBlock(int64_t layer, bool with_gates, const std::vector<at::Tensor>& inputs) const;

  /// Returns null if the blocks are whole.
  SlicedBlocks* slices() { return slices_.get(); }
  /// Returns the parts of a block that train.
  std::vector<BlockPart> TrainedParts() const;

  bool gated() const { return !original_.empty(); }
  bool has_adapters() const { return trained_ == Trained::kSharedHeads; }
  int64_t gates() const { return scores_.defined() ? scores_.numel() : 0; }
  /// [gates], float32, in units of the paper's alpha.
  at::Tensor& scores() { return scores_; }

 private:
  struct OriginalHeads {
    Linear key, value;
    /// Defined if the model normalises all key heads together.
    at::Tensor key_norm;
    /// Index of this layer's first gate.
    int64_t first_gate = 0;
    int64_t gates = 0;

    std::vector<at::Tensor*> Slots();
  };

  Student() = default;
  enum class Trained { kAll, kAttention, kSharedHeads };

  bool Trains(BlockPart part) const;
  /// Releases the copies of parameters that are not trained and equal the teacher's.
  void ShareWith(const Model& teacher, const SlicedBlocks* slices);
  void ShareSlices(int64_t layer, const SlicedBlocks& teacher);
  Linear Mix(const Linear& original, const Linear& shared, const at::Tensor& gate_values) const;

  /// The merged model: key and value are the shared heads.
  Model model_;
  std::vector<OriginalHeads> original_;
  at::Tensor scores_;
  Trained trained_ = Trained::kAll;
  /// The owners of the slots in model_.blocks and original_, or null.
  std::unique_ptr<SlicedBlocks> slices_;
  Adapters adapters_;
  ModelConfig aligned_config_;
};

}  // namespace regroup
