#include "trainer/model_folder/converted_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <deque>
#include <map>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/families/packing.h"
#include "trainer/model_folder/compact_attention.h"
#include "trainer/nn/parameter_names.h"

namespace regroup {
namespace {

using BlockSource = std::function<absl::StatusOr<Block>(int64_t layer)>;

/// Yields tensors block by block, as `push` queues them, so that only one block is in memory at a time. After the
/// blocks `last` adds tensors, one at each call, until it adds none.
class BlockGenerator {
 public:
  using Push = std::function<void(std::deque<NamedTensor>& ready, Block block, int64_t layer)>;
  using Last = std::function<absl::Status(std::deque<NamedTensor>& ready)>;

  BlockGenerator(int64_t layers, const BlockSource& block, Push push, std::deque<NamedTensor> first = {},
                 Last last = {})
      : layers_(layers), block_(block), push_(std::move(push)), ready_(std::move(first)), last_(std::move(last)) {}

  absl::StatusOr<std::optional<NamedTensor>> Next() {
    while (ready_.empty() && layer_ < layers_) {
      REGROUP_ASSIGN_OR_RETURN(Block block, block_(layer_));
      push_(ready_, std::move(block), layer_);
      ++layer_;
    }
    if (ready_.empty() && last_) REGROUP_RETURN_IF_ERROR(last_(ready_));
    if (ready_.empty()) return std::nullopt;
    NamedTensor next = std::move(ready_.front());
    ready_.pop_front();
    return next;
  }

 private:
  int64_t layers_;
  const BlockSource& block_;
  Push push_;
  int64_t layer_ = 0;
  std::deque<NamedTensor> ready_;
  Last last_;
};

/// Packs parameters into the family's tensors. A fused tensor is written when all its parts are there.
class FamilyPacker {
 public:
  FamilyPacker(const SourceModel& source, const ModelConfig& config, at::ScalarType dtype)
      : source_(source), family_(WrittenFamily(source.family(), config)), config_(config), dtype_(dtype) {}

  void Push(std::deque<NamedTensor>& ready, const std::string& ours, const at::Tensor& tensor) {
    const std::optional<ParameterPlace> place = PlaceOf(family_, config_, ours);
    if (!place.has_value() || !tensor.defined()) return;
    std::vector<at::Tensor>& parts = waiting_[place->name];
    parts.resize(place->parts.size());
    parts[place->part] = tensor.detach().to(at::kCPU, dtype_);
    if (!std::ranges::all_of(parts, [](const at::Tensor& part) { return part.defined(); })) return;
    ready.emplace_back(source_.NameInFolder(place->name), Pack(parts, place->packing, config_.heads).contiguous());
    waiting_.erase(place->name);
  }

 private:
  const SourceModel& source_;
  const Family& family_;
  const ModelConfig& config_;
  at::ScalarType dtype_;
  std::map<std::string, std::vector<at::Tensor>> waiting_;
};

/// Writes all tensors under the family's names.
absl::Status WriteFamilyTensors(const std::filesystem::path& folder, const SourceModel& source, at::ScalarType dtype,
                                const ConvertedModel& model) {
  const bool expand = !IsStandardLayout(source.family(), model.config);
  FamilyPacker packer(source, model.config, dtype);
  std::deque<NamedTensor> outer;
  Model slots = model.outer;
  VisitOuter(slots, [&](const std::string& name, at::Tensor& tensor) { packer.Push(outer, name, tensor); });
  const bool untied = !model.config.tied_embeddings;
  for (const std::string_view copy : source.family().embedding_copies) {
    if (!untied || !source.family().copies_where_untied) continue;
    outer.emplace_back(copy, slots.embedding.detach().to(at::kCPU, dtype).contiguous());
  }
  REGROUP_ASSIGN_OR_RETURN(const auto positions, source.ComputedPositions());
  for (const auto& [name, table] : positions) outer.emplace_back(name, table);
  const auto push = [&](std::deque<NamedTensor>& ready, Block block, int64_t layer) {
    if (expand) block = ExpandAttention(std::move(block), model.config.heads);
    VisitBlock(block, layer, [&](const std::string& name, at::Tensor& tensor) { packer.Push(ready, name, tensor); });
  };
  auto other = source.other_tensors().begin();
  const auto push_other = [&](std::deque<NamedTensor>& ready) -> absl::Status {
    if (!model.with_other_parts || other == source.other_tensors().end()) return absl::OkStatus();
    REGROUP_ASSIGN_OR_RETURN(at::Tensor tensor, source.folder().Tensor(other->name));
    ready.emplace_back(other->name, std::move(tensor));
    ++other;
    return absl::OkStatus();
  };
  BlockGenerator generator(model.config.layers, model.block, push, std::move(outer), push_other);
  return WriteCheckpoint(folder, [&] { return generator.Next(); }).status();
}

/// Writes the attention with its shared heads under Regroup's names.
absl::Status WriteCompactTensors(const std::filesystem::path& folder, at::ScalarType dtype,
                                 const ConvertedModel& model) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  const auto push = [&](std::deque<NamedTensor>& ready, Block block, int64_t layer) {
    VisitBlock(block, layer, [&](const std::string& name, at::Tensor& tensor) {
      if (!IsOfAttention(name) || !tensor.defined()) return;
      ready.emplace_back(name, tensor.detach().to(at::kCPU, dtype).contiguous());
    });
    const at::Tensor& order = block.attention.head_order;
    if (order.defined()) ready.emplace_back(HeadOrderName(layer), order.cpu());
  };
  BlockGenerator generator(model.config.layers, model.block, push);
  REGROUP_RETURN_IF_ERROR(WriteCheckpoint(folder, [&] { return generator.Next(); }).status());
  return WriteFileAtomically(folder / "config.json", CompactConfig(model.config).dump(2) + "\n");
}

/// Transformers finds the class by model_type, other programs by its name.
bool NamesItsClass(const nlohmann::json& config) {
  const auto names = config.find("architectures");
  return names != config.end() && names->is_array() && !names->empty();
}

}  // namespace

const Family& WrittenFamily(const Family& family, const ModelConfig& converted) {
  if (!family.one_head.has_value() || converted.kv_heads > 1 || !converted.kv_heads_of_layers.empty()) return family;
  return **FamilyOf({{"model_type", family.one_head->family}});
}

bool IsStandardLayout(const Family& family, const ModelConfig& converted) {
  return WrittenFamily(family, converted).standard_gqa && converted.kv_heads_of_layers.empty();
}

nlohmann::json ConvertedConfig(const SourceModel& source, const ModelConfig& converted,
                               const nlohmann::json& provenance) {
  nlohmann::json config = source.folder().config();
  config.erase("quantization_config");
  config["regroup"] = provenance;
  const bool standard = IsStandardLayout(source.family(), converted);
  config["regroup"]["layout"] = standard ? "standard" : "expanded";
  config["regroup"].update(CompactConfig(converted));
  const Family* const composite = source.composite();
  nlohmann::json& own = composite != nullptr ? config["text_config"] : config;
  if (source.UntiedByTensors()) {
    source.family().write_untied(own);
    if (composite != nullptr) composite->write_untied(config);
  }
  if (!NamesItsClass(config)) config["architectures"] = {(composite ? *composite : source.family()).architecture};
  if (source.family().standard_gqa) {
    const int64_t heads = standard ? converted.kv_heads : converted.heads;
    const std::vector<std::string_view>& sections = source.family().head_sections;
    if (sections.empty()) own["num_key_value_heads"] = heads;
    for (const std::string_view section : sections) own[std::string(section)]["num_key_value_heads"] = heads;
  }
  if (&WrittenFamily(source.family(), converted) != &source.family()) source.family().one_head->write_config(config);
  return config;
}

absl::Status WriteConvertedFolder(const std::filesystem::path& folder, const SourceModel& source,
                                  const nlohmann::json& provenance, at::ScalarType dtype, const ConvertedModel& model) {
  REGROUP_RETURN_IF_ERROR(WriteFamilyTensors(folder, source, dtype, model));
  if (!IsStandardLayout(source.family(), model.config)) {
    REGROUP_RETURN_IF_ERROR(WriteCompactTensors(folder / kCompactFolder, dtype, model));
  }
  const std::string config = ConvertedConfig(source, model.config, provenance).dump(2) + "\n";
  return WriteFileAtomically(folder / "config.json", config);
}

}  // namespace regroup
