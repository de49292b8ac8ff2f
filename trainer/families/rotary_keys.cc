#include "trainer/families/rotary_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

namespace regroup {
namespace {

using Json = nlohmann::json;

/// LLaMA 3.1's scaling: low frequencies are divided by the factor, high ones are unchanged, and those between are
/// interpolated.
struct Llama3Scaling {
  double factor, low, high, original;

  double Scale(double frequency) const {
    const double wavelength = 2.0 * std::numbers::pi / frequency;
    if (wavelength < original / high) return frequency;
    if (wavelength > original / low) return frequency / factor;
    const double smooth = (original / wavelength - low) / (high - low);
    return (1.0 - smooth) * frequency / factor + smooth * frequency;
  }
};

/// YaRN (Peng et al., 2023): pairs that rotate fast keep their frequency, slow ones are divided by the factor, with a
/// linear ramp over the pairs between.
class YarnScaling {
 public:
  YarnScaling(double factor, double original, double fast, double slow, double theta, int64_t width, bool whole_pairs)
      : factor_(factor), theta_(theta), width_(static_cast<double>(width)) {
    low_ = PairThatTurns(fast, original);
    high_ = PairThatTurns(slow, original);
    if (whole_pairs) {
      low_ = std::floor(low_);
      high_ = std::ceil(high_);
    }
    low_ = std::max(low_, 0.0);
    high_ = std::min(high_, width_ - 1.0);
    if (low_ == high_) high_ += 1e-3;
  }

  double Scale(double frequency) const {
    const double pair = -std::log(frequency) * width_ / (2.0 * std::log(theta_));
    const double slow = std::clamp((pair - low_) / (high_ - low_), 0.0, 1.0);
    return frequency * (slow / factor_ + 1.0 - slow);
  }

  /// Returns the factor on cosines and sines for the longer context.
  double Magnitude(double scale) const { return factor_ <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor_) + 1.0; }

 private:
  /// Returns the (fractional) pair that makes `turns` turns over the original context.
  double PairThatTurns(double turns, double original) const {
    return width_ * std::log(original / (turns * 2.0 * std::numbers::pi)) / (2.0 * std::log(theta_));
  }

  double factor_, theta_, width_;
  double low_ = 0, high_ = 0;
};

struct Scaling {
  /// Maps a frequency to the scaled frequency.
  std::function<double(double)> scale = [](double frequency) { return frequency; };
  double magnitude = 1.0;
  /// Divisors of each pair's frequency, in sequences up to `short_positions` and in longer ones; empty without
  /// longrope.
  std::vector<double> short_factors = {}, long_factors = {};
  int64_t short_positions = 0;
};

/// Reads one object of rotary parameters.
class RopeObject {
 public:
  RopeObject(ConfigReader& reader, std::string_view section, const Json& rope, const ModelConfig& config,
             const RotaryKeys& keys)
      : reader_(reader), section_(section), rope_(rope), config_(config), keys_(keys) {}

  std::string Type() {
    const Json* type = Find("rope_type") != nullptr ? Find("rope_type") : Find("type");
    if (type == nullptr) return "default";
    if (type->is_string()) return Current(*type);
    reader_.Fail(fmt::format("'rope_type' in '{}' must be text, not {}", section_, Shown(*type)));
    return "default";
  }

  /// Returns a number above 0 of the object, or else of the key beside it.
  double NumberHereOrBeside(std::string_view key, std::string_view beside, double otherwise) {
    if (Find(key) != nullptr) return Number(key);
    return reader_.PositiveOr(beside, otherwise);
  }

  Scaling ReadScaling(const std::string& type, double theta, int64_t width) {
    if (type == "longrope") return ReadLongrope(width);
    if (keys_.only_longrope && type != "default") {
      reader_.Fail(fmt::format(
          "rope type '{}' in '{}' is not supported; models of this family have default or longrope", type, section_));
      return {};
    }
    if (type == "linear") return {[factor = Number("factor")](double frequency) { return frequency / factor; }};
    if (type == "llama3") {
      const Llama3Scaling scaling{Number("factor"), Number("low_freq_factor"), Number("high_freq_factor"),
                                  OriginalPositions()};
      return {[scaling](double frequency) { return scaling.Scale(frequency); }};
    }
    if (type == "yarn") return ReadYarn(theta, width);
    // `dynamic` changes nothing up to max_position_embeddings, and longer sequences are never run.
    if (type == "dynamic") Number("factor");
    if (type != "default" && type != "dynamic") {
      reader_.Fail(
          fmt::format("rope type '{}' in '{}' is not supported; supported are default, dynamic, linear, llama3, "
                      "longrope, yarn",
                      type, section_));
    }
    return {};
  }

 private:
  const Json* Find(std::string_view key) const {
    const auto entry = rope_.find(std::string(key));
    return entry == rope_.end() ? nullptr : &*entry;
  }

  double Number(std::string_view key) { return reader_.PositiveIn(rope_, section_, key, {}); }

  /// Returns `otherwise` also for null and, if `zero_too`, for 0: the settings that Transformers tests for truth.
  double NumberOr(std::string_view key, double otherwise, bool zero_too) {
    const Json* value = Find(key);
    if (value == nullptr || value->is_null() || (zero_too && *value == 0)) return otherwise;
    return Number(key);
  }

  /// Returns the context before scaling. The key beside the object overrides the one inside.
  double OriginalPositions() {
    constexpr std::string_view kKey = "original_max_position_embeddings";
    if (!keys_.by_layer_type && reader_.Find(kKey) != nullptr) return reader_.PositiveOr(kKey, 1.0);
    if (keys_.original_positions > 0) return static_cast<double>(keys_.original_positions);
    return Find(kKey) == nullptr ? static_cast<double>(config_.max_positions) : Number(kKey);
  }

  std::string Current(const std::string& type) const {
    return keys_.only_longrope && (type == "su" || type == "yarn") ? "longrope" : type;
  }

  /// Returns a list of one number above 0 for each pair.
  std::vector<double> Factors(std::string_view key, int64_t pairs) {
    const Json* list = Find(key);
    const auto is_factor = [](const Json& entry) { return entry.is_number() && entry.get<double>() > 0; };
    if (list != nullptr && list->is_array() && std::ssize(*list) == pairs && std::ranges::all_of(*list, is_factor)) {
      return list->get<std::vector<double>>();
    }
    reader_.Fail(fmt::format("'{}' in '{}' must be a list of {} numbers above 0{}", key, section_, pairs,
                             list == nullptr ? "" : fmt::format(", not {}", Shown(*list))));
    return {};
  }

  /// LongRoPE (Ding et al., 2024): each pair has a divisor of its own.
  Scaling ReadLongrope(int64_t width) {
    constexpr double kMostPositions = 1e9;
    const double original = OriginalPositions();
    if (original < 2 || original > kMostPositions) {
      reader_.Fail(
          fmt::format("original_max_position_embeddings {} is not between 2 and {:.0f}", original, kMostPositions));
      return {};
    }
    const double factor = NumberOr("factor", static_cast<double>(config_.max_positions) / original, false);
    const double natural = factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(original));
    return {.magnitude = NumberOr("attention_factor", natural, false),
            .short_factors = Factors("short_factor", width / 2),
            .long_factors = Factors("long_factor", width / 2),
            .short_positions = static_cast<int64_t>(original)};
  }

  Scaling ReadYarn(double theta, int64_t width) {
    const double original = OriginalPositions();
    const Json* written = Find("factor");
    const bool from_lengths = written != nullptr && written->is_null();
    const double factor = from_lengths ? static_cast<double>(config_.max_positions) / original : Number("factor");
    const YarnScaling scaling(factor, original, NumberOr("beta_fast", 32.0, true), NumberOr("beta_slow", 1.0, true),
                              theta, width, WholePairs());
    const double mscale = NumberOr("mscale", 0.0, true);
    const double mscale_all = NumberOr("mscale_all_dim", 0.0, true);
    const bool both = mscale != 0.0 && mscale_all != 0.0;
    const double natural = both ? scaling.Magnitude(mscale) / scaling.Magnitude(mscale_all) : scaling.Magnitude(1.0);
    return {[scaling](double frequency) { return scaling.Scale(frequency); },
            NumberOr("attention_factor", natural, false)};
  }

  /// Returns `truncate`, which is true if it is missing and false if it is null.
  bool WholePairs() {
    const Json* value = keys_.by_layer_type ? nullptr : Find("truncate");
    if (value == nullptr || value->is_null()) return value == nullptr;
    if (value->is_boolean()) return *value;
    reader_.Fail(fmt::format("'truncate' in '{}' must be true or false, not {}", section_, Shown(*value)));
    return true;
  }

  ConfigReader& reader_;
  std::string_view section_;
  const Json& rope_;
  const ModelConfig& config_;
  const RotaryKeys& keys_;
};

/// Returns the share of each head that rotates.
double ReadShare(ConfigReader& reader, RopeObject& rope, const std::string& type, const RotaryKeys& keys) {
  if (!keys.partial && type == "default") return 1.0;
  // A class that does not read the key beside the object takes null there for a missing key.
  const Json* beside = reader.Find(keys.share);
  const bool ignored = !keys.partial && beside != nullptr && beside->is_null();
  const double share = rope.NumberHereOrBeside("partial_rotary_factor", ignored ? "" : keys.share, keys.default_share);
  if (share > 1.0)
    reader.Fail(fmt::format("'{}' is {}, but the share of a head that rotates is at most 1", keys.share, share));
  if (!keys.partial && share < 1.0) {
    reader.Fail(
        fmt::format("'partial_rotary_factor' is {}, but models of this family rotate whole heads with rope type "
                    "'{}'",
                    share, type));
  }
  return std::min(share, 1.0);
}

}  // namespace

RotaryConfig ReadRotary(ConfigReader& reader, const ModelConfig& config, const RotaryKeys& keys) {
  const auto written = [&](std::string_view key) {
    const Json* value = reader.Find(key);
    return value != nullptr && !value->is_null() && !(value->is_object() && value->empty());
  };
  const std::string_view section = written("rope_scaling") ? "rope_scaling" : "rope_parameters";
  return ReadRotaryObject(reader, config, section, written(section) ? *reader.Find(section) : Json::object(), keys);
}

RotaryConfig ReadRotaryObject(ConfigReader& reader, const ModelConfig& config, std::string_view section,
                              const Json& object, const RotaryKeys& keys) {
  if (!object.is_object()) {
    reader.Fail(fmt::format("'{}' must be an object, not {}", section, Shown(object)));
    return {};
  }
  RopeObject rope(reader, section, object, config, keys);
  const std::string type = rope.Type();
  const double theta = rope.NumberHereOrBeside("rope_theta", keys.theta, keys.default_theta);
  const double share = ReadShare(reader, rope, type, keys);
  const auto width = static_cast<int64_t>(static_cast<double>(config.head_width) * share);
  RotaryConfig rotary = reader.PlainRotary(config.head_width, width, theta);
  if (rotary.width == 0) return rotary;
  const Scaling scaling = rope.ReadScaling(type, theta, width);
  for (double& frequency : rotary.inverse_frequencies) frequency = scaling.scale(frequency);
  rotary.magnitude = scaling.magnitude;
  if (scaling.long_factors.empty() || scaling.short_factors.empty()) return rotary;
  rotary.long_inverse_frequencies = rotary.inverse_frequencies;
  rotary.short_positions = scaling.short_positions;
  for (size_t pair = 0; pair < scaling.long_factors.size(); ++pair) {
    rotary.inverse_frequencies[pair] /= scaling.short_factors[pair];
    rotary.long_inverse_frequencies[pair] /= scaling.long_factors[pair];
  }
  return rotary;
}

}  // namespace regroup
