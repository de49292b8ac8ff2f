// Reads config.json with errors that name the key. Used by families.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Formats a value as errors show it: its beginning if it is long.
std::string Shown(const nlohmann::json& value);

/// Collects the first error. After an error, getters return a harmless value, so that a family can read all its keys
/// without checks.
class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& config) : config_(config) {}

  /// Returns the value of a key, which may be null; a null pointer if the key is missing.
  const nlohmann::json* Find(std::string_view key) const;
  /// Returns a required positive integer.
  int64_t Integer(std::string_view key);
  /// Returns a positive integer, or `otherwise` if the key is missing. Like Transformers' classes, this and the getters
  /// below do not take null for a missing key.
  int64_t IntegerOr(std::string_view key, int64_t otherwise);
  /// Returns a positive integer, 0 if it is null, or `otherwise` if the key is missing.
  int64_t OptionalInteger(std::string_view key, int64_t otherwise);
  /// Returns an integer of at least 0, or `otherwise` if the key is missing.
  int64_t IndexOr(std::string_view key, int64_t otherwise);
  double NumberOr(std::string_view key, double otherwise);
  bool BooleanOr(std::string_view key, bool otherwise);
  std::string TextOr(std::string_view key, std::string_view otherwise);
  /// Returns the activation named by hidden_act or a similar key.
  Activation ReadActivation(std::string_view key, std::string_view otherwise) {
    return ActivationNamed(TextOr(key, otherwise), key);
  }
  /// Fails with the key that holds the name if the activation is not supported.
  Activation ActivationNamed(std::string_view name, std::string_view key);
  /// Returns a rotation over `rotary_width` entries of each head, without scaling.
  RotaryConfig PlainRotary(int64_t head_width, int64_t rotary_width, double theta);
  /// Adds `key`, a literal, to config.bias_keys if it is true, or if it is missing and `otherwise` is true.
  void ReadBias(ModelConfig& config, std::string_view key, bool otherwise);
  /// Returns a number above 0 of a section of the configuration, or `otherwise` if the key is missing; it is required
  /// if there is no `otherwise`.
  double PositiveIn(const nlohmann::json& object, std::string_view section, std::string_view key,
                    std::optional<double> otherwise);
  double PositiveOr(std::string_view key, double otherwise) { return PositiveIn(config_, "", key, otherwise); }
  /// Returns a number above 0, 0 if it is null, or `otherwise` if the key is missing.
  double PositiveOrNull(std::string_view key, double otherwise);
  /// Fails unless `key` is missing or has this value.
  void Require(std::string_view key, const nlohmann::json& value);
  void RequireOrNull(std::string_view key, const nlohmann::json& value);
  /// Returns the first of these keys that is present, for settings with several names: Transformers lets that one
  /// override the later ones. If none is present, the error names the last.
  int64_t IntegerOfAny(std::initializer_list<std::string_view> keys);
  /// Returns a required number of layers, and 1 after an error, so that callers can loop over them.
  int64_t Layers(std::string_view key);
  /// Records an error found by the family itself.
  void Fail(std::string message);
  /// Fails for a model larger than any existing one, so that products of its sizes cannot overflow, and for a first
  /// token that is not in the vocabulary.
  void CheckSizes(const ModelConfig& config);

  /// Fails unless the token of this key is in the vocabulary.
  void CheckInVocabulary(std::string_view key, int64_t token, const ModelConfig& config);

  const absl::Status& status() const { return status_; }

 private:
  const nlohmann::json& config_;
  absl::Status status_;
};

}  // namespace regroup
