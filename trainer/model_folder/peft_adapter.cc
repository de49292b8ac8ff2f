#include "trainer/model_folder/peft_adapter.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "services/common/base/bounded_json.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/find_weights.h"
#include "trainer/checkpoint/weights_file.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight";
constexpr std::string_view kB = ".lora_B.weight";

/// Keys that do not change what the factors mean, or that hold for the result as they are.
constexpr std::array<std::string_view, 26> kHarmless = {"peft_type",
                                                        "task_type",
                                                        "r",
                                                        "lora_alpha",
                                                        "lora_dropout",
                                                        "target_modules",
                                                        "exclude_modules",
                                                        "rank_pattern",
                                                        "alpha_pattern",
                                                        "use_rslora",
                                                        "layers_to_transform",
                                                        "layers_pattern",
                                                        "revision",
                                                        "base_model_name_or_path",
                                                        "inference_mode",
                                                        "auto_mapping",
                                                        "peft_version",
                                                        "modules_to_save",
                                                        "megatron_core",
                                                        "loftq_config",
                                                        "eva_config",
                                                        "qalora_group_size",
                                                        "runtime_config",
                                                        "ensure_weight_tying",
                                                        "bias",
                                                        "init_lora_weights"};

/// Ways to initialise the factors that leave the model's own weights as they are.
constexpr std::array<std::string_view, 3> kHarmlessStarts = {"gaussian", "orthogonal", "eva"};

template <typename List>
bool IsOneOf(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// Returns true for what PEFT writes for a setting that is off.
bool IsOff(const nlohmann::json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  return value.is_null() || value.empty();
}

absl::Status CheckSettings(const fs::path& file, const nlohmann::json& config) {
  const auto refuse = [&file](std::string_view what) {
    return absl::InvalidArgumentError(fmt::format("{}: {}", file.string(), what));
  };
  const auto text_of = [&config](const char* key) {
    const auto found = config.find(key);
    return found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (text_of("peft_type") != "LORA") {
    return refuse(fmt::format("the type is '{}'; only LORA can be carried over", text_of("peft_type")));
  }
  const std::string bias = text_of("bias");
  if (!bias.empty() && bias != "none")
    return refuse(fmt::format("bias: {} trains biases, which are not carried", bias));
  const std::string start = text_of("init_lora_weights");
  if (!start.empty() && !IsOneOf(kHarmlessStarts, start)) {
    return refuse(
        fmt::format("init_lora_weights: {} changes the model's own weights; save the adapter as one for the "
                    "original model, or merge it",
                    start));
  }
  for (const auto& [key, value] : config.items()) {
    if (IsOff(value) || IsOneOf(kHarmless, key)) continue;
    return refuse(
        fmt::format("{} is set, which cannot be carried over; merge the adapter into the model and convert "
                    "that",
                    key));
  }
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> ReadConfig(const fs::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(file));
  REGROUP_ASSIGN_OR_RETURN(nlohmann::json config, ParseFolderJson(file, text));
  if (!config.is_object()) return absl::DataLossError(fmt::format("{} is not a JSON object", file.string()));
  REGROUP_RETURN_IF_ERROR(CheckSettings(file, config));
  return config;
}

absl::StatusOr<std::shared_ptr<const WeightsFile>> OpenWeights(const fs::path& folder) {
  for (const char* name : {"adapter_model.safetensors", "adapter_model.bin"}) {
    if (Exists(folder / name)) return OpenWeightsFile(folder / name);
  }
  return absl::NotFoundError(
      fmt::format("{} has neither adapter_model.safetensors nor adapter_model.bin", folder.string()));
}

}  // namespace

std::string PeftAdapter::FactorName(const std::string& module, const char* factor) {
  return fmt::format("{}{}.lora_{}.weight", kPrefix, module, factor);
}

absl::StatusOr<PeftAdapter> PeftAdapter::Open(const fs::path& folder) {
  PeftAdapter adapter;
  REGROUP_ASSIGN_OR_RETURN(adapter.config_, ReadConfig(folder / "adapter_config.json"));
  REGROUP_ASSIGN_OR_RETURN(const auto weights, OpenWeights(folder));
  for (const TensorInfo& info : weights->tensors()) {
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor tensor, weights->Tensor(info.name));
    const std::string_view name = info.name;
    const bool is_a = name.ends_with(kA), is_b = name.ends_with(kB);
    if (!name.starts_with(kPrefix) || (!is_a && !is_b)) {
      adapter.others_.emplace(info.name, tensor);
      continue;
    }
    const std::string module(name.substr(kPrefix.size(), name.size() - kPrefix.size() - kA.size()));
    (is_a ? adapter.updates_[module].a : adapter.updates_[module].b) = tensor;
  }
  for (const auto& [module, update] : adapter.updates_) {
    const bool fits = update.a.defined() && update.b.defined() && update.a.dim() == 2 && update.b.dim() == 2 &&
                      update.a.size(0) == update.b.size(1);
    if (fits) continue;
    return absl::DataLossError(
        fmt::format("{}: the factors of {} are not two matrices of the same rank", weights->path().string(), module));
  }
  if (adapter.updates_.empty()) {
    return absl::InvalidArgumentError(fmt::format("{} has no lora_A and lora_B", weights->path().string()));
  }
  return adapter;
}

}  // namespace regroup
