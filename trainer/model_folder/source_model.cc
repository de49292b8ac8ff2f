#include "trainer/model_folder/source_model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/torch_dtype.h"
#include "trainer/families/packing.h"
#include "trainer/model_folder/compact_attention.h"
#include "trainer/nn/parameter_names.h"
#include "trainer/nn/positions.h"

namespace regroup {
namespace {

/// Returns the layer of a name: 12 for "layers.12.rest"; 0 for names without a layer.
int64_t LayerOf(std::string_view ours) {
  constexpr std::string_view kPrefix = "layers.";
  int64_t layer = 0;
  if (ours.starts_with(kPrefix)) std::from_chars(ours.data() + kPrefix.size(), ours.data() + ours.size(), layer);
  return layer;
}

int64_t FeedForwardWidth(const ModelConfig& config, std::string_view ours) {
  if (!config.HasExperts(LayerOf(ours))) return config.intermediate_size;
  return ours.find(".experts.") != std::string_view::npos ? config.experts.width : config.experts.shared_width;
}

std::shared_ptr<const CheckpointDigests> Shared(const CheckpointDigests* digests) {
  return digests == nullptr ? nullptr : std::make_shared<const CheckpointDigests>(*digests);
}

constexpr std::string_view kLanguageModel = "language_model.";

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

/// Stores the first error of several visits, because a visitor cannot return one.
class SourceModel::FirstError {
 public:
  bool ok() const { return status_.ok(); }
  void Keep(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

std::vector<int64_t> ExpectedShape(const ModelConfig& config, std::string_view ours) {
  const int64_t query_width = config.heads * config.head_width;
  const int64_t kv_width = config.KvHeads(LayerOf(ours)) * config.head_width;
  const auto linear = [bias = ours.ends_with(".bias")](int64_t out, int64_t in) {
    return bias ? std::vector<int64_t>{out} : std::vector<int64_t>{out, in};
  };
  if (Contains(ours, "convolution")) {
    if (ours.ends_with(".bias")) return {config.hidden_size};
    return {config.hidden_size, ours.starts_with("first") ? config.spectrogram.mel_bins : config.hidden_size, 3};
  }
  if (ours == "encoder_positions.weight" && config.ReadsAudio()) {
    return {config.spectrogram.frames / 2, config.hidden_size};
  }
  if (ours.ends_with("positions.weight")) return {config.learned_positions, config.hidden_size};
  if (Contains(ours, "relative_bias")) return {config.relative_bias.buckets, config.heads};
  if (ours.starts_with("embedding.") || ours.starts_with("encoder_embedding.") || ours.starts_with("head."))
    return linear(config.vocabulary, config.hidden_size);
  if (Contains(ours, "query_norm") || Contains(ours, "key_norm")) {
    if (config.query_key_norm == QueryKeyNorm::kPerHead) return {config.head_width};
    return {Contains(ours, "query_norm") ? query_width : kv_width};
  }
  if (Contains(ours, "norm")) return {config.hidden_size};
  if (Contains(ours, "router")) return {config.experts.count, config.hidden_size};
  if (Contains(ours, "shared_gate")) return {1, config.hidden_size};
  if (Contains(ours, "attention.query")) return linear(query_width, config.hidden_size);
  if (Contains(ours, "attention.output")) return linear(config.hidden_size, query_width);
  if (Contains(ours, "attention.")) return linear(kv_width, config.hidden_size);
  const int64_t inner = FeedForwardWidth(config, ours);
  return Contains(ours, ".down") ? linear(config.hidden_size, inner) : linear(inner, config.hidden_size);
}

absl::StatusOr<SourceModel> SourceModel::Open(const std::filesystem::path& folder, const SourceDigests* expected,
                                              Compared compared) {
  SourceModel source;
  REGROUP_ASSIGN_OR_RETURN(
      source.folder_, CheckpointFolder::Open(folder, Shared(expected ? &expected->checkpoint : nullptr), compared));
  if (const absl::Status read = source.ReadConfig(); !read.ok()) return InFolder(folder, read);
  source.ChooseNames();
  source.notes_ = source.folder_->notes();
  REGROUP_RETURN_IF_ERROR(source.FindEmbeddingTensors());
  REGROUP_RETURN_IF_ERROR(source.OpenCompact(expected, compared));
  REGROUP_RETURN_IF_ERROR(source.CheckTensors());
  source.ListOwnTensors();
  return source;
}

absl::Status SourceModel::ReadConfig() {
  REGROUP_ASSIGN_OR_RETURN(family_, FamilyOf(folder_->config()));
  if (!family_->composite.has_value()) {
    REGROUP_ASSIGN_OR_RETURN(config_, family_->read_config(folder_->config()));
    base_name_ = BaseName(*family_, config_);
    return absl::OkStatus();
  }
  composite_ = family_;
  has_old_names_ = std::ranges::any_of(folder_->tensors(),
                                       [](const TensorInfo& info) { return info.name.starts_with(kLanguageModel); });
  REGROUP_ASSIGN_OR_RETURN(const TextConfig text, TextConfigOf(*composite_, folder_->config()));
  family_ = text.family;
  const auto config = family_->read_config(text.config);
  if (!config.ok()) {
    return absl::InvalidArgumentError(fmt::format("{} (in 'text_config')", std::string(config.status().message())));
  }
  config_ = *config;
  return absl::OkStatus();
}

void SourceModel::ChooseNames() {
  stored_ = std::make_shared<const Family>(*family_);
  for (int64_t layer = 0; layer < config_.layers && config_.experts.count > 0; ++layer) {
    if (!config_.HasExperts(layer)) continue;
    const std::string down = fmt::format("layers.{}.feed_forward.experts.0.down.weight", layer);
    if (!StoredNames(*FamilyPlace(down)).empty()) return;
    auto stacked = std::make_shared<const Family>(WithStackedExperts(*family_));
    std::swap(stored_, stacked);
    if (StoredNames(*FamilyPlace(down)).empty()) std::swap(stored_, stacked);
    return;
  }
}

std::string SourceModel::NameInFolder(const std::string& name) const {
  if (composite_ == nullptr) return name;
  // Transformers 4 puts the whole language model under one prefix, Transformers 5 its base under another.
  if (has_old_names_) return fmt::format("{}{}", kLanguageModel, name);
  constexpr std::string_view kBase = "model.";
  return name.starts_with(kBase) ? fmt::format("{}{}{}", kBase, kLanguageModel, name.substr(kBase.size())) : name;
}

std::optional<ParameterPlace> SourceModel::FamilyPlace(std::string_view ours) const {
  std::optional<ParameterPlace> place = PlaceOf(*stored_, config_, ours);
  if (place.has_value()) place->name = NameInFolder(place->name);
  return place;
}

std::vector<std::string> SourceModel::EmbeddingCopies() const {
  std::vector<std::string> copies;
  for (const std::string_view name : family_->embedding_copies)
    copies.push_back(StoredName({.name = std::string(name)}));
  return copies;
}

absl::Status SourceModel::FindEmbeddingTensors() {
  tied_by_config_ = config_.tied_embeddings;
  const std::vector<std::string> copies = EmbeddingCopies();
  REGROUP_ASSIGN_OR_RETURN(embeddings_,
                           FindEmbeddings(*folder_, {.embedding = StoredName(*FamilyPlace("embedding.weight")),
                                                     .head = StoredName(*FamilyPlace("head.weight")),
                                                     .copies = copies,
                                                     .tied = tied_by_config_,
                                                     .needs_copies = family_->copies_where_untied}));
  config_.tied_embeddings = embeddings_.tied;
  if (!embeddings_.note.empty()) notes_.push_back(embeddings_.note);
  return absl::OkStatus();
}

absl::Status SourceModel::OpenCompact(const SourceDigests* expected, Compared compared) {
  const std::filesystem::path folder = folder_->path() / kCompactFolder;
  if (!IsExpanded(folder_->config())) return absl::OkStatus();
  const CheckpointDigests none;
  const CheckpointDigests* const compact = expected ? &(expected->compact ? *expected->compact : none) : nullptr;
  REGROUP_ASSIGN_OR_RETURN(compact_, CheckpointFolder::Open(folder, Shared(compact), compared));
  return ReadCompactConfig(compact_->config(), config_);
}

SourceDigests SourceModel::Digests() const {
  SourceDigests digests{.checkpoint = folder_->Digests()};
  if (compact_ != nullptr) digests.compact = compact_->Digests();
  return digests;
}

std::string DigestOf(const SourceDigests& digests) {
  const std::string own = DigestOf(digests.checkpoint);
  return digests.compact ? Sha256Of(own + DigestOf(*digests.compact)) : own;
}

bool SourceModel::IsCompact(std::string_view ours) const {
  return compact_ != nullptr && Contains(ours, ".attention.");
}

std::optional<ParameterPlace> SourceModel::Place(std::string_view ours) const {
  const bool second_norm = Contains(ours, "feed_forward_norm");
  if (second_norm && config_.layout == BlockLayout::kParallel) return std::nullopt;
  std::optional<ParameterPlace> place = FamilyPlace(ours);
  if (ours == "embedding.weight") place->name = embeddings_.embedding;
  if (ours == "head.weight") place->name = embeddings_.head;
  return place;
}

std::string SourceModel::StoredName(const ParameterPlace& place) const {
  const std::vector<std::string> names = StoredNames(place);
  return names.empty() ? place.name : names.front();
}

std::vector<std::string> SourceModel::StoredNames(const ParameterPlace& place) const {
  std::vector<std::string> names{place.name};
  if (!base_name_.empty()) {
    const bool has_base = place.name.starts_with(base_name_);
    names.push_back(has_base ? place.name.substr(base_name_.size()) : base_name_ + place.name);
  }
  if (!family_->head_alias.empty() && place.name == FamilyPlace("head.weight")->name) {
    names.emplace_back(family_->head_alias);
  }
  std::erase_if(names, [&](const std::string& name) { return !folder_->Has(name); });
  return names;
}

void SourceModel::ListOwnTensors() {
  std::map<std::string, TensorInfo> own;
  std::string example;
  size_t renamed = 0;
  Model slots = EmptyModel(config_);
  VisitParameters(slots, [&](const std::string& ours, at::Tensor&) {
    const std::optional<ParameterPlace> place = Place(ours);
    if (!place.has_value() || (ours == "head.weight" && config_.tied_embeddings)) return;
    const std::string name = StoredName(*place);
    const TensorInfo* const info = folder_->Find(name);
    if (info == nullptr || !own.emplace(name, *info).second || ours == "embedding.weight") return;
    if (place->packing == Packing::kRow) buffer_elements_ += info->elements();
    // Place has the head under the name that it is stored by.
    const std::string usual = FamilyPlace(ours)->name;
    if (name != usual && ++renamed == 1) example = fmt::format("\"{}\" for \"{}\"", name, usual);
  });
  const std::string head = FamilyPlace("head.weight")->name;
  for (const TensorInfo& info : folder_->tensors()) {
    if (composite_ != nullptr && !own.contains(info.name) && info.name != head) other_tensors_.push_back(info);
  }
  for (auto& [name, info] : own) own_tensors_.push_back(std::move(info));
  if (renamed == 0) return;
  notes_.push_back(
      fmt::format("{} of the model's {} tensors are stored under another name that its class has for them, {}", renamed,
                  own_tensors_.size(), example));
}

absl::Status SourceModel::CheckTensors() {
  Model slots = EmptyModel(config_);
  FirstError error;
  std::set<std::string> own;
  VisitParameters(slots, [&](const std::string& ours, at::Tensor&) {
    if (!error.ok()) return;
    error.Keep(CheckTensor(ours));
    if (const auto place = Place(ours)) own.insert(StoredName(*place));
  });
  if (!error.ok()) return error.status();
  REGROUP_RETURN_IF_ERROR(CheckComputedPositions());
  for (const std::string_view name : family_->computed_positions) own.insert(StoredName({.name = std::string(name)}));
  for (std::string& copy : EmbeddingCopies()) own.insert(std::move(copy));
  NoteUnusedTensors(own);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<std::string, at::Tensor>>> SourceModel::ComputedPositions() const {
  std::vector<std::pair<std::string, at::Tensor>> tables;
  for (const std::string_view name : family_->computed_positions) {
    const std::vector<std::string> names = StoredNames({.name = std::string(name)});
    if (names.empty()) continue;
    REGROUP_ASSIGN_OR_RETURN(at::Tensor table, folder_->Tensor(names.front()));
    tables.emplace_back(name, std::move(table));
  }
  return tables;
}

absl::Status SourceModel::CheckComputedPositions() const {
  // Twice the rounding error of bfloat16.
  constexpr double kTolerance = 0x1p-8;
  REGROUP_ASSIGN_OR_RETURN(const auto tables, ComputedPositions());
  for (const auto& [name, table] : tables) {
    const at::Tensor places = at::arange(table.dim() == 2 ? table.size(0) : 0, at::kLong);
    const at::Tensor computed = SinusoidalPositions(places, config_);
    if (table.sizes() == computed.sizes() && at::allclose(table.to(at::kFloat), computed, 0, kTolerance)) continue;
    return absl::InvalidArgumentError(fmt::format(
        "{}: tensor '{}' must be the sines and cosines of positions that the family {} has, [positions, {}]",
        folder_->path().string(), name, family_->name(), config_.hidden_size));
  }
  return absl::OkStatus();
}

void SourceModel::NoteUnusedTensors(const std::set<std::string>& own) {
  constexpr size_t kNamed = 3;
  std::vector<std::string> unused;
  for (const TensorInfo& info : folder_->tensors()) {
    if (!own.contains(info.name)) unused.push_back(info.name);
  }
  if (unused.empty()) return;
  const size_t count = unused.size();
  unused.resize(std::min(count, kNamed));
  const std::string examples = fmt::format("{}{}", fmt::join(unused, ", "), count > kNamed ? " ..." : "");
  if (composite_ != nullptr) {
    notes_.push_back(fmt::format(
        "a language model of the family {} among other parts: it alone is calibrated, trained and evaluated, "
        "on text; the {} tensors of the other parts are copied to the result: {}",
        family_->name(), count, examples));
    return;
  }
  notes_.push_back(
      fmt::format("{} of the {} tensors are not part of a model with this config.json and are left alone: {}", count,
                  folder_->tensors().size(), examples));
}

namespace {

PartShapes ShapesOf(const ModelConfig& config, const ParameterPlace& place) {
  PartShapes shapes;
  for (const std::string& part : place.parts) shapes.push_back(ExpectedShape(config, part));
  return shapes;
}

/// Returns the shape that the checkpoint's tensor must have.
std::vector<int64_t> StoredShape(const ModelConfig& config, const ParameterPlace& place) {
  std::vector<int64_t> shape = PackedShape(place.packing, ShapesOf(config, place));
  if (place.packing == Packing::kStackedRows) shape.insert(shape.begin(), config.experts.count);
  return shape;
}

}  // namespace

absl::Status SourceModel::CheckTensor(const std::string& ours) const {
  const std::optional<ParameterPlace> place = Place(ours);
  if (!place.has_value()) return absl::OkStatus();
  const bool compact = IsCompact(ours);
  const std::string name = compact ? ours : StoredName(*place);
  const CheckpointFolder& folder = compact ? *compact_ : *folder_;
  const std::string where = folder.path().string();
  const TensorInfo* info = folder.Find(name);
  if (info == nullptr) {
    if (ours == "head.weight" && config_.tied_embeddings) return absl::OkStatus();
    if (place->packing == Packing::kRow) return absl::OkStatus();
    const absl::Status missing = folder.Missing(name);
    if (place->bias_key.empty()) return missing;
    return absl::DataLossError(
        fmt::format("{0}, but config.json asks for it by {1}; set {1} to false if the model has no such biases",
                    std::string(missing.message()), place->bias_key));
  }
  if (const std::vector<std::string> names = StoredNames(*place); !compact && names.size() > 1) {
    return absl::DataLossError(fmt::format("{}: tensors '{}' hold the same weights of the model; keep one", where,
                                           fmt::join(names, "' and '")));
  }
  const std::vector<int64_t> expected = compact ? ExpectedShape(config_, ours) : StoredShape(config_, *place);
  if (info->shape != expected) {
    return absl::DataLossError(fmt::format("{}: tensor '{}' has shape [{}], but config.json requires [{}]", where, name,
                                           fmt::join(info->shape, ", "), fmt::join(expected, ", ")));
  }
  const at::ScalarType type = ToScalarType(info->dtype);
  if (type == at::kFloat || type == at::kHalf || type == at::kBFloat16 || type == at::kDouble) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}: tensor '{}' has element type {}; weights must be F32, F16 or BF16", where,
                                         name, SafetensorsDtypeName(info->dtype)));
}

at::ScalarType SourceModel::dtype() const { return ToScalarType(MainDtype(own_tensors_)); }

int64_t SourceModel::ParameterCount() const {
  int64_t count = -buffer_elements_;
  for (const TensorInfo& info : own_tensors_) count += info.elements();
  return count;
}

absl::StatusOr<at::Tensor> SourceModel::MapParameter(const std::string& ours) const {
  const std::optional<ParameterPlace> place = Place(ours);
  if (!place.has_value() || (ours == "head.weight" && config_.tied_embeddings)) return at::Tensor();
  if (IsCompact(ours)) return compact_->Tensor(ours);
  const std::string name = StoredName(*place);
  if (place->packing == Packing::kRow && !folder_->Has(name)) return at::Tensor();
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor stored, folder_->Tensor(name));
  const at::Tensor own = place->packing == Packing::kStackedRows ? stored[place->expert] : stored;
  return Unpack(own, place->packing, ShapesOf(config_, *place), place->part, config_.heads);
}

ParameterVisitor SourceModel::MapInto(FirstError& error) const {
  return [this, &error](const std::string& ours, at::Tensor& tensor) {
    auto mapped = MapParameter(ours);
    if (mapped.ok()) {
      tensor = *mapped;
    } else {
      error.Keep(mapped.status());
    }
  };
}

absl::Status SourceModel::MapHeadOrder(Block& block, int64_t layer) const {
  const std::string name = HeadOrderName(layer);
  if (compact_ == nullptr || !compact_->Has(name)) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(block.attention.head_order, compact_->Tensor(name));
  return absl::OkStatus();
}

absl::StatusOr<Block> SourceModel::MapBlock(int64_t layer) const {
  return MapPartOfBlock(layer, [](const std::string&) { return true; });
}

absl::StatusOr<Block> SourceModel::MapAttention(int64_t layer) const { return MapPartOfBlock(layer, IsOfAttention); }

absl::StatusOr<Block> SourceModel::MapPartOfBlock(int64_t layer, bool (*has)(const std::string& parameter)) const {
  Block block = EmptyBlock(config_, layer);
  FirstError error;
  const ParameterVisitor map = MapInto(error);
  VisitBlock(block, layer, [&](const std::string& ours, at::Tensor& tensor) {
    if (has(ours)) map(ours, tensor);
  });
  error.Keep(MapHeadOrder(block, layer));
  if (!error.ok()) return error.status();
  return block;
}

absl::StatusOr<Model> SourceModel::MapOuter() const {
  Model model{.config = config_};
  FirstError error;
  VisitOuter(model, MapInto(error));
  if (!error.ok()) return error.status();
  return model;
}

absl::StatusOr<Model> SourceModel::Map() const {
  REGROUP_ASSIGN_OR_RETURN(Model model, MapOuter());
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(Block block, MapBlock(layer));
    model.blocks.push_back(std::move(block));
  }
  return model;
}

absl::StatusOr<Model> SourceModel::Load(at::ScalarType dtype, at::Device device) const {
  // Block by block, because what is mapped may be in memory of its own.
  REGROUP_ASSIGN_OR_RETURN(const Model outer, MapOuter());
  Model model = CloneModel(outer, dtype, device);
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const Block block, MapBlock(layer));
    model.blocks.push_back(CloneBlock(block, dtype, device));
  }
  return model;
}

}  // namespace regroup
