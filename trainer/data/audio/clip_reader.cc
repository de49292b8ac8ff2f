#include "trainer/data/audio/clip_reader.h"

#include <fmt/format.h>
#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// A file in memory, as libsndfile reads it.
struct MemoryFile {
  std::string_view content;
  sf_count_t position = 0;

  static MemoryFile& Of(void* user) { return *static_cast<MemoryFile*>(user); }

  static sf_count_t Length(void* user) { return static_cast<sf_count_t>(Of(user).content.size()); }
  static sf_count_t Tell(void* user) { return Of(user).position; }
  static sf_count_t Write(const void*, sf_count_t, void*) { return 0; }

  static sf_count_t Seek(sf_count_t offset, int whence, void* user) {
    MemoryFile& file = Of(user);
    const sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file.position : Length(user);
    if (offset < -from || offset > Length(user) - from) return -1;
    return file.position = from + offset;
  }

  static sf_count_t Read(void* buffer, sf_count_t count, void* user) {
    MemoryFile& file = Of(user);
    count = std::clamp<sf_count_t>(count, 0, Length(user) - file.position);
    std::memcpy(buffer, file.content.data() + file.position, static_cast<size_t>(count));
    file.position += count;
    return count;
  }
};

absl::Status Refused(std::string_view name, std::string_view why) {
  return absl::InvalidArgumentError(fmt::format("{}: {}", name, why));
}

/// Returns true for the formats whose decoders this service lets a job's files reach.
bool IsPlainWav(int format) {
  const int container = format & SF_FORMAT_TYPEMASK, samples = format & SF_FORMAT_SUBMASK;
  const bool is_wav = container == SF_FORMAT_WAV || container == SF_FORMAT_WAVEX;
  constexpr int kSamples[] = {SF_FORMAT_PCM_U8, SF_FORMAT_PCM_16, SF_FORMAT_PCM_24,
                              SF_FORMAT_PCM_32, SF_FORMAT_FLOAT,  SF_FORMAT_DOUBLE};
  return is_wav && std::find(std::begin(kSamples), std::end(kSamples), samples) != std::end(kSamples);
}

absl::Status CheckClip(std::string_view name, const SF_INFO& info, int64_t most_samples) {
  if (!IsPlainWav(info.format)) {
    return Refused(name, "must be a WAV file whose samples are integers or floating-point numbers");
  }
  if (info.channels != 1) {
    return Refused(name, fmt::format("has {} channels, but a clip has one; mix them", info.channels));
  }
  if (info.samplerate != kSampleRate) {
    return Refused(name, fmt::format("has {} samples a second, but the model reads {}; convert the file",
                                     info.samplerate, kSampleRate));
  }
  if (info.frames <= 0) return Refused(name, "has no samples");
  if (info.frames <= most_samples) return absl::OkStatus();
  return Refused(name, fmt::format("lasts {:.2f} s, but a clip at most {:.2f} s; cut the file",
                                   static_cast<double>(info.frames) / kSampleRate,
                                   static_cast<double>(most_samples) / kSampleRate));
}

}  // namespace

absl::StatusOr<std::vector<float>> DecodeClip(std::string_view content, std::string_view name, int64_t most_samples) {
  // The signature comes first, so that libsndfile need not find out what else the file may be.
  if (!content.starts_with("RIFF") || content.size() < 12 || content.compare(8, 4, "WAVE") != 0) {
    return Refused(name, "is not a WAV file");
  }
  MemoryFile memory{content};
  SF_VIRTUAL_IO access{MemoryFile::Length, MemoryFile::Seek, MemoryFile::Read, MemoryFile::Write, MemoryFile::Tell};
  SF_INFO info = {};
  const std::unique_ptr<SNDFILE, decltype(&sf_close)> file(sf_open_virtual(&access, SFM_READ, &info, &memory),
                                                           &sf_close);
  if (file == nullptr) return Refused(name, fmt::format("is damaged: {}", sf_strerror(nullptr)));
  REGROUP_RETURN_IF_ERROR(CheckClip(name, info, most_samples));
  std::vector<float> samples(static_cast<size_t>(info.frames));
  if (sf_readf_float(file.get(), samples.data(), info.frames) != info.frames) {
    return Refused(name, "is damaged: it ends before its last sample");
  }
  if (std::all_of(samples.begin(), samples.end(), [](float sample) { return std::isfinite(sample); })) return samples;
  return Refused(name, "has samples that are not finite numbers");
}

absl::StatusOr<std::vector<float>> ReadClip(const std::filesystem::path& path, int64_t most_samples) {
  REGROUP_ASSIGN_OR_RETURN(const std::string content, ReadInput(path, kMostClipBytes));
  return DecodeClip(content, path.string(), most_samples);
}

}  // namespace regroup
