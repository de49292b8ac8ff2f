// M2M-100 and NLLB: BART with computed positions, and norms before attention and feed-forward and after the last layer.
#include "trainer/families/bart_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config =
      ReadBartConfig(reader, "m2m_100", {.activation = "relu", .scales_embedding = true, .decoder_start_token = 2});
  ReadSinusoidalPositions(reader, config, static_cast<double>(config.hidden_size) / 2.0 - 1.0);
  // Positions are counted from the one after that of the padding token.
  config.position_offset = reader.IndexOr("pad_token_id", 1) + 1;
  return Finish(reader, std::move(config));
}

}  // namespace

Family M2m100Family() {
  return {.models = "M2M-100, NLLB",
          .read_config = ReadConfig,
          .names = BartNames({.final_norm = true, .logits_bias = false}),
          .architecture = "M2M100ForConditionalGeneration",
          .embedding_copies = BartEmbeddingCopies(),
          .copies_where_untied = true,
          .standard_gqa = false};
}

}  // namespace regroup
