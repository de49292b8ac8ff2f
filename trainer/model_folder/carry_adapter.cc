#include "trainer/model_folder/carry_adapter.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/alignment/split_heads.h"
#include "trainer/checkpoint/find_weights.h"
#include "trainer/checkpoint/safetensors_writer.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/converted_folder.h"
#include "trainer/model_folder/peft_adapter.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/model_folder/tensor_file.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Projection {
  const char* name;
  at::Tensor AttentionWeights::*weight;
};
constexpr Projection kOutput = {"output", &AttentionWeights::output};
constexpr std::array<Projection, 4> kProjections = {{{"query", &AttentionWeights::query},
                                                     {"key", &AttentionWeights::key},
                                                     {"value", &AttentionWeights::value},
                                                     kOutput}};

absl::Status Refuse(std::string what) { return absl::InvalidArgumentError(std::move(what)); }

absl::StatusOr<nlohmann::json> ReadJson(const fs::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadInput(file));
  return ParseFolderJson(file, text);
}

std::string NameOf(int64_t layer, std::string_view projection) {
  return fmt::format("layers.{}.attention.{}.weight", layer, projection);
}

/// Returns the module that computes a projection, such as "model.layers.0.self_attn.q_proj".
std::optional<std::string> ModuleOf(const SourceModel& model, int64_t layer, const char* projection) {
  const auto place = PlaceOf(model.family(), model.config(), NameOf(layer, projection));
  if (!place || place->packing != Packing::kPlain) return std::nullopt;
  const std::string name = model.NameInFolder(place->name);
  return name.substr(0, name.size() - std::string_view(".weight").size());
}

/// The energy of updates, |B A|^2, and the part of it that merging loses.
struct Energy {
  double all = 0, lost = 0;
  void Add(const at::Tensor& factor, const at::Tensor& difference, const at::Tensor& gram) {
    all += factor.matmul(gram).mul(factor).sum().item<double>();
    lost += difference.matmul(gram).mul(difference).sum().item<double>();
  }
};

class Carrier {
 public:
  Carrier(const PeftAdapter& adapter, const SourceModel& result, ModelConfig source, TensorMap alignments)
      : adapter_(adapter), result_(result), source_(std::move(source)), alignments_(std::move(alignments)) {}

  absl::Status Run() {
    for (int64_t layer = 0; layer < source_.layers; ++layer) REGROUP_RETURN_IF_ERROR(CarryLayer(layer));
    return CarryOthers();
  }

  const std::vector<NamedTensor>& tensors() const { return tensors_; }

  Json Summary() const {
    Json summary;
    for (const Projection& projection : kProjections) {
      const auto found = carried_.find(projection.name);
      if (found != carried_.end()) summary["carried"][projection.name] = found->second;
    }
    summary["unchanged"] = unchanged_;
    summary["rank"] = rank_;
    for (const auto& [name, energy] : {std::pair("key", keys_), std::pair("value", values_)}) {
      if (energy.all > 0) summary["lost"][name] = energy.lost / energy.all;
    }
    return summary;
  }

 private:
  /// Returns the alignment of a layer, from the tensors "layers.<index>.<name>".
  absl::StatusOr<LayerAlignment> AlignmentOf(int64_t layer) const {
    const std::string prefix = fmt::format("layers.{}.", layer);
    TensorMap tensors;
    for (const auto& [name, tensor] : alignments_) {
      if (name.starts_with(prefix)) tensors.emplace(name.substr(prefix.size()), tensor);
    }
    return LayerAlignment::FromTensors(AttentionShapeOf(source_, layer), tensors);
  }

  absl::Status CarryLayer(int64_t layer) {
    REGROUP_ASSIGN_OR_RETURN(const LayerAlignment alignment, AlignmentOf(layer));
    for (const Projection& projection : kProjections) {
      const std::optional<std::string> module = ModuleOf(result_, layer, projection.name);
      if (!module || !adapter_.updates().contains(*module)) continue;
      const LowRankUpdate& update = adapter_.updates().at(*module);
      const absl::Status status = CarryModule(layer, projection, *module, update, alignment);
      if (!status.ok())
        return absl::Status(status.code(), fmt::format("{}: {}", *module, std::string(status.message())));
      done_.insert(*module);
      ++carried_[projection.name];
    }
    return absl::OkStatus();
  }

  absl::Status CarryModule(int64_t layer, const Projection& projection, const std::string& module,
                           const LowRankUpdate& update, const LayerAlignment& alignment) {
    const std::vector<int64_t> wanted = ExpectedShape(source_, NameOf(layer, projection.name));
    if (wanted != std::vector<int64_t>{update.b.size(0), update.a.size(1)}) {
      return Refuse(fmt::format("the adapter is for a weight of shape [{}, {}], and the source's has [{}]",
                                update.b.size(0), update.a.size(1), fmt::join(wanted, ", ")));
    }
    AttentionShape shape = AttentionShapeOf(source_, layer);
    if (projection.weight == &AttentionWeights::key && shape.key_norm == KeyNorm::kAllHeads) {
      return Refuse("keys behind a norm over all heads are not merged linearly, so that this module cannot be carried");
    }
    // The factors are what the weights would be in a model whose hidden states have as many entries as the rank.
    const int64_t rank = update.a.size(0);
    shape.hidden = rank;
    shape.query_hidden = rank;
    const auto zeros = [rank](int64_t rows) { return at::zeros({rows, rank}, at::kDouble); };
    AttentionWeights factors{.query = zeros(shape.query_heads * shape.head_width),
                             .key = zeros(shape.kv_heads * shape.head_width),
                             .value = zeros(shape.kv_heads * shape.value_width),
                             .output = at::zeros({rank, shape.query_heads * shape.value_width}, at::kDouble)};
    const bool maps_columns = projection.weight == kOutput.weight;
    factors.*projection.weight = (maps_columns ? update.a : update.b).to(at::kDouble);
    REGROUP_RETURN_IF_ERROR(SetNorms(factors, layer, alignment, shape));
    REGROUP_ASSIGN_OR_RETURN(const AttentionWeights merged, MergeHeads(factors, alignment, shape));
    const at::Tensor& carried = merged.*projection.weight;
    Put(module, {.a = maps_columns ? carried.to(update.a.options()) : update.a,
                 .b = maps_columns ? update.b : carried.to(update.b.options())});
    return Measure(projection, update, factors, merged, alignment, shape);
  }

  /// Sets the norms of the result, in the source's order: they are the source's unless training has moved them. With a
  /// norm over all keys no update of keys is carried.
  absl::Status SetNorms(AttentionWeights& factors, int64_t layer, const LayerAlignment& alignment,
                        const AttentionShape& shape) const {
    if (shape.key_norm == KeyNorm::kNone) return absl::OkStatus();
    REGROUP_ASSIGN_OR_RETURN(const Block block, result_.MapAttention(layer));
    const AttentionWeights result = AttentionWeightsOf(block, source_);
    factors.query_norm = result.query_norm.to(at::kDouble);
    factors.key_norm = result.key_norm.to(at::kDouble);
    if (shape.key_norm == KeyNorm::kPerHead) return absl::OkStatus();
    const at::Tensor by_place = factors.query_norm.view({shape.query_heads, -1});
    const at::Tensor order = at::tensor(QueryHeadOrder(alignment, shape), at::kLong);
    factors.query_norm = at::empty_like(by_place).index_copy_(0, order, by_place).flatten();
    factors.key_norm = at::ones({shape.kv_heads * shape.head_width}, at::kDouble);
    return absl::OkStatus();
  }

  /// Adds what merging loses of the update of a key or a value.
  absl::Status Measure(const Projection& projection, const LowRankUpdate& update, const AttentionWeights& factors,
                       const AttentionWeights& merged, const LayerAlignment& alignment, const AttentionShape& shape) {
    const bool is_key = projection.weight == &AttentionWeights::key;
    if (!is_key && projection.weight != &AttentionWeights::value) return absl::OkStatus();
    REGROUP_ASSIGN_OR_RETURN(const SpreadRows spread, SpreadHeads(merged, alignment, shape));
    const at::Tensor a = update.a.to(at::kDouble);
    const at::Tensor gram = a.matmul(a.t());
    const at::Tensor factor =
        RepeatHeads(factors.*projection.weight, shape.kv_heads, alignment.HeadCount() / shape.kv_heads);
    (is_key ? keys_ : values_).Add(factor, factor - (is_key ? spread.key : spread.value), gram);
    return absl::OkStatus();
  }

  void Put(const std::string& module, const LowRankUpdate& update) {
    tensors_.emplace_back(PeftAdapter::FactorName(module, "A"), update.a);
    tensors_.emplace_back(PeftAdapter::FactorName(module, "B"), update.b);
    rank_ = std::max(rank_, update.a.size(0));
  }

  /// Copies the updates of modules that the conversion leaves as they are, and the tensors beside the updates.
  absl::Status CarryOthers() {
    for (const auto& [module, update] : adapter_.updates()) {
      if (done_.contains(module)) continue;
      const TensorInfo* const weight = result_.folder().Find(module + ".weight");
      if (weight == nullptr || weight->shape.size() != 2 || weight->shape[0] != update.b.size(0) ||
          weight->shape[1] != update.a.size(1)) {
        return Refuse(fmt::format(
            "{}: the adapter changes this module, and the result has no separate weight of that name with the shape "
            "[{}, {}]; only adapters of separate query, key, value and output projections can be carried over",
            module, update.b.size(0), update.a.size(1)));
      }
      Put(module, update);
      ++unchanged_;
    }
    for (const auto& [name, tensor] : adapter_.others()) {
      if (name.find("attn") != std::string::npos || name.find("attention") != std::string::npos) {
        return Refuse(
            fmt::format("{}: this tensor of an attention is not one of the factors that can be carried", name));
      }
      tensors_.emplace_back(name, tensor);
      ++unchanged_;
    }
    return absl::OkStatus();
  }

  const PeftAdapter& adapter_;
  const SourceModel& result_;
  ModelConfig source_;
  TensorMap alignments_;
  std::vector<NamedTensor> tensors_;
  std::set<std::string> done_;
  std::map<std::string, int64_t> carried_;
  int64_t unchanged_ = 0;
  int64_t rank_ = 0;
  Energy keys_, values_;
};

/// Returns the configuration that the source had, from that of the result.
absl::StatusOr<ModelConfig> SourceConfigOf(const SourceModel& result) {
  const nlohmann::json& config = result.folder().config();
  const fs::path file = result.folder().path() / "config.json";
  const auto regroup = config.find("regroup");
  if (regroup == config.end() || !regroup->is_object() || !regroup->contains("source_kv_heads") ||
      !(*regroup)["source_kv_heads"].is_number_integer()) {
    return Refuse(fmt::format("{} does not say that Regroup wrote this model", file.string()));
  }
  if (!IsStandardLayout(result.family(), result.config())) {
    return Refuse(
        fmt::format("{}: the layout is `expanded`, in which heads are repeated; an adapter would treat the "
                    "copies as different heads",
                    file.string()));
  }
  ModelConfig source = result.config();
  source.kv_heads = (*regroup)["source_kv_heads"].get<int64_t>();
  return source;
}

/// Returns true if the report says that the result is the merged source, without any training or refitting.
bool IsOnlyMerged(const nlohmann::json& report) {
  const auto layers = report.find("layers");
  const bool distilled = layers != report.end() && !layers->empty() && layers->front().contains("error_after");
  return !distilled && report.value("finetune", "") == "none" && !report.value("refine", true);
}

}  // namespace

absl::StatusOr<nlohmann::ordered_json> CarryAdapter(const AdapterFolders& folders) {
  const at::NoGradGuard no_gradients;
  if (Exists(folders.output)) return Refuse(fmt::format("{} exists already", folders.output.string()));
  REGROUP_ASSIGN_OR_RETURN(const PeftAdapter adapter, PeftAdapter::Open(folders.source_adapter));
  REGROUP_ASSIGN_OR_RETURN(const SourceModel result, SourceModel::Open(folders.result));
  REGROUP_ASSIGN_OR_RETURN(const ModelConfig source, SourceConfigOf(result));
  REGROUP_ASSIGN_OR_RETURN(TensorMap alignments, LoadTensors(folders.result / "regroup" / "alignment.safetensors"));
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json report, ReadJson(folders.result / "regroup" / "report.json"));
  Carrier carrier(adapter, result, source, std::move(alignments));
  REGROUP_RETURN_IF_ERROR(carrier.Run());

  nlohmann::json config = adapter.config();
  config["base_model_name_or_path"] = Absolute(folders.result).string();
  REGROUP_RETURN_IF_ERROR(MakeFolders(folders.output));
  REGROUP_RETURN_IF_ERROR(WriteSafetensors(folders.output / "adapter_model.safetensors", carrier.tensors()));
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(folders.output / "adapter_config.json", config.dump(2) + "\n"));

  Json summary = {{"output", folders.output.string()}};
  summary.update(carrier.Summary());
  summary["exact"] = IsOnlyMerged(report);
  summary["notes"] = Json::array();
  if (!summary["exact"].get<bool>()) {
    summary["notes"].push_back(
        "the result was trained or refitted after its heads were merged; the adapter is what merging makes of it, and "
        "was not trained with the result");
  }
  return summary;
}

}  // namespace regroup
