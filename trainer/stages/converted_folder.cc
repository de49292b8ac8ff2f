#include "trainer/stages/converted_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <deque>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "trainer/checkpoint/checkpoint_writer.h"

namespace regroup {
namespace {

/// Gives the outer parameters, then block after block, under the checkpoint's names.
class ModelGenerator {
 public:
  ModelGenerator(const Family& family, const Model& outer, int64_t layers,
                 const std::function<absl::StatusOr<Block>(int64_t)>& block, at::ScalarType dtype)
      : family_(family), layers_(layers), block_(block), dtype_(dtype) {
    Model slots{.embedding = outer.embedding, .final_norm = outer.final_norm, .head = outer.head};
    VisitOuter(slots, [&](const std::string& name, at::Tensor& tensor) { Push(name, tensor); });
  }

  absl::StatusOr<std::optional<NamedTensor>> Next() {
    while (ready_.empty() && layer_ < layers_) {
      REGROUP_ASSIGN_OR_RETURN(Block block, block_(layer_));
      VisitBlock(block, layer_, [&](const std::string& name, at::Tensor& tensor) { Push(name, tensor); });
      ++layer_;
    }
    if (ready_.empty()) return std::nullopt;
    NamedTensor next = std::move(ready_.front());
    ready_.pop_front();
    return next;
  }

 private:
  void Push(const std::string& ours, const at::Tensor& tensor) {
    const std::string name = CheckpointName(family_, ours);
    if (name.empty() || !tensor.defined()) return;
    ready_.emplace_back(name, tensor.detach().to(at::kCPU, dtype_).contiguous());
  }

  const Family& family_;
  int64_t layers_;
  const std::function<absl::StatusOr<Block>(int64_t)>& block_;
  at::ScalarType dtype_;
  int64_t layer_ = 0;
  std::deque<NamedTensor> ready_;
};

bool IsCompanion(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  const std::string extension = file.extension().string();
  if (name == "config.json" || name.ends_with(".index.json") || name.starts_with(".")) return false;
  return extension == ".json" || extension == ".model" || extension == ".txt" || extension == ".jinja" ||
         extension == ".tiktoken" || extension == ".md" || name == "LICENSE";
}

}  // namespace

nlohmann::json ConvertedConfig(const SourceModel& source, int64_t kv_heads, const nlohmann::json& provenance) {
  nlohmann::json config = source.folder().config();
  config["num_key_value_heads"] = kv_heads;
  config["regroup"] = provenance;
  return config;
}

absl::Status WriteConvertedFolder(const std::filesystem::path& folder, const SourceModel& source, int64_t kv_heads,
                                  const nlohmann::json& provenance, at::ScalarType dtype, const Model& outer,
                                  const std::function<absl::StatusOr<Block>(int64_t layer)>& block) {
  ModelGenerator generator(source.family(), outer, source.config().layers, block, dtype);
  const auto written = WriteCheckpoint(folder, [&] { return generator.Next(); });
  if (!written.ok()) return written.status();
  const std::string config = ConvertedConfig(source, kv_heads, provenance).dump(2) + "\n";
  return WriteFileAtomically(folder / "config.json", config);
}

absl::Status CopyCompanionFiles(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    if (!entry.is_regular_file() || !IsCompanion(entry.path())) continue;
    REGROUP_ASSIGN_OR_RETURN(const std::string content, ReadFile(entry.path()));
    REGROUP_RETURN_IF_ERROR(WriteFileAtomically(to / entry.path().filename(), content));
  }
  return absl::OkStatus();
}

}  // namespace regroup
