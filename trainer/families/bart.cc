// BART: an encoder-decoder with learned positions and norms on the sums of stream and branches.
#include "trainer/families/bart_layout.h"

namespace regroup {
namespace {

absl::StatusOr<ModelConfig> ReadConfig(const nlohmann::json& json) {
  ConfigReader reader(json);
  ModelConfig config = ReadBartConfig(reader, "bart", {.scale_may_be_null = true, .decoder_start_token = 2});
  ReadBartPositions(config);
  config.layout = BlockLayout::kNormOnSum;
  config.final_norm = false;
  return Finish(reader, std::move(config));
}

}  // namespace

Family BartFamily() {
  return {.models = "BART",
          .read_config = ReadConfig,
          .names = BartNames({.learned_positions = true, .embedding_norm = true}),
          .architecture = "BartForConditionalGeneration",
          .embedding_copies = BartEmbeddingCopies(),
          .copies_where_untied = true,
          .standard_gqa = false};
}

}  // namespace regroup
