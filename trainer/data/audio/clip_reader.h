// Reads an audio file of a job's data: WAV with one channel at 16 kHz.
//
// Any thread may call. A file is opened by the rules of InputFile, read as a whole, and decoded by libsndfile from
// memory; file and decoded samples together take at most 24 MiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

/// Samples of a second in every model's clips.
inline constexpr int64_t kSampleRate = 16000;

/// The largest file: 30 s of samples that are 8 bytes wide take 4 MB, and the rest is room for chunks that are not
/// audio.
inline constexpr uint64_t kMostClipBytes = uint64_t{16} << 20;

/// Returns the samples, from -1 to 1 unless a file with floating-point samples exceeds them. INVALID_ARGUMENT names the
/// file, `name`, for one of another format, rate or number of channels, one that is empty,
/// longer than `most_samples` or damaged, and for samples that are not finite.
absl::StatusOr<std::vector<float>> DecodeClip(std::string_view content, std::string_view name, int64_t most_samples);

/// Does so for a file of a job, with the errors of InputFile.
absl::StatusOr<std::vector<float>> ReadClip(const std::filesystem::path& path, int64_t most_samples);

}  // namespace regroup
