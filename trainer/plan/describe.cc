#include "trainer/plan/describe.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <utility>

#include "services/common/base/status_macros.h"
#include "trainer/data/bounded_tokenizer.h"
#include "trainer/model_folder/converted_folder.h"
#include "trainer/nn/serving.h"
#include "trainer/plan/check_target.h"

namespace regroup {
namespace {

/// Tells how an inference engine serves a family's results: "yes"; "same cache", with the tokens of the result but the
/// cache of the source; "compacted", with a smaller cache after tests/engines/compact_gguf.py; "no"; "not tried". A
/// test compares this table with tests/engines/results.json, which says more.
struct EngineSupport {
  std::string_view family;
  std::string_view vllm;
  std::string_view llama_cpp;
  std::string_view onnxruntime_genai;
};

constexpr EngineSupport kEngineSupport[] = {
    {"llama", "yes", "yes", "yes"},
    {"mistral", "yes", "yes", "yes"},
    {"qwen2", "yes", "yes", "yes"},
    {"qwen3", "yes", "yes", "yes"},
    {"gemma", "yes", "yes", "yes"},
    {"olmo", "yes", "yes", "no"},
    {"olmo2", "yes", "yes", "no"},
    {"stablelm", "yes", "yes", "no"},
    {"phi", "yes", "compacted", "no"},
    {"gpt_neox", "same cache", "compacted", "no"},
    {"gptj", "same cache", "no", "no"},
    {"gpt2", "same cache", "compacted", "no"},
    {"opt", "same cache", "no", "no"},
    {"bloom", "same cache", "same cache", "no"},
    {"t5", "no", "no", "no"},
    {"gpt_bigcode", "yes", "yes", "no"},
    {"mixtral", "yes", "yes", "no"},
    {"qwen2_moe", "yes", "yes", "no"},
    {"qwen3_moe", "yes", "yes", "no"},
    {"olmoe", "yes", "no", "no"},
    {"gemma2", "yes", "not tried", "yes"},
    {"gemma3_text", "yes", "yes", "no"},
    {"olmo3", "yes", "yes", "no"},
    {"cohere", "yes", "yes", "no"},
    {"cohere2", "no", "yes", "no"},
    {"granite", "yes", "yes", "yes"},
    {"smollm3", "yes", "yes", "no"},
    {"phi3", "yes", "not tried", "no"},
};

EngineSupport SupportOf(std::string_view family) {
  for (const EngineSupport& support : kEngineSupport) {
    if (support.family == family) return support;
  }
  return {family, "not tried", "not tried", "not tried"};
}

}  // namespace

std::string DtypeName(at::ScalarType type) {
  switch (type) {
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    case at::kDouble:
      return "float64";
    default:
      return "float32";
  }
}

v1::ModelSummary SummaryOf(const SourceModel& source) {
  const ModelConfig& config = source.config();
  v1::ModelSummary summary;
  summary.set_family(config.family);
  summary.set_layers(static_cast<int32_t>(config.layers));
  summary.set_heads(static_cast<int32_t>(config.heads));
  summary.set_kv_heads(static_cast<int32_t>(config.kv_heads));
  summary.set_head_width(static_cast<int32_t>(config.head_width));
  summary.set_hidden_size(static_cast<int32_t>(config.hidden_size));
  summary.set_vocabulary(static_cast<int32_t>(config.vocabulary));
  summary.set_maximum_positions(static_cast<int32_t>(config.max_positions));
  summary.set_parameters(source.ParameterCount());
  summary.set_dtype(DtypeName(source.dtype()));
  return summary;
}

nlohmann::ordered_json DescribeFamilies() {
  nlohmann::ordered_json families = nlohmann::ordered_json::array();
  for (const Family& family : AllFamilies()) {
    nlohmann::ordered_json entry;
    entry["family"] = family.name();
    entry["models"] = family.models;
    if (family.composite.has_value()) entry["language_model"] = family.composite->text_type;
    entry["model_types"] = family.model_types;
    entry["layout"] = family.standard_gqa ? "standard" : "expanded";
    const EngineSupport engines = SupportOf(family.name());
    entry["vllm"] = engines.vllm;
    entry["llama_cpp"] = engines.llama_cpp;
    entry["onnxruntime_genai"] = engines.onnxruntime_genai;
    families.push_back(std::move(entry));
  }
  return families;
}

std::vector<std::string> NotesOn(const SourceModel& source, const Tokenizer& tokenizer) {
  const ModelConfig& config = source.config();
  std::vector<std::string> notes;
  if (config.query_key_norm != QueryKeyNorm::kNone) {
    notes.emplace_back(
        "queries and keys are normalised: before keys are averaged, procrustes changes signs of their coordinates, and "
        "principal turns rotary pairs, which is exact only where both weights of a pair are equal");
  }
  if (config.HasEncoder()) {
    notes.push_back(fmt::format(
        "an encoder-decoder: its attention layers are numbered in one sequence, those of the encoder first and then, "
        "for each layer of the decoder, its self-attention and its cross attention; all get the same number of KV "
        "heads; {}",
        config.ReadsAudio()
            ? fmt::format("the encoder reads {} s of audio, and the decoder has {} positions for the transcript",
                          config.spectrogram.frames / 100.0, config.StackPositions())
            : fmt::format("encoder and decoder read one half of each sequence, and have {} positions each",
                          config.StackPositions())));
  }
  if (config.experts.count > 0) {
    notes.push_back(
        fmt::format("a mixture of {} experts, of which a token uses {}: by default finetune trains the attention and "
                    "leaves experts and router as they are (finetune.train)",
                    config.experts.count, config.experts.per_token));
  }
  const std::string beyond = NoteOnTokensBeyond(tokenizer, config.vocabulary);
  if (!beyond.empty()) notes.push_back(beyond);
  return notes;
}

absl::StatusOr<nlohmann::ordered_json> DescribeCheckpoint(const std::filesystem::path& folder) {
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, SourceModel::Open(folder));
  const ModelConfig& config = source.config();
  REGROUP_ASSIGN_OR_RETURN(const auto tokenizer, LoadBoundedTokenizer(source.folder().path(), config.vocabulary));
  nlohmann::ordered_json description;
  description["checkpoint"] = folder.string();
  description["family"] = config.family;
  if (source.composite() != nullptr) description["part_of"] = source.composite()->name();
  description["parameters"] = source.ParameterCount();
  description["dtype"] = DtypeName(source.dtype());
  description["dtypes"] = DtypeSummary(source.own_tensors());
  description["layers"] = config.layers;
  if (config.HasEncoder()) {
    description["encoder_layers"] = config.encoder_layers;
    description["decoder_layers"] = (config.layers - config.encoder_layers) / 2;
  }
  description["heads"] = config.heads;
  description["kv_heads"] = config.kv_heads;
  description["head_width"] = config.head_width;
  description["hidden_size"] = config.hidden_size;
  description["vocabulary"] = config.vocabulary;
  description["tokenizer_size"] = tokenizer->vocabulary_size();
  description["maximum_positions"] = config.max_positions;
  const auto element_bytes = static_cast<int64_t>(at::elementSize(source.dtype()));
  description["kv_bytes_per_token"] = config.KvCacheBytesPerToken(element_bytes);
  description["layout"] = IsStandardLayout(source.family(), config) ? "standard" : "expanded";
  description["notes"] = NotesOn(source, *tokenizer);
  if (const std::string note = NoteOnCache(config, config, element_bytes); !note.empty()) {
    description["notes"].push_back(note);
  }
  for (const std::string& note : source.notes()) description["notes"].push_back(note);
  description["possible_kv_heads"] = PossibleKvHeads(config);
  return description;
}

}  // namespace regroup
