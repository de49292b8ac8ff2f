#include "trainer/families/config_reader.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace regroup {
namespace {

using Json = nlohmann::json;

/// LLaMA 3.1's scaling: low frequencies are divided by the factor, high ones stay, those between are mixed.
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
  if (!value->is_number_integer() || value->get<int64_t>() <= 0 || value->get<int64_t>() > (int64_t{1} << 40)) {
    Fail(fmt::format("'{}' must be a positive integer, not {}", key, value->dump()));
    return 1;
  }
  return value->get<int64_t>();
}

double ConfigReader::NumberOr(std::string_view key, double otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_number()) {
    Fail(fmt::format("'{}' must be a number, not {}", key, value->dump()));
    return otherwise;
  }
  return value->get<double>();
}

bool ConfigReader::BooleanOr(std::string_view key, bool otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    Fail(fmt::format("'{}' must be true or false, not {}", key, value->dump()));
    return otherwise;
  }
  return value->get<bool>();
}

std::string ConfigReader::TextOr(std::string_view key, std::string_view otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return std::string(otherwise);
  if (!value->is_string()) {
    Fail(fmt::format("'{}' must be text, not {}", key, value->dump()));
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
    if (!otherwise.has_value()) Fail(fmt::format("'{}' lacks '{}'", section, key));
    return otherwise.value_or(1.0);
  }
  if (!object[key].is_number() || !(object[key].get<double>() > 0)) {
    Fail(fmt::format("'{}' must be a number above 0, not {}", key, object[key].dump()));
    return 1.0;
  }
  return object[key].get<double>();
}

std::function<double(double)> ConfigReader::ReadRopeScaling(const Json& rope, const std::string& section) {
  const std::string type = RopeType(rope);
  const auto number = [&](const char* key) { return PositiveIn(rope, section, key, {}); };
  if (type == "linear") return [factor = number("factor")](double frequency) { return frequency / factor; };
  if (type == "llama3") {
    const Llama3Scaling scaling{number("factor"), number("low_freq_factor"), number("high_freq_factor"),
                                number("original_max_position_embeddings")};
    return [scaling](double frequency) { return scaling.Scale(frequency); };
  }
  if (type != "default") {
    Fail(fmt::format("rope type '{}' is not supported; supported are default, linear, llama3", type));
  }
  return [](double frequency) { return frequency; };
}

RotaryConfig ConfigReader::ReadRotary(int64_t head_width, int64_t rotary_width) {
  const std::string section = Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const Json* written = Find(section);
  const Json rope = written == nullptr ? Json::object() : *written;
  if (!rope.is_object()) {
    Fail(fmt::format("'{}' must be an object, not {}", section, rope.dump()));
    return {};
  }
  const double theta = PositiveIn(rope, section, "rope_theta", PositiveIn(config_, "", "rope_theta", 10000.0));
  const std::function<double(double)> scale = ReadRopeScaling(rope, section);
  if (rotary_width <= 0 || rotary_width > head_width || rotary_width % 2 != 0) {
    Fail(fmt::format("a head of width {} cannot rotate {} entries", head_width, rotary_width));
    return {};
  }
  RotaryConfig rotary{.width = rotary_width};
  for (int64_t pair = 0; pair < rotary_width / 2; ++pair) {
    const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(rotary_width);
    rotary.inverse_frequencies.push_back(scale(std::pow(theta, exponent)));
  }
  return rotary;
}

}  // namespace regroup
