// Whisper: BART with norms before attention and feed-forward and after the last layer, keys without bias, and an
// encoder that reads a spectrogram.
#include <fmt/format.h>

#include "trainer/families/bart_layout.h"

namespace regroup {
namespace {

/// Larger spectrograms than any model reads, whose lengths could overflow.
constexpr int64_t kMostMelBins = 1024, kMostEncoderPositions = 1 << 20;

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadBartConfig(
      reader, "whisper", {.decoder_start_token = 50257, .positions_key = "max_target_positions", .positions = 448});
  // The class has this key and does not use it.
  config.embedding_scale = 1;
  // Another name of the number of heads in the class.
  reader.Require("num_key_value_heads", config.heads);
  const int64_t mel_bins = reader.IntegerOr("num_mel_bins", 80);
  const int64_t positions = reader.IntegerOr("max_source_positions", 1500);
  if (mel_bins > kMostMelBins || positions > kMostEncoderPositions) {
    reader.Fail(fmt::format("'num_mel_bins' {} and 'max_source_positions' {} are more than any model has", mel_bins,
                            positions));
    return reader.status();
  }
  config.max_positions /= 2;
  config.learned_positions = config.max_positions;
  config.spectrogram = {.mel_bins = mel_bins, .frames = 2 * positions};
  return Finish(reader, std::move(config));
}

std::vector<NameRule> Names() {
  std::vector<NameRule> rules = BartNames({.learned_positions = true,
                                           .final_norm = true,
                                           .logits_bias = false,
                                           .key_bias = false,
                                           .embedding = "model.decoder.embed_tokens.weight",
                                           .head = "proj_out.weight"});
  const std::vector<NameRule> convolutions = NameRules()
                                                 .Linear("first_convolution", "model.encoder.conv1")
                                                 .Linear("second_convolution", "model.encoder.conv2")
                                                 .rules();
  rules.insert(rules.end(), convolutions.begin(), convolutions.end());
  return rules;
}

}  // namespace

Family WhisperFamily() {
  return {.models = "Whisper",
          .read_config = ReadConfig,
          .names = Names(),
          .architecture = "WhisperForConditionalGeneration",
          .standard_gqa = false};
}

}  // namespace regroup
