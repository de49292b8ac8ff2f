// Marian (OPUS-MT): BART with computed positions and without a norm of the embedding.
#include "trainer/families/bart_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadBartConfig(reader, "marian", {.decoder_start_token = 58100});
  ReadSinusoidalPositions(reader, config, static_cast<double>(config.hidden_size) / 2.0);
  config.layout = BlockLayout::kNormOnSum;
  config.final_norm = false;
  reader.Require("share_encoder_decoder_embeddings", true);
  return Finish(reader, std::move(config));
}

}  // namespace

Family MarianFamily() {
  return {.models = "OPUS-MT",
          .read_config = ReadConfig,
          .names = BartNames({}),
          .architecture = "MarianMTModel",
          .computed_positions = BartPositions(),
          .embedding_copies = BartEmbeddingCopies(),
          .copies_where_untied = true,
          .standard_gqa = false};
}

}  // namespace regroup
