// Reads config.json's quantization_config: which weights are quantised, and whether they can be read. Does not use
// libtorch. Functions are pure and may be called from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/tensor_info.h"

namespace regroup {

struct Quantisation {
  /// True if 8-bit floats have scales that the configuration accounts for.
  bool has_scales = false;
  /// Rows and columns that share a scale; absent if the configuration names no blocks.
  std::optional<std::vector<int64_t>> block;
  /// The element type that 8-bit floats are read as: config.json's dtype, by default BF16.
  SafetensorsDtype target = SafetensorsDtype::kBF16;
  /// A sentence for people, or empty.
  std::string note;
};

/// Accepts FP8, and methods that Transformers does not know and therefore ignores. INVALID_ARGUMENT for every other
/// method, with its name and what to do; for settings that are malformed, with their key.
absl::StatusOr<Quantisation> ReadQuantisation(const nlohmann::json& config);

/// Returns true for the 8-bit floats that weights are stored in.
bool IsFp8(SafetensorsDtype dtype);

/// Returns the names that the scale of a weight may have, and those of other tensors that belong to the quantisation
/// of this weight and are not needed to read it.
std::vector<std::string> ScaleNames(std::string_view weight);
std::vector<std::string> ActivationScaleNames(std::string_view weight);
/// Returns the names of scales that Transformers ignores: its model would have other weights than the one that was
/// quantised.
std::vector<std::string> IgnoredScaleNames(std::string_view weight);

/// Checks that the scale is one number, or a grid of whole blocks of the weight [out, in]. The error is the end of a
/// sentence that begins with the weight's name.
absl::Status CheckScale(const Quantisation& quantisation, const TensorInfo& weight, const TensorInfo& scale);

/// Returns which quantised tensors are stored in place of a weight, such as "q_proj.qweight", if any.
std::vector<std::string> QuantisedNames(std::string_view weight);

}  // namespace regroup
