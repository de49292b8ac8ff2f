#include "services/cli/json_text.h"

#include <gtest/gtest.h>

#include "regroup/v1/job.pb.h"
#include "regroup/v1/plan.pb.h"

namespace regroup {
namespace {

TEST(JsonText, KeepsTheContractsOwnFieldNames) {
  v1::JobSpec spec;
  spec.mutable_target()->set_kv_heads(2);
  EXPECT_EQ(JsonOf(spec, false), "{\"target\":{\"kv_heads\":2}}\n");
}

TEST(JsonText, PrintsEveryKeyButUnsetOnesWhereAllAreWanted) {
  v1::JobPlan plan;
  plan.mutable_memory_bytes()->set_evaluate(6738415616);
  plan.set_fits(false);
  const auto json = nlohmann::json::parse(JsonOf(plan, true, true));
  EXPECT_EQ(json.at("memory_bytes"), (nlohmann::json{{"evaluate", 6738415616}}));
  EXPECT_EQ(json.at("fits"), false);
  EXPECT_EQ(json.at("notes"), nlohmann::json::array());
  EXPECT_EQ(json.at("storage_bytes"), 0);
  EXPECT_FALSE(json.contains("seconds"));
}

TEST(ReadableText, PutsKeysAndValuesBelowOneAnother) {
  EXPECT_EQ(ReadableText({{"family", "llama"}, {"kv_heads", 8}, {"convertible", true}}),
            "convertible  yes\nfamily       llama\nkv heads     8\n");
}

TEST(ReadableText, ShowsListsOfObjectsAsTables) {
  const nlohmann::json rows = {{{"name", "llama"}, {"heads", 8}}, {{"name", "opt"}, {"heads", 12}}};
  EXPECT_EQ(ReadableText(rows), "heads  name\n    8  llama\n   12  opt\n");
}

TEST(ReadableText, IndentsWhatLiesInside) {
  EXPECT_EQ(ReadableText({{"rope", {{"theta", 10000.5}}}, {"shards", {"a", "b"}}}),
            "rope\n  theta  10000\nshards  a, b\n");
}

TEST(ReadableText, ShowsListsOfWordsOneALine) { EXPECT_EQ(ReadableText({"llama", "opt"}), "llama\nopt\n"); }

}  // namespace
}  // namespace regroup
