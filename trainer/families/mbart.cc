// mBART: BART with norms before attention and feed-forward, and after the last layer.
#include "trainer/families/bart_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadBartConfig(reader, "mbart", {.decoder_start_token = 2});
  ReadBartPositions(config);
  return Finish(reader, std::move(config));
}

}  // namespace

Family MbartFamily() {
  return {.models = "mBART",
          .read_config = ReadConfig,
          .names = BartNames({.learned_positions = true, .embedding_norm = true, .final_norm = true}),
          .architecture = "MBartForConditionalGeneration",
          .embedding_copies = BartEmbeddingCopies(),
          .copies_where_untied = true,
          .standard_gqa = false};
}

}  // namespace regroup
