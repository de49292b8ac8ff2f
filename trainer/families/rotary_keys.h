// Reads the rotary keys of config.json with the precedence and the scope of Transformers 5. Used by families.
#pragma once

#include <string_view>

#include "trainer/families/config_reader.h"

namespace regroup {

/// The rotary keys that a family's configuration class reads outside of rope_parameters and rope_scaling.
struct RotaryKeys {
  std::string_view theta = "rope_theta";
  double default_theta = 10000.0;
  std::string_view share = "partial_rotary_factor";
  /// Share of a head that rotates if no key gives it.
  double default_share = 1.0;
  /// True if the class can rotate a part of a head; otherwise it ignores the share, or fails with a scaled rope type.
  bool partial = false;
  /// Context before scaling if no key gives it; 0: max_position_embeddings.
  int64_t original_positions = 0;
  /// True if the class knows no scaling but longrope, of which `su` and `yarn` are old names.
  bool only_longrope = false;
  /// True if the class has an object for each type of layer. Then it reads the context before scaling only there, and
  /// ignores `truncate`.
  bool by_layer_type = false;
};

/// Reads the rotation of a model whose head_width and max_positions are set. An object rope_scaling that is not empty
/// replaces rope_parameters; what the object lacks comes from the keys beside it.
RotaryConfig ReadRotary(ConfigReader& reader, const ModelConfig& config, const RotaryKeys& keys);

/// Reads the rotation from one object, which errors call `section`; what it lacks comes from the keys beside it.
RotaryConfig ReadRotaryObject(ConfigReader& reader, const ModelConfig& config, std::string_view section,
                              const nlohmann::json& object, const RotaryKeys& keys);

}  // namespace regroup
