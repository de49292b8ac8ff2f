#include "trainer/stages/source_model.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "services/base/status_macros.h"
#include "trainer/checkpoint/torch_dtype.h"

namespace regroup {
namespace {

/// A parameter that a checkpoint may lack: biases, and the output projection where it is the embedding.
bool Optional(std::string_view ours, const ModelConfig& config) {
  return ours.ends_with(".bias") || (ours == "head.weight" && config.tied_embeddings);
}

/// First error of several visits, since a visitor cannot return one.
class FirstError {
 public:
  bool ok() const { return status_.ok(); }
  void Keep(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace

std::vector<int64_t> ExpectedShape(const ModelConfig& config, std::string_view ours) {
  const int64_t query_width = config.heads * config.head_width;
  const int64_t kv_width = config.kv_heads * config.head_width;
  const bool bias = ours.ends_with(".bias");
  const auto linear = [&](int64_t out, int64_t in) {
    return bias ? std::vector<int64_t>{out} : std::vector<int64_t>{out, in};
  };
  if (ours == "embedding.weight" || ours == "head.weight") return {config.vocabulary, config.hidden_size};
  if (ours.find("norm") != std::string_view::npos) return {config.hidden_size};
  if (ours.find("attention.query") != std::string_view::npos) return linear(query_width, config.hidden_size);
  if (ours.find("attention.output") != std::string_view::npos) return linear(config.hidden_size, query_width);
  if (ours.find("attention.") != std::string_view::npos) return linear(kv_width, config.hidden_size);
  if (ours.find("feed_forward.down") != std::string_view::npos) {
    return linear(config.hidden_size, config.intermediate_size);
  }
  return linear(config.intermediate_size, config.hidden_size);
}

absl::StatusOr<SourceModel> SourceModel::Open(const std::filesystem::path& folder) {
  SourceModel source;
  REGROUP_ASSIGN_OR_RETURN(source.folder_, CheckpointFolder::Open(folder));
  const std::string where = (folder / "config.json").string();
  const auto in_file = [&](const absl::Status& status) {
    std::string message(status.message());
    constexpr std::string_view kShort = "config.json";
    if (message.starts_with(kShort)) message = where + message.substr(kShort.size());
    return absl::Status(status.code(), message);
  };
  const auto family = FamilyOf(source.folder_->config());
  if (!family.ok()) return in_file(family.status());
  source.family_ = *family;
  const auto config = source.family_->read_config(source.folder_->config());
  if (!config.ok()) return in_file(config.status());
  source.config_ = *config;
  REGROUP_RETURN_IF_ERROR(source.CheckTensors());
  return source;
}

absl::Status SourceModel::CheckTensors() const {
  Model slots{.config = config_};
  slots.blocks.resize(config_.layers);
  FirstError error;
  VisitParameters(slots, [&](const std::string& ours, at::Tensor&) {
    const std::string name = CheckpointName(*family_, ours);
    if (name.empty() || !error.ok()) return;
    const TensorInfo* info = folder_->Find(name);
    if (info == nullptr) {
      if (Optional(ours, config_)) return;
      return error.Keep(
          absl::InvalidArgumentError(fmt::format("{}: tensor '{}' is missing", folder_->path().string(), name)));
    }
    const std::vector<int64_t> expected = ExpectedShape(config_, ours);
    if (info->shape != expected) {
      return error.Keep(absl::InvalidArgumentError(
          fmt::format("{}: tensor '{}' has shape [{}], but config.json asks for [{}]", folder_->path().string(), name,
                      fmt::join(info->shape, ", "), fmt::join(expected, ", "))));
    }
    const at::ScalarType type = ToScalarType(info->dtype);
    if (type != at::kFloat && type != at::kHalf && type != at::kBFloat16 && type != at::kDouble) {
      error.Keep(absl::InvalidArgumentError(
          fmt::format("{}: tensor '{}' has element type {}; weights must be F32, F16 or BF16", folder_->path().string(),
                      name, SafetensorsDtypeName(info->dtype))));
    }
  });
  return error.status();
}

at::ScalarType SourceModel::dtype() const { return ToScalarType(folder_->MainDtype()); }

int64_t SourceModel::ParameterCount() const {
  int64_t count = 0;
  for (const TensorInfo& info : folder_->tensors()) count += info.elements();
  return count;
}

absl::StatusOr<at::Tensor> SourceModel::MapParameter(const std::string& ours) const {
  const std::string name = CheckpointName(*family_, ours);
  if (name.empty() || (ours == "head.weight" && config_.tied_embeddings)) return at::Tensor();
  if (!folder_->Has(name) && Optional(ours, config_)) return at::Tensor();
  return folder_->Tensor(name);
}

absl::StatusOr<Block> SourceModel::MapBlock(int64_t layer) const {
  Block block;
  FirstError error;
  VisitBlock(block, layer, [&](const std::string& ours, at::Tensor& tensor) {
    auto mapped = MapParameter(ours);
    if (mapped.ok()) {
      tensor = *mapped;
    } else {
      error.Keep(mapped.status());
    }
  });
  if (!error.ok()) return error.status();
  return block;
}

absl::StatusOr<Model> SourceModel::Map() const {
  Model model{.config = config_};
  FirstError error;
  VisitOuter(model, [&](const std::string& ours, at::Tensor& tensor) {
    auto mapped = MapParameter(ours);
    if (mapped.ok()) {
      tensor = *mapped;
    } else {
      error.Keep(mapped.status());
    }
  });
  if (!error.ok()) return error.status();
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(Block block, MapBlock(layer));
    model.blocks.push_back(std::move(block));
  }
  return model;
}

absl::StatusOr<Model> SourceModel::Load(at::ScalarType dtype, at::Device device) const {
  REGROUP_ASSIGN_OR_RETURN(const Model mapped, Map());
  return CloneModel(mapped, dtype, device);
}

}  // namespace regroup
