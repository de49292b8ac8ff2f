// The model that fine-tuning moves: queries and outputs of the aligned layers, one shared KV head per group, and for
// `l0` also the aligned original KV heads with one gate each.
//
// Effective key of original head i in group g: z_i W_i + (1 - z_i) W_g, on the weights, which for linear projections
// is the same as on the activations and costs one product. One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/model.h"
#include "trainer/optim/sharded_adamw.h"
#include "trainer/training/adapters.h"

namespace regroup {

class Student {
 public:
  /// `gated` keeps the original heads (l0); otherwise the merged model alone is trained (direct).
  static absl::StatusOr<Student> Make(const SourceModel& source, const Conversion& conversion, bool gated,
                                      at::ScalarType dtype, at::Device device);

  /// Leaves every weight outside of the attention as it is. Those that are the teacher's own, which is all that the
  /// conversion did not touch, share its memory from then on. To be called before ParameterGroups.
  void TrainAttentionOnly(const Model& teacher);

  /// Leaves every weight but the shared heads (and gates) as it is, and trains adapters beside the others' linear maps.
  /// Memory as above. INVALID_ARGUMENT names a map that is smaller than the adapters' rank.
  absl::Status TrainAdapters(const Model& teacher, const AdapterSettings& settings);

  /// Parameter groups for the optimizer: "base", "adapters", "shared" heads at twice the rate, the "original" heads
  /// that gates take away, and "gates" at `gate_rate` times the rate.
  std::vector<ParameterGroup> ParameterGroups(double gate_rate);

  /// The model of one step, with its adapters in the weights: with gate values z (one per original KV head of all
  /// layers), or with every gate shut where `gate_values` is undefined. Differentiable.
  Model Effective(const at::Tensor& gate_values) const;

  bool gated() const { return !original_.empty(); }
  int64_t gates() const { return scores_.defined() ? scores_.numel() : 0; }
  /// [gates], float32, in units of the paper's alpha.
  at::Tensor& scores() { return scores_; }

 private:
  struct OriginalHeads {
    Linear key, value;
    /// Where the model normalises all key heads together.
    at::Tensor key_norm;
    /// Place of this layer's gates among all.
    int64_t first_gate = 0;
    int64_t gates = 0;
  };

  Student() = default;
  enum class Trained { kAll, kAttention, kSharedHeads };

  /// Whether a parameter of model_ is trained.
  bool Trains(const std::string& name) const;
  /// Gives up the own copies of what is not trained and is as in the teacher.
  void ShareWith(const Model& teacher);
  Linear Mix(const Linear& original, const Linear& shared, const at::Tensor& gate_values) const;

  /// Merged: key and value are the shared heads.
  Model model_;
  std::vector<OriginalHeads> original_;
  at::Tensor scores_;
  Trained trained_ = Trained::kAll;
  Adapters adapters_;
  ModelConfig source_config_;
};

}  // namespace regroup
