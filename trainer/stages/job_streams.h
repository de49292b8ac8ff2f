// The recorded residual streams of the source, which layerwise tasks start from.
//
// They are in `streams/<key>` of the working folder, where the key is derived from the source, the text and the
// borders, so that jobs share them. A folder appears by one rename. Streams are a cache: a task whose streams were
// removed computes them again, with the same bits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/token_windows.h"
#include "trainer/layerwise/residual_streams.h"
#include "trainer/layerwise/source_pass.h"
#include "trainer/stages/shared_folder.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Returns the text of layerwise distillation. All ranks must call it together.
absl::StatusOr<TokenWindows> ReadLayerwiseText(StageContext& context, const SourceModel& source);

/// Returns the pass through the source in the precision of layerwise distillation.
absl::StatusOr<SourcePass> MakeSourcePass(StageContext& context, const SourceModel& source, bool with_embeddings);

/// The content of artifacts::kStreamsPointer.
struct RecordedStreams {
  SharedFolder shared;
  int64_t windows = 0;
  /// Number of files at each border.
  int64_t ranks = 1;
};

std::string StreamsKey(const StageContext& context, const TokenWindows& text);
/// Returns the name of one rank's file at the border before `layer`.
std::string StreamFile(int64_t layer, int64_t rank, int64_t ranks);

/// Returns the first layer of every block.
std::vector<int64_t> BlockBorders(const StageContext& context);

absl::Status WriteStreamsPointer(const StageContext& context, const RecordedStreams& recorded);
absl::StatusOr<RecordedStreams> ReadStreamsPointer(const StageContext& context);

/// Carries the given windows of the text through the source and writes their streams at each border up to `last` into
/// `folder`, as the files of this rank. INTERNAL if `borders` does not contain `last`.
absl::Status RecordStreams(StageContext& context, const SourcePass& pass, const TokenWindows& text,
                           const std::vector<int64_t>& windows, const std::vector<int64_t>& borders, int64_t last,
                           const std::filesystem::path& folder, int64_t rank, int64_t ranks);

/// Streams of all jobs may take this much disk.
inline constexpr int64_t kMostStreamBytes = int64_t{64} << 30;

/// Removes the streams that were not used for the longest time, until those in `root` and `needed_bytes` together take
/// at most `most_bytes`.
void MakeRoomForStreams(const std::filesystem::path& root, int64_t needed_bytes, int64_t most_bytes = kMostStreamBytes);

}  // namespace regroup
