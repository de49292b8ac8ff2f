#include "trainer/families/config_reader.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace regroup {
namespace {

using Json = nlohmann::json;

double Number(const Json& object, const char* key, double otherwise) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : otherwise;
}

/// LLaMA 3.1's scaling: low frequencies are divided by the factor, high ones stay, those between are mixed.
double ScaleLlama3(double frequency, const Json& scaling) {
  const double factor = Number(scaling, "factor", 8.0);
  const double low = Number(scaling, "low_freq_factor", 1.0);
  const double high = Number(scaling, "high_freq_factor", 4.0);
  const double original = Number(scaling, "original_max_position_embeddings", 8192.0);
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength < original / high) return frequency;
  if (wavelength > original / low) return frequency / factor;
  const double smooth = (original / wavelength - low) / (high - low);
  return (1.0 - smooth) * frequency / factor + smooth * frequency;
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
  return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::string ConfigReader::TextOr(std::string_view key, std::string_view otherwise) {
  const Json* value = Find(key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string(otherwise);
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

RotaryConfig ConfigReader::ReadRotary(int64_t head_width, int64_t rotary_width) {
  const Json* parameters = Find("rope_parameters");
  const Json* scaling = Find("rope_scaling");
  const Json rope = parameters != nullptr ? *parameters : scaling != nullptr ? *scaling : Json::object();
  if (!rope.is_object()) {
    Fail("'rope_parameters' must be an object");
    return {};
  }
  const double theta = Number(rope, "rope_theta", NumberOr("rope_theta", 10000.0));
  std::string type = "default";
  for (const char* key : {"type", "rope_type"}) {
    if (rope.contains(key) && rope[key].is_string()) type = rope[key];
  }
  if (type != "default" && type != "linear" && type != "llama3") {
    Fail(fmt::format("rope type '{}' is not supported; supported are default, linear, llama3", type));
  }
  if (rotary_width <= 0 || rotary_width > head_width || rotary_width % 2 != 0) {
    Fail(fmt::format("a head of width {} cannot rotate {} entries", head_width, rotary_width));
    return {};
  }
  RotaryConfig rotary{.width = rotary_width};
  for (int64_t pair = 0; pair < rotary_width / 2; ++pair) {
    double frequency = std::pow(theta, -2.0 * static_cast<double>(pair) / static_cast<double>(rotary_width));
    if (type == "linear") frequency /= Number(rope, "factor", 1.0);
    if (type == "llama3") frequency = ScaleLlama3(frequency, rope);
    rotary.inverse_frequencies.push_back(frequency);
  }
  return rotary;
}

}  // namespace regroup
