#include "services/cli/json_text.h"

#include <gtest/gtest.h>

#include "regroup/v1/job.pb.h"

namespace regroup {
namespace {

TEST(JsonText, KeepsTheContractsOwnFieldNames) {
  v1::JobSpec spec;
  spec.mutable_target()->set_kv_heads(2);
  EXPECT_EQ(JsonOf(spec, false), "{\"target\":{\"kv_heads\":2}}\n");
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
