#include "trainer/families/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "services/common/base/bounded_json.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

// Far wider than any existing model. Weights, their sums over layers and their bytes fit in 63 bits.
constexpr int64_t kMaxNumber = int64_t{1} << 31;
constexpr int64_t kMaxWidth = int64_t{1} << 22;
constexpr int64_t kMaxHeadWidth = int64_t{1} << 16;
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxExperts = 4096;
constexpr int64_t kMaxExpertsOfAllLayers = int64_t{1} << 17;
/// Experts times the width of each.
constexpr int64_t kMaxAllExperts = int64_t{1} << 24;

}  // namespace

std::string Shown(const Json& value) {
  constexpr size_t kShownBytes = 100;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() <= kShownBytes ? text : text.substr(0, kShownBytes) + "...";
}

const Json* ConfigReader::Find(std::string_view key) const {
  const auto entry = config_.find(std::string(key));
  return entry == config_.end() ? nullptr : &*entry;
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

int64_t ConfigReader::OptionalInteger(std::string_view key, int64_t otherwise) {
  const Json* value = Find(key);
  return value != nullptr && value->is_null() ? 0 : IntegerOr(key, otherwise);
}

int64_t ConfigReader::IndexOr(std::string_view key, int64_t otherwise) {
  const Json* value = Find(key);
  return value != nullptr && *value == 0 ? 0 : IntegerOr(key, otherwise);
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

Activation ConfigReader::ActivationNamed(std::string_view name, std::string_view key) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu" || name == "gelu_python") return Activation::kGelu;
  // One formula under five names.
  for (const std::string_view tanh :
       {"gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate", "gelu_python_tanh"}) {
    if (name == tanh) return Activation::kGeluTanh;
  }
  if (name == "relu") return Activation::kRelu;
  if (name == "relu2") return Activation::kSquaredRelu;
  Fail(fmt::format("'{}' has the unsupported activation '{}'; supported are silu, gelu, gelu_new, relu, relu2", key,
                   name));
  return Activation::kSilu;
}

double ConfigReader::PositiveIn(const Json& object, std::string_view section, std::string_view key,
                                std::optional<double> otherwise) {
  const auto entry = object.find(std::string(key));
  if (entry == object.end()) {
    if (!otherwise.has_value()) Fail(fmt::format("'{}' must contain '{}'", section, key));
    return otherwise.value_or(1.0);
  }
  if (!entry->is_number() || !(entry->get<double>() > 0)) {
    Fail(fmt::format("'{}' must be a number above 0, not {}", key, Shown(*entry)));
    return 1.0;
  }
  return entry->get<double>();
}

double ConfigReader::PositiveOrNull(std::string_view key, double otherwise) {
  const Json* value = Find(key);
  if (value == nullptr) return otherwise;
  return value->is_null() ? 0 : PositiveOr(key, otherwise);
}

RotaryConfig ConfigReader::PlainRotary(int64_t head_width, int64_t rotary_width, double theta) {
  if (rotary_width <= 0 || rotary_width > std::min(head_width, kMaxHeadWidth) || rotary_width % 2 != 0) {
    Fail(
        fmt::format("a head of width {} cannot rotate {} entries; check the keys of the head's width and of the share "
                    "that rotates (head_dim, partial_rotary_factor, rotary_pct, rotary_dim)",
                    head_width, rotary_width));
    return {};
  }
  RotaryConfig rotary{.width = rotary_width};
  for (int64_t pair = 0; pair < rotary_width / 2; ++pair) {
    const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(rotary_width);
    rotary.inverse_frequencies.push_back(std::pow(theta, exponent));
  }
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

void ConfigReader::RequireOrNull(std::string_view key, const Json& value) {
  const Json* written = Find(key);
  if (written != nullptr && !written->is_null()) Require(key, value);
}

void ConfigReader::CheckInVocabulary(std::string_view key, int64_t token, const ModelConfig& config) {
  if (token < config.vocabulary) return;
  Fail(fmt::format("'{}' is {}, but the vocabulary ('vocab_size') has {} tokens", key, token, config.vocabulary));
}

void ConfigReader::CheckSizes(const ModelConfig& config) {
  if (config.layers > kMaxLayers) Fail(fmt::format("{} layers are more than {}", config.layers, kMaxLayers));
  if (config.head_width > kMaxHeadWidth || config.head_width < 1) {
    Fail(fmt::format("a head of width {} is not between 1 and {}", config.head_width, kMaxHeadWidth));
  }
  for (const int64_t width : {config.hidden_size, config.intermediate_size, config.heads}) {
    if (width > kMaxWidth) Fail(fmt::format("a size of {} is more than {}", width, kMaxWidth));
  }
  const ExpertsConfig& experts = config.experts;
  if (config.layers * experts.count > kMaxExpertsOfAllLayers || experts.count > kMaxExperts ||
      experts.count * std::max(experts.width, experts.shared_width) > kMaxAllExperts) {
    Fail(fmt::format("{} experts of width {} are more than any model has", experts.count, experts.width));
  }
  if (config.HasEncoder()) CheckInVocabulary("decoder_start_token_id", config.decoder_start_token, config);
  if (config.heads <= kMaxWidth && config.heads * config.head_width > kMaxWidth) {
    Fail(fmt::format("{} heads of width {} are wider than {}", config.heads, config.head_width, kMaxWidth));
  }
}

int64_t ConfigReader::Layers(std::string_view key) {
  const int64_t layers = Integer(key);
  if (layers <= kMaxLayers) return layers;
  Fail(fmt::format("{} layers are more than {}", layers, kMaxLayers));
  return 1;
}

int64_t ConfigReader::IntegerOfAny(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (Find(key) != nullptr) return Integer(key);
  }
  return Integer(*(keys.end() - 1));
}

}  // namespace regroup
