#include "trainer/report/summary.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

Json Subject(int heads, double perplexity) {
  return {{"kv_heads", heads}, {"kv_bytes_per_token", 512 * heads}, {"perplexity", perplexity}};
}

Json Cell(int batch, double speed_up, double bound) {
  return {{"batch", batch}, {"context", 2048}, {"speed_up", speed_up}, {"speed_up_bound", bound}};
}

TEST(SummaryTest, IsOneSentenceAndFourFigures) {
  Json report = {{"name", "llama"}, {"source", Subject(8, 10.0)}, {"result", Subject(2, 11.5)}};
  report["result"]["latency"] = {{"grid", {Cell(1, 9.75, 1.5), Cell(8, 2.25, 3.0)}}};
  report["result"]["agreement"] = {{"positions", 5000}, {"mean_kl", 0.125}, {"same_top_token", 0.815}};
  const Json summary = SummariseReport(report);
  EXPECT_EQ(summary["sentence"],
            "llama keeps 2 of 8 KV heads: its KV cache is 4.0 times smaller, it decodes 2.25 times as fast (batch 8, "
            "context 2048), and its perplexity is 11.50 where the source's is 10 (+15.0 %).");
  ASSERT_EQ(summary["figures"].size(), 4u);
  EXPECT_EQ(summary["figures"][0]["value"], "4.0 times smaller");
  EXPECT_EQ(summary["figures"][1]["value"], "11.50");
  EXPECT_EQ(summary["figures"][2]["detail"], "batch 8, context 2048; memory allows 3.00");
  EXPECT_EQ(summary["figures"][3]["value"], "81.5 %");
}

TEST(SummaryTest, SaysOnlyWhatWasMeasured) {
  Json report = {{"name", "llama"},
                 {"source", {{"kv_heads", 8}, {"kv_bytes_per_token", 4096}}},
                 {"result", {{"kv_heads", 8}, {"kv_bytes_per_token", 4096}, {"perplexity", nullptr}}}};
  const Json summary = SummariseReport(report);
  EXPECT_EQ(summary["sentence"], "llama keeps 8 of 8 KV heads.");
  EXPECT_EQ(summary["figures"].size(), 1u);
}

TEST(SummaryTest, OfASweepNamesTheBestCombination) {
  Json report = {{"name", "study"}, {"source", Subject(8, 10.0)}};
  report["rows"] = {{{"kv_heads", 4}, {"alignment", "none"}, {"finetune", "none"}, {"result", Subject(4, 15.0)}},
                    {{"kv_heads", 4}, {"alignment", "principal"}, {"finetune", "l0"}, {"result", Subject(4, 11.0)}},
                    {{"kv_heads", 2}, {"alignment", "principal"}, {"finetune", "l0"}, {"result", Subject(2, 12.0)}}};
  EXPECT_EQ(SummariseReport(report)["sentence"],
            "study compares 3 combinations; 4 heads, principal + l0 has the lowest perplexity, 11 where the source's "
            "is 10 (+10.0 %).");
}

}  // namespace
}  // namespace regroup
