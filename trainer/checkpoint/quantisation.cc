#include "trainer/checkpoint/quantisation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "services/common/base/bounded_json.h"
#include "trainer/checkpoint/safetensors_header_parser.h"

namespace regroup {
namespace {

constexpr std::string_view kKey = "quantization_config";
constexpr std::string_view kWeight = ".weight";

/// The methods that Transformers loads; it ignores others. FP8 is read here.
constexpr std::array<std::string_view, 2> kFp8Methods = {"fp8", "mxfp8"};
constexpr std::array<std::string_view, 24> kOtherMethods = {
    "aqlm",   "auto-round", "awq",         "bitnet",   "bitsandbytes", "compressed-tensors",
    "eetq",   "fbgemm_fp8", "fouroversix", "fp_quant", "gemma",        "gguf",
    "gptq",   "higgs",      "hqq",         "metal",    "mxfp4",        "nvfp4",
    "quanto", "quark",      "sinq",        "spqr",     "torchao",      "vptq"};

template <size_t kCount>
bool IsOneOf(const std::array<std::string_view, kCount>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

absl::Status Invalid(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("config.json: {}{}", kKey, what));
}

bool IsTrue(const nlohmann::json& settings, const char* key) {
  const auto found = settings.find(key);
  return found != settings.end() && found->is_boolean() && found->get<bool>();
}

/// Returns the method; bitsandbytes is known by its settings too. Empty if it is not given.
std::string MethodOf(const nlohmann::json& settings) {
  if (IsTrue(settings, "load_in_8bit") || IsTrue(settings, "load_in_4bit")) return "bitsandbytes";
  const auto found = settings.find("quant_method");
  return found != settings.end() && found->is_string() ? found->get<std::string>() : "";
}

absl::Status ReadBlock(const nlohmann::json& settings, Quantisation& quantisation) {
  constexpr char kBlock[] = "weight_block_size";
  quantisation.block = {128, 128};
  const auto found = settings.find(kBlock);
  if (found == settings.end()) return absl::OkStatus();
  quantisation.block.reset();
  if (found->is_null()) return absl::OkStatus();
  std::vector<int64_t> sizes;
  for (const nlohmann::json& size : *found) sizes.push_back(IntegerIn<int64_t>(size).value_or(0));
  const bool positive = std::all_of(sizes.begin(), sizes.end(), [](int64_t size) { return size > 0; });
  if (!found->is_array() || sizes.size() != 2 || !positive) {
    return Invalid(fmt::format(".{} must be two positive integers", kBlock));
  }
  quantisation.block = sizes;
  return absl::OkStatus();
}

SafetensorsDtype TargetOf(const nlohmann::json& config) {
  for (const char* key : {"dtype", "torch_dtype"}) {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_string()) continue;
    const auto& name = found->get_ref<const std::string&>();
    if (name == "float16") return SafetensorsDtype::kF16;
    if (name == "float32") return SafetensorsDtype::kF32;
    if (name == "bfloat16") return SafetensorsDtype::kBF16;
  }
  return SafetensorsDtype::kBF16;
}

/// Returns how many rows (or columns) share a scale, or nothing if that is not a whole number or not that of the
/// configuration.
bool Fits(int64_t size, int64_t scales, std::optional<int64_t> block) {
  if (scales <= 0 || size % scales != 0) return false;
  // The last block would be a partial one, but its scale would be spread evenly.
  return !block || size <= *block || size % *block == 0 || scales != size / *block + 1;
}

std::vector<std::string> WithEndings(std::string_view weight, std::initializer_list<std::string_view> endings) {
  std::vector<std::string> names;
  if (!weight.ends_with(kWeight)) return names;
  const std::string_view module = weight.substr(0, weight.size() - kWeight.size());
  for (const std::string_view ending : endings) names.push_back(fmt::format("{}.{}", module, ending));
  return names;
}

}  // namespace

absl::StatusOr<Quantisation> ReadQuantisation(const nlohmann::json& config) {
  Quantisation quantisation{.target = TargetOf(config)};
  const auto settings = config.find(kKey);
  if (settings == config.end() || settings->is_null()) return quantisation;
  const std::string method = settings->is_object() ? MethodOf(*settings) : "";
  if (method.empty()) {
    return Invalid(" has no 'quant_method'; write it, or remove the key if the weights are not quantised");
  }
  if (IsOneOf(kOtherMethods, method)) {
    return Invalid(fmt::format(
        ": the weights are quantised by '{}', which cannot be converted; name the model that was quantised, "
        "or load this one in Transformers, call dequantize() and save_pretrained(), and convert that; if "
        "the weights are not quantised, remove the key",
        method));
  }
  if (!IsOneOf(kFp8Methods, method)) {
    quantisation.note = fmt::format("config.json: {} names the method {}, which Transformers does not know and ignores",
                                    kKey, ShownName(method));
    return quantisation;
  }
  quantisation.has_scales = true;
  const absl::Status block = ReadBlock(*settings, quantisation);
  if (!block.ok()) return block;
  return quantisation;
}

bool IsFp8(SafetensorsDtype dtype) { return dtype == SafetensorsDtype::kF8E4M3 || dtype == SafetensorsDtype::kF8E5M2; }

std::vector<std::string> ScaleNames(std::string_view weight) {
  return WithEndings(weight, {"weight_scale_inv", "scale"});
}

std::vector<std::string> IgnoredScaleNames(std::string_view weight) { return WithEndings(weight, {"weight_scale"}); }

std::vector<std::string> ActivationScaleNames(std::string_view weight) {
  return WithEndings(weight, {"activation_scale", "input_scale"});
}

std::vector<std::string> QuantisedNames(std::string_view weight) {
  return WithEndings(weight, {"qweight", "weight_packed", "weight.quant_state.bitsandbytes__nf4", "weight_blocks",
                              "base_layer.weight"});
}

absl::Status CheckScale(const Quantisation& quantisation, const TensorInfo& weight, const TensorInfo& scale) {
  using enum SafetensorsDtype;
  constexpr std::array kScaleTypes = {kF32, kF16, kBF16, kF8E8M0, kU8};
  if (std::find(kScaleTypes.begin(), kScaleTypes.end(), scale.dtype) == kScaleTypes.end()) {
    return absl::DataLossError(
        fmt::format("has a scale \"{}\" of the element type {}", scale.name, SafetensorsDtypeName(scale.dtype)));
  }
  if (scale.elements() == 1) return absl::OkStatus();
  const auto block = [&](size_t axis) {
    return quantisation.block ? std::optional((*quantisation.block)[axis]) : std::nullopt;
  };
  if (weight.shape.size() == 2 && scale.shape.size() == 2 && Fits(weight.shape[0], scale.shape[0], block(0)) &&
      Fits(weight.shape[1], scale.shape[1], block(1))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(fmt::format(
      "of shape [{}] has a scale \"{}\" of shape [{}], which does not divide it into whole blocks{}; dequantise the "
      "model with the tool that made it",
      fmt::join(weight.shape, ", "), scale.name, fmt::join(scale.shape, ", "),
      quantisation.block ? fmt::format(" of {}", fmt::join(*quantisation.block, " x ")) : ""));
}

}  // namespace regroup
