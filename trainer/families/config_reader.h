// Reading config.json with errors that name the key. Used by families.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Collects the first error; getters return a harmless value after one, so that a family reads its keys in one run.
class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& config) : config_(config) {}

  /// A positive integer that must be there.
  int64_t Integer(std::string_view key);
  /// A positive integer, or `otherwise` where the key is missing or null.
  int64_t IntegerOr(std::string_view key, int64_t otherwise);
  double NumberOr(std::string_view key, double otherwise);
  bool BooleanOr(std::string_view key, bool otherwise);
  std::string TextOr(std::string_view key, std::string_view otherwise);
  /// hidden_act or the like.
  Activation ReadActivation(std::string_view key, std::string_view otherwise);
  /// RoPE from rope_parameters (Transformers 5) or rope_theta and rope_scaling (Transformers 4). The share of a head
  /// that rotates is `partial_rotary_factor` where it is written, else `share`.
  RotaryConfig ReadRotary(int64_t head_width, double share = 1.0);
  /// Rotation over `rotary_width` entries of each head, without scaling.
  RotaryConfig PlainRotary(int64_t head_width, int64_t rotary_width, double theta);
  /// Fails unless `key` is missing or null, or has this value.
  void Require(std::string_view key, const nlohmann::json& value);
  /// The first of these keys that is there, for names that changed over time; fails by the first where none is.
  int64_t IntegerOfAny(std::initializer_list<std::string_view> keys);
  /// Records an error of the family's own.
  void Fail(std::string message);
  /// Fails for a model beyond any that exists, so that products of its sizes need no second thought.
  void CheckSizes(const ModelConfig& config);

  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(std::string_view key);
  /// A number above 0 in a part of the configuration; without `otherwise` it must be there.
  double PositiveIn(const nlohmann::json& object, const std::string& section, const char* key,
                    std::optional<double> otherwise);
  bool BooleanIn(const nlohmann::json& object, const std::string& section, const char* key, bool otherwise);
  struct RopeScaling {
    /// From a frequency to the scaled one.
    std::function<double(double)> scale = [](double frequency) { return frequency; };
    double magnitude = 1.0;
  };
  RopeScaling ReadRopeScaling(const nlohmann::json& rope, const std::string& section, double theta, int64_t width);
  RopeScaling ReadYarn(const nlohmann::json& rope, const std::string& section, double theta, int64_t width);

  const nlohmann::json& config_;
  absl::Status status_;
};

}  // namespace regroup
