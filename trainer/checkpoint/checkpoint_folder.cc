#include "trainer/checkpoint/checkpoint_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/find_weights.h"
#include "trainer/checkpoint/fp8_weights.h"
#include "trainer/checkpoint/torch_dtype.h"
#include "trainer/checkpoint/wrapper_names.h"

namespace regroup {
namespace {

/// The largest known have a few kilobytes; one of 64 MB takes ten times that in memory.
constexpr uint64_t kMostConfigBytes = 4 << 20;

absl::Status CheckIsFolder(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(folder, error);
  if (status.type() == std::filesystem::file_type::not_found) {
    return absl::NotFoundError(fmt::format("folder {} does not exist", folder.string()));
  }
  if (error) return ErrnoStatus(error.value(), "open folder", folder);
  if (!std::filesystem::is_directory(status)) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not a folder; name the folder that holds config.json", folder.string()));
  }
  return absl::OkStatus();
}

/// Transformers applies an adapter that lies beside a model, so the model alone would be another one.
absl::Status CheckHasNoAdapter(const std::filesystem::path& folder) {
  const std::filesystem::path adapter = folder / "adapter_config.json";
  REGROUP_ASSIGN_OR_RETURN(const bool has_adapter, IsTaken(adapter));
  if (!has_adapter) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format(
      "{}: the folder holds an adapter; merge it first (merge_and_unload() in PEFT, then save_pretrained()), "
      "or remove its files to convert the model without it",
      adapter.string()));
}

template <typename Named>
auto FindByName(const std::vector<Named>& sorted, std::string_view name, std::string_view (*name_of)(const Named&)) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), name,
                                      [&](const Named& one, std::string_view wanted) { return name_of(one) < wanted; });
  return found == sorted.end() || name_of(*found) != name ? nullptr : &*found;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CheckpointFolder>> CheckpointFolder::Open(
    const std::filesystem::path& folder, std::shared_ptr<const CheckpointDigests> expected, Compared compared) {
  REGROUP_RETURN_IF_ERROR(CheckIsFolder(folder));
  REGROUP_RETURN_IF_ERROR(CheckHasNoAdapter(folder));
  std::shared_ptr<CheckpointFolder> checkpoint(new CheckpointFolder());
  checkpoint->path_ = folder;
  checkpoint->expected_ = std::move(expected);
  checkpoint->compared_ = compared;
  const std::filesystem::path config_path = folder / "config.json";
  REGROUP_ASSIGN_OR_RETURN(checkpoint->config_text_, ReadInput(config_path, kMostConfigBytes));
  REGROUP_RETURN_IF_ERROR(checkpoint->CheckConfig());
  REGROUP_ASSIGN_OR_RETURN(checkpoint->config_, ParseFolderJson(config_path, checkpoint->config_text_));
  auto quantisation = ReadQuantisation(checkpoint->config_);
  if (!quantisation.ok()) return InFolder(folder, quantisation.status());
  checkpoint->quantisation_ = *std::move(quantisation);
  if (!checkpoint->quantisation_.note.empty()) checkpoint->notes_.push_back(checkpoint->quantisation_.note);
  REGROUP_ASSIGN_OR_RETURN(FoundWeights found, FindWeights(folder));
  checkpoint->files_ = std::move(found.files);
  checkpoint->listed_ = std::move(found.listed);
  REGROUP_RETURN_IF_ERROR(checkpoint->ListStored());
  REGROUP_RETURN_IF_ERROR(checkpoint->ListTensors());
  return checkpoint;
}

absl::Status CheckpointFolder::ListStored() {
  size_t wrapped = 0;
  std::string example;
  for (const auto& file : files_) {
    for (TensorInfo& info : file->tensors()) {
      std::string name_in_file = info.name;
      info.name = WithoutWrappers(name_in_file);
      if (info.name != name_in_file && ++wrapped == 1) {
        example = fmt::format("\"{}\" as \"{}\"", name_in_file, info.name);
      }
      stored_.push_back({std::move(info), std::move(name_in_file), file.get()});
    }
  }
  std::stable_sort(stored_.begin(), stored_.end(),
                   [](const Stored& a, const Stored& b) { return a.info.name < b.info.name; });
  const auto twice = std::adjacent_find(stored_.begin(), stored_.end(),
                                        [](const Stored& a, const Stored& b) { return a.info.name == b.info.name; });
  if (twice != stored_.end()) {
    const Stored& other = *std::next(twice);
    return absl::DataLossError(fmt::format("{} holds tensor \"{}\", and {} holds it as \"{}\"; keep one of them",
                                           twice->file->path().string(), twice->name_in_file,
                                           other.file->path().string(), other.name_in_file));
  }
  if (wrapped > 0) {
    notes_.push_back(
        fmt::format("{} of the {} tensors were saved inside a wrapper of torch; they are read without its "
                    "name, {}",
                    wrapped, stored_.size(), example));
  }
  return absl::OkStatus();
}

absl::Status CheckpointFolder::FindScale(const Stored& weight) {
  const auto refused = [&](const Stored& scale, const std::string& why) {
    return absl::InvalidArgumentError(
        fmt::format("{}: tensor \"{}\" {}; convert the model that was quantised, or dequantise this one with the tool "
                    "that made it",
                    scale.file->path().string(), scale.info.name, why));
  };
  for (const std::string& name : IgnoredScaleNames(weight.info.name)) {
    const Stored* const scale = FindStored(name);
    if (scale == nullptr || !IsFp8(weight.info.dtype)) continue;
    return refused(*scale,
                   "scales 8-bit floats under a name that Transformers ignores, so that its weights are others");
  }
  for (const std::string& name : ScaleNames(weight.info.name)) {
    const Stored* const scale = FindStored(name);
    if (scale == nullptr) continue;
    if (!IsFp8(weight.info.dtype)) {
      if (!quantisation_.has_scales) continue;
      return refused(*scale, fmt::format("scales a weight that is stored as {} and not as 8-bit floats",
                                         SafetensorsDtypeName(weight.info.dtype)));
    }
    if (!quantisation_.has_scales) {
      return refused(*scale, "scales 8-bit floats, but config.json has no quantization_config for FP8");
    }
    const absl::Status fits = CheckScale(quantisation_, weight.info, scale->info);
    if (!fits.ok()) {
      return absl::Status(fits.code(), fmt::format("{}: tensor \"{}\" {}", weight.file->path().string(),
                                                   weight.info.name, std::string(fits.message())));
    }
    scales_[weight.info.name] = name;
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status CheckpointFolder::ListTensors() {
  std::set<std::string, std::less<>> left_out;
  for (const Stored& stored : stored_) {
    REGROUP_RETURN_IF_ERROR(FindScale(stored));
    if (!IsFp8(stored.info.dtype)) continue;
    for (const std::string& name : ActivationScaleNames(stored.info.name)) left_out.insert(name);
  }
  for (const auto& [weight, scale] : scales_) left_out.insert(scale);
  size_t dequantised = 0;
  for (const Stored& stored : stored_) {
    if (left_out.contains(stored.info.name)) continue;
    tensors_.push_back(stored.info);
    if (!IsFp8(stored.info.dtype)) continue;
    tensors_.back().dtype = quantisation_.target;
    ++dequantised;
  }
  if (dequantised > 0) {
    notes_.push_back(
        fmt::format("{} tensors are stored as 8-bit floats and read as {}, {} of them by their scales; the "
                    "result is not quantised",
                    dequantised, SafetensorsDtypeName(quantisation_.target), scales_.size()));
  }
  return absl::OkStatus();
}

const TensorInfo* CheckpointFolder::Find(std::string_view name) const {
  return FindByName<TensorInfo>(tensors_, name, [](const TensorInfo& info) -> std::string_view { return info.name; });
}

const CheckpointFolder::Stored* CheckpointFolder::FindStored(std::string_view name) const {
  return FindByName<Stored>(stored_, name, [](const Stored& stored) -> std::string_view { return stored.info.name; });
}

absl::StatusOr<at::Tensor> CheckpointFolder::StoredTensor(std::string_view name) const {
  const Stored& stored = *FindStored(name);
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor tensor, stored.file->Tensor(stored.name_in_file));
  if (expected_ == nullptr || compared_ == Compared::kViews) {
    const at::Tensor plain = tensor.contiguous();
    REGROUP_RETURN_IF_ERROR(CheckTensor(stored, plain));
    return plain;
  }
  at::Tensor copy = tensor.clone(at::MemoryFormat::Contiguous);
  REGROUP_RETURN_IF_ERROR(CompareTensor(stored, copy));
  return copy;
}

absl::StatusOr<at::Tensor> CheckpointFolder::Tensor(std::string_view name) const {
  if (!Has(name)) return absl::NotFoundError(fmt::format("checkpoint {} has no tensor \"{}\"", path_.string(), name));
  REGROUP_ASSIGN_OR_RETURN(const at::Tensor stored, StoredTensor(name));
  if (!IsFp8(FindStored(name)->info.dtype)) return stored;
  at::Tensor scale;
  if (const auto found = scales_.find(name); found != scales_.end()) {
    REGROUP_ASSIGN_OR_RETURN(scale, StoredTensor(found->second));
  }
  return DequantiseFp8(stored, scale, ToScalarType(quantisation_.target));
}

absl::Status CheckpointFolder::Missing(std::string_view name) const {
  std::string hint;
  if (const auto listed = listed_.find(name); listed != listed_.end()) {
    hint = fmt::format("; the index lists it in {}, which does not contain it", listed->second);
  }
  for (const std::string& quantised : QuantisedNames(name)) {
    if (!FindStored(quantised)) continue;
    hint = fmt::format("; \"{}\" is stored in its place: {}", quantised,
                       quantised.ends_with("base_layer.weight")
                           ? "merge the adapter first (merge_and_unload() in PEFT)"
                           : "the weights are quantised; name the model that was quantised, or dequantise it first");
  }
  return absl::DataLossError(fmt::format("{}: tensor '{}' is missing{}", path_.string(), name, hint));
}

absl::Status InFolder(const std::filesystem::path& folder, const absl::Status& status) {
  constexpr std::string_view kConfig = "config.json";
  std::string message(status.message());
  if (message.starts_with(kConfig)) message = (folder / kConfig).string() + message.substr(kConfig.size());
  return absl::Status(status.code(), message);
}

}  // namespace regroup
