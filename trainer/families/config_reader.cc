#include "trainer/families/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "services/common/base/bounded_json.h"

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

// Far wider than any existing model. Weights, their sums over layers and their bytes fit in 63 bits.
constexpr int64_t kMaxNumber = int64_t{1} << 31;
constexpr int64_t kMaxWidth = int64_t{1} << 22;
constexpr int64_t kMaxHeadWidth = int64_t{1} << 16;
constexpr int64_t kMaxLayers = 10'000;

/// Formats a value as errors show it.
std::string Shown(const Json& value) {
  constexpr size_t kShownBytes = 100;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() <= kShownBytes ? text : text.substr(0, kShownBytes) + "...";
}

std::string RopeType(const Json& rope) {
  std::string type = "default";
  for (const char* key : {"type", "rope_type"}) {
    if (rope.contains(key) && rope[key].is_string()) type = rope[key];
  }
  return type;
}

}  // namespace

const Json* ConfigReader::Find(std::string_view key) {
  const auto entry = config_.find(std::string(key));
  return entry == config_.end() || entry->is_null() ? nullptr : &*entry;
}

void ConfigReader::Fail(std::string message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError("config.json: " + message);
}

int64_t ConfigReader::Integer(std::string_view key) {
  if (Find(key) == nullptr) {
    Fail(fmt::format("'{}' is missing", key));
    return 1;
  }
  return IntegerOr(key, 1);
}

int64_t ConfigReader::IntegerOr(std::string_view key, int64_t otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  const std::optional<int64_t> number = IntegerIn<int64_t>(*value);
  if (!number || *number <= 0) Fail(fmt::format("'{}' must be a positive integer, not {}", key, Shown(*value)));
  if (number > kMaxNumber) Fail(fmt::format("'{}' must be at most {}, not {}", key, kMaxNumber, Shown(*value)));
  if (!number || *number <= 0 || *number > kMaxNumber) return 1;
  return *number;
}

double ConfigReader::NumberOr(std::string_view key, double otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_number()) {
    Fail(fmt::format("'{}' must be a number, not {}", key, Shown(*value)));
    return otherwise;
  }
  return value->get<double>();
}

bool ConfigReader::BooleanOr(std::string_view key, bool otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    Fail(fmt::format("'{}' must be true or false, not {}", key, Shown(*value)));
    return otherwise;
  }
  return value->get<bool>();
}

std::string ConfigReader::TextOr(std::string_view key, std::string_view otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return std::string(otherwise);
  if (!value->is_string()) {
    Fail(fmt::format("'{}' must be text, not {}", key, Shown(*value)));
    return std::string(otherwise);
  }
  return value->get<std::string>();
}

Activation ConfigReader::ReadActivation(std::string_view key, std::string_view otherwise) {
  const std::string name = TextOr(key, otherwise);
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  Fail(fmt::format("'{}' has the unsupported activation '{}'", key, name));
  return Activation::kSilu;
}

double ConfigReader::PositiveIn(const Json& object, const std::string& section, const char* key,
                                std::optional<double> otherwise) {
  if (!object.contains(key) || object[key].is_null()) {
    if (!otherwise.has_value()) Fail(fmt::format("'{}' must contain '{}'", section, key));
    return otherwise.value_or(1.0);
  }
  if (!object[key].is_number() || !(object[key].get<double>() > 0)) {
    Fail(fmt::format("'{}' must be a number above 0, not {}", key, Shown(object[key])));
    return 1.0;
  }
  return object[key].get<double>();
}

bool ConfigReader::BooleanIn(const Json& object, const std::string& section, const char* key, bool otherwise) {
  if (!object.contains(key) || object[key].is_boolean()) return object.value(key, otherwise);
  Fail(fmt::format("'{}' in '{}' must be true or false, not {}", key, section, Shown(object[key])));
  return otherwise;
}

ConfigReader::RopeScaling ConfigReader::ReadYarn(const Json& rope, const std::string& section, double theta,
                                                 int64_t width) {
  const auto number = [&](const char* key, std::optional<double> otherwise) {
    return PositiveIn(rope, section, key, otherwise);
  };
  const double original = number("original_max_position_embeddings", {});
  const YarnScaling scaling(number("factor", {}), original, number("beta_fast", 32.0), number("beta_slow", 1.0), theta,
                            width, BooleanIn(rope, section, "truncate", true));
  const double natural =
      rope.contains("mscale") && rope.contains("mscale_all_dim")
          ? scaling.Magnitude(number("mscale", 1.0)) / scaling.Magnitude(number("mscale_all_dim", 1.0))
          : scaling.Magnitude(1.0);
  return {[scaling](double frequency) { return scaling.Scale(frequency); }, number("attention_factor", natural)};
}

ConfigReader::RopeScaling ConfigReader::ReadRopeScaling(const Json& rope, const std::string& section, double theta,
                                                        int64_t width) {
  const std::string type = RopeType(rope);
  const auto number = [&](const char* key) { return PositiveIn(rope, section, key, {}); };
  if (type == "linear") return {[factor = number("factor")](double frequency) { return frequency / factor; }};
  if (type == "llama3") {
    const Llama3Scaling scaling{number("factor"), number("low_freq_factor"), number("high_freq_factor"),
                                number("original_max_position_embeddings")};
    return {[scaling](double frequency) { return scaling.Scale(frequency); }};
  }
  if (type == "yarn") return ReadYarn(rope, section, theta, width);
  // `dynamic` changes nothing up to max_position_embeddings, and longer sequences are never run.
  if (type != "default" && type != "dynamic") {
    Fail(fmt::format("rope type '{}' is not supported; supported are default, dynamic, linear, llama3, yarn", type));
  }
  return {};
}

RotaryConfig ConfigReader::PlainRotary(int64_t head_width, int64_t rotary_width, double theta) {
  if (rotary_width <= 0 || rotary_width > std::min(head_width, kMaxHeadWidth) || rotary_width % 2 != 0) {
    Fail(fmt::format("a head of width {} cannot rotate {} entries", head_width, rotary_width));
    return {};
  }
  RotaryConfig rotary{.width = rotary_width};
  for (int64_t pair = 0; pair < rotary_width / 2; ++pair) {
    const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(rotary_width);
    rotary.inverse_frequencies.push_back(std::pow(theta, exponent));
  }
  return rotary;
}

RotaryConfig ConfigReader::ReadRotary(int64_t head_width, double share) {
  const std::string section = Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const Json* written = Find(section);
  const Json rope = written == nullptr ? Json::object() : *written;
  if (!rope.is_object()) {
    Fail(fmt::format("'{}' must be an object, not {}", section, Shown(rope)));
    return {};
  }
  double theta = PositiveIn(config_, "", "rotary_emb_base", 10000.0);
  theta = PositiveIn(rope, section, "rope_theta", PositiveIn(config_, "", "rope_theta", theta));
  share = PositiveIn(config_, "", "rotary_pct", share);
  share = PositiveIn(rope, section, "partial_rotary_factor", PositiveIn(config_, "", "partial_rotary_factor", share));
  if (share > 1.0) Fail(fmt::format("{} of each head cannot rotate; the share is at most 1", share));
  const auto width = static_cast<int64_t>(static_cast<double>(head_width) * std::min(share, 1.0));
  RotaryConfig rotary = PlainRotary(head_width, width, theta);
  const RopeScaling scaling = ReadRopeScaling(rope, section, theta, width);
  for (double& frequency : rotary.inverse_frequencies) frequency = scaling.scale(frequency);
  rotary.magnitude = scaling.magnitude;
  return rotary;
}

void ConfigReader::ReadBias(ModelConfig& config, std::string_view key, bool otherwise) {
  if (BooleanOr(key, otherwise)) config.bias_keys.push_back(key);
}

void ConfigReader::Require(std::string_view key, const Json& value) {
  const Json* written = Find(key);
  if (written == nullptr || *written == value) return;
  Fail(fmt::format("'{}' is {}, but only {} is supported", key, Shown(*written), Shown(value)));
}

void ConfigReader::CheckSizes(const ModelConfig& config) {
  if (config.layers > kMaxLayers) Fail(fmt::format("{} layers are more than {}", config.layers, kMaxLayers));
  if (config.head_width > kMaxHeadWidth || config.head_width < 1) {
    Fail(fmt::format("a head of width {} is not between 1 and {}", config.head_width, kMaxHeadWidth));
  }
  for (const int64_t width : {config.hidden_size, config.intermediate_size, config.heads}) {
    if (width > kMaxWidth) Fail(fmt::format("a size of {} is more than {}", width, kMaxWidth));
  }
  if (config.heads <= kMaxWidth && config.heads * config.head_width > kMaxWidth) {
    Fail(fmt::format("{} heads of width {} are wider than {}", config.heads, config.head_width, kMaxWidth));
  }
}

int64_t ConfigReader::IntegerOfAny(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (Find(key) != nullptr) return Integer(key);
  }
  return Integer(*keys.begin());
}

}  // namespace regroup
