#include "trainer/model_folder/spectrogram_settings.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/input_file.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr char kFile[] = "preprocessor_config.json";
constexpr int64_t kRate = 16000, kHop = 160, kWindow = 400;

}  // namespace

absl::Status CheckSpectrogramSettings(const std::filesystem::path& folder, const ModelConfig& config) {
  if (!config.ReadsAudio()) return absl::OkStatus();
  const std::filesystem::path path = folder / kFile;
  const absl::StatusOr<std::string> text = ReadInput(path);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  REGROUP_RETURN_IF_ERROR(text.status());
  const auto written = ParseJsonObject(*text);
  if (!written.ok()) {
    return absl::InvalidArgumentError(fmt::format("{} {}", path.string(), std::string(written.status().message())));
  }
  const nlohmann::json supported = {{"feature_size", config.spectrogram.mel_bins},
                                    {"sampling_rate", kRate},
                                    {"hop_length", kHop},
                                    {"n_fft", kWindow},
                                    {"dither", 0.0},
                                    {"do_normalize", false}};
  for (const auto& [key, value] : supported.items()) {
    const auto found = written->find(key);
    if (found == written->end() || *found == value) continue;
    return absl::InvalidArgumentError(
        fmt::format("{}: '{}' is {}, but only {} is supported", path.string(), key, found->dump(), value.dump()));
  }
  const auto seconds = written->find("chunk_length");
  if (seconds == written->end() ||
      (seconds->is_number() &&
       seconds->get<double>() * kRate == static_cast<double>(config.spectrogram.frames * kHop))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: 'chunk_length' is {}, but 'max_source_positions' of config.json are {} s of audio",
                  path.string(), seconds->dump(), static_cast<double>(config.spectrogram.frames * kHop) / kRate));
}

}  // namespace regroup
