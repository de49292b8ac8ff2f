// Describes a model family: how to read its config.json, and the names of its tensors. A family holds names and shapes
// only; the computation is in trainer/nn. To add one, add a file next to llama.cc and one word to cmake/Families.cmake.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "trainer/nn/model_config.h"

namespace regroup {

/// Layout of a parameter in the checkpoint's tensor.
enum class Packing {
  /// The same layout as here.
  kPlain,
  /// [in, out] instead of [out, in].
  kTransposed,
  /// Query, key and value of one head after the other: [heads, 3, width, in] flattened to two axes; biases likewise.
  kFusedByHead,
  /// All queries, then all keys, then all values along the last axis, transposed to [in, out].
  kFusedTransposed,
  /// The rows of one parameter after those of another, [sum of out, in], whose numbers of rows may differ: queries,
  /// keys and values, or gate and up.
  kFusedRows,
  /// The same for each expert, [experts, sum of out, in]. Such tensors are read only.
  kStackedRows,
  /// A vector as the only row of a matrix, [1, out], a buffer of the class. Where the tensor is missing, it is zero.
  kRow,
};

/// Regroup's name of a parameter and the checkpoint's; "{}" stands for the layer's index, and a second one for the
/// expert's. Rules of an encoder-decoder name the stack instead of "layers": "encoder.{}.", "decoder.{}." or
/// "cross.{}.", with the index in the stack. The rules of parameters that one tensor holds have the same checkpoint
/// name and follow one another in its order.
struct NameRule {
  std::string ours;
  std::string checkpoint;
  Packing packing = Packing::kPlain;
  /// If set, the parameter is a bias that only models with this key in ModelConfig::bias_keys have.
  std::string_view bias_key = "";
  /// If set, the rule applies only to models with (true) or without (false) a gated feed-forward.
  std::optional<bool> gated = std::nullopt;
  /// If set, the rule applies only to layers with (true) or without (false) experts.
  std::optional<bool> experts = std::nullopt;
};

/// Writes into a config.json that output head and embedding are two tensors.
void WriteUntied(nlohmann::json& config);

/// A checkpoint with a language model of another family among other parts, such as a vision tower. config.json has its
/// configuration under "text_config", and its tensors are among the others with "language_model." in their names.
struct Composite {
  /// model_type of the language model if text_config names none.
  std::string_view text_type;
  /// tie_word_embeddings of the whole configuration if it is missing there.
  bool tied = false;
  /// True if the class ties embedding and output head also if text_config alone says so.
  bool reads_tied_of_text = false;
};

/// The class of another family, which computes the same with one KV head for all query heads.
struct OneHeadClass {
  /// Name of the family that reads it.
  std::string_view family;
  /// Changes a config.json of this family to one of that class.
  void (*write_config)(nlohmann::json& config) = nullptr;
};

struct Family {
  /// The model_type values of config.json that belong to the family, as cmake/Families.cmake lists them; the first is
  /// the family's name.
  std::vector<std::string_view> model_types;
  /// The models that people know it by.
  std::string_view models;
  /// Reads config.json. Errors name the missing or unsupported key. A composite has neither this nor names.
  absl::StatusOr<ModelConfig> (*read_config)(const nlohmann::json& config) = nullptr;
  std::vector<NameRule> names = {};
  /// The name of its class with an output head in Transformers, such as "LlamaForCausalLM".
  std::string_view architecture;
  /// Tables of SinusoidalConfig that checkpoints may store.
  std::vector<std::string_view> computed_positions = {};
  /// Other names under which a checkpoint may store the embedding, once more or instead.
  std::vector<std::string_view> embedding_copies = {};
  /// True if the class ties those names only together with the output head: without tie_word_embeddings a checkpoint
  /// must store all of them.
  bool copies_where_untied = false;
  /// Another name of the output head.
  std::string_view head_alias = "";
  void (*write_untied)(nlohmann::json& config) = WriteUntied;
  /// Rules that replace those of the same parameters in checkpoints that have all experts of a layer in one tensor.
  std::vector<NameRule> stacked_experts = {};
  /// True if the family's class in Transformers reads num_key_value_heads.
  bool standard_gqa = true;
  /// Sections of config.json that hold num_key_value_heads; none if it is beside the other keys.
  std::vector<std::string_view> head_sections = {};
  /// The class as which a result with one KV head in every layer is written, if this family's class has no KV heads.
  std::optional<OneHeadClass> one_head = {};
  /// Sizes that a text_config leaves out where they are its class's defaults.
  nlohmann::json text_defaults = nlohmann::json::object();
  std::optional<Composite> composite = {};

  std::string_view name() const { return model_types.front(); }
};

/// Returns every family of this build, from the generated table.
const std::vector<Family>& AllFamilies();

/// Returns the family of a config.json by its model_type. INVALID_ARGUMENT lists the known ones.
absl::StatusOr<const Family*> FamilyOf(const nlohmann::json& config);

/// The configuration of a composite's language model, as its family reads it.
struct TextConfig {
  const Family* family = nullptr;
  nlohmann::json config;
};

/// Reads text_config of a composite, with the defaults of its class. INVALID_ARGUMENT names the key.
absl::StatusOr<TextConfig> TextConfigOf(const Family& composite, const nlohmann::json& config);

/// Position of a parameter in a checkpoint: the rule with its names filled in.
struct ParameterPlace {
  std::string name;
  Packing packing = Packing::kPlain;
  /// Regroup's names of all parameters that the tensor holds, in its order, and the position of this one.
  std::vector<std::string> parts;
  int part = 0;
  /// The key of config.json that requires the parameter; empty if every model of the family has it.
  std::string_view bias_key = "";
  /// Index of the expert in a tensor of all of them (kStackedRows).
  int64_t expert = 0;
};

/// Returns the place of, for example, "layers.3.attention.key.weight" in a model of this configuration, or nullopt if
/// the family has no such parameter.
std::optional<ParameterPlace> PlaceOf(const Family& family, const ModelConfig& config, std::string_view ours);

/// Returns the family with the rules of Family::stacked_experts in place of others.
Family WithStackedExperts(const Family& family);

/// Returns what a model with an output head puts in front of the names of the bare model, such as "model."; checkpoints
/// of the bare model omit it. Empty for families whose classes have the same names.
std::string BaseName(const Family& family, const ModelConfig& config);

}  // namespace regroup
