#include "trainer/stages/job_streams.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/paths.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/arms.h"
#include "trainer/plan/settings.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_text.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr int kFormat = 3;

at::ScalarType StreamPrecision(const StageContext& context) {
  return TrainingType(context.spec().layerwise().precision(), context.device);
}

int64_t BytesIn(const fs::path& folder) {
  int64_t bytes = 0;
  std::error_code error;
  for (const fs::path& entry : EntriesOf(folder).value_or(std::vector<fs::path>())) {
    const auto size = fs::file_size(entry, error);
    if (!error) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<TokenWindows> ReadLayerwiseText(StageContext& context, const SourceModel& source) {
  const v1::Layerwise& layerwise = context.spec().layerwise();
  return ReadWindows(
      context, TextOf(layerwise), source,
      {.sequence_length = SequenceLength(layerwise, source.config()), .max_windows = layerwise.sequences()});
}

absl::StatusOr<SourcePass> MakeSourcePass(StageContext& context, const SourceModel& source, bool with_embeddings) {
  return SourcePass::Make(source, {.sequence_length = SequenceLength(context.spec().layerwise(), source.config()),
                                   .dtype = StreamPrecision(context),
                                   .device = context.device,
                                   .with_embeddings = with_embeddings,
                                   .tick = [&context] { context.link.activity().Tick(); }});
}

std::string StreamsKey(const StageContext& context, const TokenWindows& text) {
  const nlohmann::json key = {{"format", kFormat},
                              {"source", context.assignment.model().digest()},
                              {"text", text.Digest()},
                              {"windows", text.windows()},
                              {"sequence_length", text.sequence_length()},
                              {"borders", BlockBorders(context)},
                              {"ranks", context.communicator.size()},
                              {"precision", c10::toString(StreamPrecision(context))},
                              {"cuda", context.device.is_cuda()}};
  return Sha256Of(key.dump());
}

std::string StreamFile(int64_t layer, int64_t rank, int64_t ranks) {
  return fmt::format("layer-{:03}-part-{}-of-{}", layer, rank, ranks);
}

std::vector<int64_t> BlockBorders(const StageContext& context) {
  const int32_t layers = context.assignment.model().layers();
  std::vector<int64_t> borders;
  for (int64_t layer = 0; layer < layers; layer += LayersPerTask(context.spec(), layers)) borders.push_back(layer);
  return borders;
}

absl::Status WriteStreamsPointer(const StageContext& context, const RecordedStreams& recorded) {
  const nlohmann::json pointer = {{"folder", recorded.shared.folder},
                                  {"sha256", recorded.shared.sha256},
                                  {"windows", recorded.windows},
                                  {"ranks", recorded.ranks}};
  return WriteFileAtomically(context.out() / artifacts::kStreamsPointer, pointer.dump(2) + "\n");
}

absl::StatusOr<RecordedStreams> ReadStreamsPointer(const StageContext& context) {
  REGROUP_ASSIGN_OR_RETURN(const fs::path recorded, context.Input(kRecordRole));
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(recorded / artifacts::kStreamsPointer));
  const nlohmann::json pointer = nlohmann::json::parse(text, nullptr, false);
  const auto has = [&](const char* key, nlohmann::json::value_t type) {
    return pointer.contains(key) && pointer[key].type() == type;
  };
  using Type = nlohmann::json::value_t;
  if (!has("folder", Type::string) || !has("sha256", Type::string) || !has("windows", Type::number_unsigned) ||
      !has("ranks", Type::number_unsigned)) {
    return absl::DataLossError(fmt::format("{} is damaged", (recorded / artifacts::kStreamsPointer).string()));
  }
  return RecordedStreams{.shared = {.folder = pointer["folder"], .sha256 = pointer["sha256"]},
                         .windows = pointer["windows"],
                         .ranks = pointer["ranks"]};
}

absl::Status RecordStreams(StageContext& context, const SourcePass& pass, const TokenWindows& text,
                           const std::vector<int64_t>& windows, const std::vector<int64_t>& borders, int64_t last,
                           const fs::path& folder, int64_t rank, int64_t ranks) {
  const StreamShape shape{.windows = static_cast<int64_t>(windows.size()),
                          .tokens = pass.StreamTokens(),
                          .hidden_size = pass.config().hidden_size};
  const auto border = [&](int64_t layer) { return folder / StreamFile(layer, rank, ranks); };
  REGROUP_ASSIGN_OR_RETURN(ResidualStreams first, ResidualStreams::Create(border(0), shape));
  REGROUP_RETURN_IF_ERROR(pass.Start(text, windows, first));
  auto current = std::make_shared<ResidualStreams>(std::move(first));
  // Between borders, the streams of a layer replace those of the one before.
  const fs::path between = context.attempt_folder / fmt::format("stream-{}", rank);
  std::shared_ptr<ResidualStreams> work;
  for (int64_t layer = 0; layer < last; ++layer) {
    const bool at_border = std::find(borders.begin(), borders.end(), layer + 1) != borders.end();
    std::shared_ptr<ResidualStreams> next = at_border ? nullptr : work;
    if (next == nullptr) {
      REGROUP_ASSIGN_OR_RETURN(ResidualStreams made,
                               ResidualStreams::Create(at_border ? border(layer + 1) : between, shape));
      next = std::make_shared<ResidualStreams>(std::move(made));
      if (!at_border) work = next;
    }
    REGROUP_ASSIGN_OR_RETURN(const Block block, pass.LoadBlock(layer));
    REGROUP_RETURN_IF_ERROR(pass.Advance(block, layer, *current, next.get()));
    current = next;
    context.link.SetProgress("layers", layer + 1, last);
  }
  std::error_code error;
  fs::remove(between, error);
  for (const int64_t layer : borders) {
    if (layer <= last) REGROUP_RETURN_IF_ERROR(SyncPath(border(layer)));
  }
  return absl::OkStatus();
}

void MakeRoomForStreams(const fs::path& root, int64_t needed_bytes, int64_t most_bytes) {
  struct Folder {
    fs::file_time_type used;
    fs::path path;
    int64_t bytes = 0;
  };
  std::vector<Folder> folders;
  std::error_code error;
  for (const fs::path& entry : EntriesOf(root).value_or(std::vector<fs::path>())) {
    folders.push_back({fs::last_write_time(entry, error), entry, BytesIn(entry)});
  }
  std::sort(folders.begin(), folders.end(), [](const Folder& a, const Folder& b) { return a.used < b.used; });
  int64_t all = needed_bytes;
  for (const Folder& folder : folders) all += folder.bytes;
  for (const Folder& folder : folders) {
    if (all <= most_bytes) return;
    LogInfo("removing recorded streams that were not used for the longest time", {{"folder", folder.path.string()}});
    fs::remove_all(folder.path, error);
    all -= folder.bytes;
  }
}

}  // namespace regroup
