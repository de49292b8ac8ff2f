// Reads config.json with errors that name the key. Used by families.
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

/// Collects the first error. After an error, getters return a harmless value, so that a family can read all its keys
/// without checks.
class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& config) : config_(config) {}

  /// Returns a required positive integer.
  int64_t Integer(std::string_view key);
  /// Returns a positive integer, or `otherwise` if the key is missing or null.
  int64_t IntegerOr(std::string_view key, int64_t otherwise);
  double NumberOr(std::string_view key, double otherwise);
  bool BooleanOr(std::string_view key, bool otherwise);
  std::string TextOr(std::string_view key, std::string_view otherwise);
  /// Returns the activation named by hidden_act or a similar key.
  Activation ReadActivation(std::string_view key, std::string_view otherwise);
  /// Reads RoPE from rope_parameters (Transformers 5) or rope_theta and rope_scaling (Transformers 4). The share of a
  /// head that rotates is `partial_rotary_factor` if given, else `share`.
  RotaryConfig ReadRotary(int64_t head_width, double share = 1.0);
  /// Returns a rotation over `rotary_width` entries of each head, without scaling.
  RotaryConfig PlainRotary(int64_t head_width, int64_t rotary_width, double theta);
  /// Adds `key`, a literal, to config.bias_keys if it is true, or if it is missing and `otherwise` is true.
  void ReadBias(ModelConfig& config, std::string_view key, bool otherwise);
  /// Fails unless `key` is missing or null, or has this value.
  void Require(std::string_view key, const nlohmann::json& value);
  /// Returns the first of these keys that is present, for names that changed over time. If none is present, the error
  /// names the first.
  int64_t IntegerOfAny(std::initializer_list<std::string_view> keys);
  /// Records an error found by the family itself.
  void Fail(std::string message);
  /// Fails for a model larger than any existing one, so that products of its sizes cannot overflow.
  void CheckSizes(const ModelConfig& config);

  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json* Find(std::string_view key);
  /// Returns a number above 0 in a section of the configuration; it is required if `otherwise` is not given.
  double PositiveIn(const nlohmann::json& object, const std::string& section, const char* key,
                    std::optional<double> otherwise);
  bool BooleanIn(const nlohmann::json& object, const std::string& section, const char* key, bool otherwise);
  struct RopeScaling {
    /// Maps a frequency to the scaled frequency.
    std::function<double(double)> scale = [](double frequency) { return frequency; };
    double magnitude = 1.0;
  };
  RopeScaling ReadRopeScaling(const nlohmann::json& rope, const std::string& section, double theta, int64_t width);
  RopeScaling ReadYarn(const nlohmann::json& rope, const std::string& section, double theta, int64_t width);

  const nlohmann::json& config_;
  absl::Status status_;
};

}  // namespace regroup
