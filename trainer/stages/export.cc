// export: writes the converted checkpoint in the source's own layout and element type into this attempt's folder.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/model_folder/companion_files.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/converted_folder.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/load_conversion.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

nlohmann::json Provenance(const StageContext& context, int64_t source_kv_heads) {
  const v1::Arm& arm = context.assignment.arm();
  return {{"job", context.assignment.attempt().job()},
          {"source_digest", context.assignment.model().digest()},
          {"source_kv_heads", source_kv_heads},
          {"alignment", arm.alignment()},
          {"finetune", arm.finetune()}};
}

/// Writes the trained model if there was training; otherwise the merged source, one layer at a time.
absl::Status WriteWeights(StageContext& context, const SourceModel& source, const std::filesystem::path& folder) {
  const nlohmann::json provenance = Provenance(context, source.config().kv_heads);
  const auto progress = [&](int64_t layer) { context.link.SetProgress("layers", layer + 1, source.config().layers); };
  if (context.assignment.inputs().contains(kFinetuneRole)) {
    REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path trained_folder, context.Input(kFinetuneRole));
    REGROUP_ASSIGN_OR_RETURN(const SourceModel trained, SourceModel::Open(trained_folder / artifacts::kTrainedModel));
    REGROUP_ASSIGN_OR_RETURN(const Model outer, trained.MapOuter());
    return WriteConvertedFolder(folder, source, provenance, source.dtype(),
                                {.config = trained.config(),
                                 .outer = outer,
                                 .block =
                                     [&](int64_t layer) {
                                       progress(layer);
                                       return trained.MapBlock(layer);
                                     },
                                 .with_other_parts = true});
  }
  REGROUP_ASSIGN_OR_RETURN(const Conversion conversion, LoadConversion(context, source.config()));
  REGROUP_ASSIGN_OR_RETURN(const Model outer, source.MapOuter());
  const auto merged = [&](int64_t layer) -> absl::StatusOr<Block> {
    progress(layer);
    REGROUP_ASSIGN_OR_RETURN(Block block, source.MapBlock(layer));
    REGROUP_RETURN_IF_ERROR(conversion.Merge(block, layer));
    return block;
  };
  return WriteConvertedFolder(
      folder, source, provenance, source.dtype(),
      {.config = conversion.MergedConfig(), .outer = outer, .block = merged, .with_other_parts = true});
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunExport(StageContext& context) {
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context));
  const std::filesystem::path folder = context.out() / artifacts::kCheckpoint;
  REGROUP_RETURN_IF_ERROR(MakeFolders(folder));
  REGROUP_RETURN_IF_ERROR(WriteWeights(context, source, folder));
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path files, SourceFiles(context, source));
  REGROUP_RETURN_IF_ERROR(CopyCompanionFiles(source.folder().config(), files, folder));
  // Checks that the written folder opens as the requested model.
  REGROUP_ASSIGN_OR_RETURN(const SourceModel result, SourceModel::Open(folder));
  const int64_t wanted = context.assignment.arm().kv_heads() * source.config().layers;
  if (result.config().KvHeadsOfAllLayers() != wanted) {
    return absl::InternalError(fmt::format("export: wrote {} KV heads over all layers, expected {}",
                                           result.config().KvHeadsOfAllLayers(), wanted));
  }
  return v1::TaskOutcome();
}

}  // namespace regroup
