// PEGASUS: BART with computed positions, and norms before attention and feed-forward and after the last layer.
#include "trainer/families/bart_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadBartConfig(reader, "pegasus", {});
  ReadSinusoidalPositions(reader, config, static_cast<double>(config.hidden_size) / 2.0);
  return Finish(reader, std::move(config));
}

}  // namespace

Family PegasusFamily() {
  return {.models = "PEGASUS",
          .read_config = ReadConfig,
          .names = BartNames({.final_norm = true}),
          .architecture = "PegasusForConditionalGeneration",
          .computed_positions = BartPositions(),
          .embedding_copies = BartEmbeddingCopies(),
          .copies_where_untied = true,
          .standard_gqa = false};
}

}  // namespace regroup
