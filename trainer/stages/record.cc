// record: runs the source over the text of layerwise distillation, shared among the ranks, and writes its residual
// stream at the border before each block of layers.
//
// The source passes layer by layer, so that memory holds one block and the disk the streams. Jobs with the same source,
// text and borders share the result (job_streams.h).
#include <ATen/ATen.h>

#include <filesystem>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "trainer/stages/job_source.h"
#include "trainer/stages/job_streams.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/shared_folder.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

absl::Status Record(StageContext& context, const SourceModel& source, const TokenWindows& text,
                    const fs::path& published) {
  const fs::path staged = context.attempt_folder / "streams";
  const std::vector<int64_t> borders = BlockBorders(context);
  REGROUP_RETURN_IF_ERROR(MakeFolders(staged));
  if (context.leads()) {
    const StreamShape shape{.windows = text.windows(),
                            .tokens = source.config().StreamTokens(text.sequence_length()),
                            .hidden_size = source.config().hidden_size};
    MakeRoomForStreams(published.parent_path(), shape.Bytes() * static_cast<int64_t>(borders.size()));
  }
  REGROUP_ASSIGN_OR_RETURN(const SourcePass pass, MakeSourcePass(context, source, /*with_embeddings=*/true));
  REGROUP_RETURN_IF_ERROR(RecordStreams(
      context, pass, text, WindowsOfRank(text.windows(), context.communicator.rank(), context.communicator.size()),
      borders, borders.back(), staged, context.communicator.rank(), context.communicator.size()));
  REGROUP_RETURN_IF_ERROR(context.communicator.RestingBarrier());
  if (!context.leads()) return absl::OkStatus();
  return PublishShared(staged, published);
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunRecord(StageContext& context) {
  REGROUP_ASSIGN_OR_RETURN(const SourceModel source, OpenSource(context, Users::kAllJobs));
  REGROUP_ASSIGN_OR_RETURN(const TokenWindows text, ReadLayerwiseText(context, source));
  const v1::Layerwise& layerwise = context.spec().layerwise();
  v1::TaskOutcome outcome;
  Warn(context, NoteOnFewer(TextOf(layerwise), "layerwise.sequences", text, layerwise.sequences()), outcome);
  const std::string folder = "streams/" + StreamsKey(context, text);
  const fs::path published = context.work_folder / folder;
  REGROUP_ASSIGN_OR_RETURN(const bool is_published, IsPublished(context, published));
  if (!is_published) {
    REGROUP_RETURN_IF_ERROR(Record(context, source, text, published));
  } else if (context.leads()) {
    std::error_code error;
    fs::last_write_time(published, fs::file_time_type::clock::now(), error);
  }
  if (context.leads()) {
    REGROUP_ASSIGN_OR_RETURN(const SharedFolder shared, DescribeShared(context, folder));
    REGROUP_RETURN_IF_ERROR(WriteStreamsPointer(
        context, {.shared = shared, .windows = text.windows(), .ranks = context.communicator.size()}));
  }
  return outcome;
}

}  // namespace regroup
