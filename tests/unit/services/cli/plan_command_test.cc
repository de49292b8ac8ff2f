#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "google/protobuf/util/json_util.h"
#include "services/cli/commands.h"
#include "services/cli/text_table.h"

namespace regroup {
namespace {

v1::JobPlan SomePlan() {
  v1::JobPlan plan;
  const auto read = google::protobuf::util::JsonStringToMessage(R"({
    "model": {"family": "llama", "layers": 32, "heads": 32, "kv_heads": 32, "head_width": 128, "parameters": 6738415616,
              "dtype": "float16"},
    "result_kv_heads": [4], "result_parameters": 5798891520,
    "kv_bytes_per_token": {"source": 524288, "result": 65536},
    "tokens": {"calibration": 262144, "training": 4534042624, "evaluation": 300000},
    "flops": 2.4e20, "memory_bytes": {"finetune": 1.2e11, "evaluate": 5e10}, "memory_bytes_per_rank": 1.2e11,
    "machine_memory_bytes": 2.5e10, "fits": false, "storage_bytes": 1.6e11, "flops_per_second": 4e14,
    "rate_is_measured": false, "threads": 2, "device_name": "x", "ranks": 8, "seconds": 75000,
    "notes": [],
    "machine_notes": ["the largest rank needs more than the 23.3 GiB of this machine; train with more ranks or in bfloat16"]})",
                                                                &plan);
  EXPECT_TRUE(read.ok()) << read;
  return plan;
}

TEST(PlanTextTest, SaysWhatTheJobNeedsAndSaves) {
  const std::string text = PlanText(SomePlan(), 80);
  for (const char* shown : {"6.7G become 5.8G", "512.0 KiB become 64.0 KiB: 87.5 % saved", "4.5G to train", "240E",
                            "DOES NOT FIT", "111.8 GiB for finetune", "20:50:00 on 8 rank(s)", "as stated", "note:"}) {
    EXPECT_THAT(text, testing::HasSubstr(shown));
  }
}

TEST(PlanTextTest, FitsEightyColumns) {
  std::istringstream lines(PlanText(SomePlan(), 80));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 80u) << line;
}

TEST(PlanTextTest, SaysWhatLayerwiseDistillationNeeds) {
  v1::JobPlan plan = SomePlan();
  EXPECT_THAT(PlanText(plan, 80), testing::Not(testing::ContainsRegex("layer(wise|$)|streams")));
  plan.mutable_tokens()->set_layerwise(2'097'152);
  plan.mutable_memory_bytes()->set_layerwise(3e9);
  plan.set_stream_bytes(8.6e9);
  const std::string text = PlanText(plan, 80);
  for (const char* shown : {"                      2.1M to distill each layer\n", "2.8 GiB for layerwise\n",
                            "149.0 GiB, of which 8.0 GiB for the streams of layerwise\n"}) {
    EXPECT_THAT(text, testing::HasSubstr(shown));
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 80u) << line;
}

TEST(PlanTextTest, SaysWhatEachGpuHoldsAndWhatFits) {
  v1::JobPlan plan = SomePlan();
  plan.set_serving_context_length(4096);
  const auto add = [&plan](int gpus, double source, double result, double before, double after) {
    v1::JobPlan::Serving& row = *plan.add_serving();
    row.set_gpus(gpus);
    for (v1::JobPlan::ServedModel* const served : {row.mutable_source(), row.mutable_result()}) {
      served->set_can_be_split(true);
      served->set_longest_context(4096);
    }
    row.mutable_source()->set_kv_bytes_per_token(source);
    row.mutable_result()->set_kv_bytes_per_token(result);
    row.mutable_source()->set_requests(before);
    row.mutable_result()->set_requests(after);
  };
  add(1, 524'288, 65'536, 29, 1244);
  add(8, 65'536, 65'536, 500, 500);
  plan.mutable_serving(0)->mutable_source()->set_longest_context(2000);
  v1::JobPlan::Serving& split = *plan.add_serving();
  split.set_gpus(16);
  split.mutable_source()->set_can_be_split(true);
  const std::string text = PlanText(plan, 80);
  for (const char* shown :
       {"    each of 8 GPUs    64.0 KiB become 64.0 KiB: nothing saved\n",
        "    each of 16 GPUs   the result's KV heads cannot be distributed\n",
        "  fit 1 GPU           29 become 1,244 requests of 4,096 tokens at once,\n",
        "                      the longest 2,000 become 4,096\n", "  fit 8 GPUs          500 become 500"}) {
    EXPECT_THAT(text, testing::HasSubstr(shown));
  }
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("each of 1 GPU")));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 80u) << line;
}

TEST(PlanTextTest, LeavesOutWhatACoordinatorDoesNotTell) {
  v1::JobPlan plan = SomePlan();
  plan.clear_machine_memory_bytes();
  plan.clear_seconds();
  plan.mutable_memory_bytes()->clear_finetune();
  const std::string text = PlanText(plan, 80);
  for (const char* missing : {"fits into", "FIT into", "finetune", "rank(s)"}) {
    EXPECT_THAT(text, testing::Not(testing::HasSubstr(missing)));
  }
}

TEST(PlanOf, ReadsTheFiguresOfACoordinatorThatSendsNoPlan) {
  v1::PlanJobResponse answer;
  answer.mutable_model()->set_family("llama");
  answer.mutable_model()->set_parameters(6738415616);
  answer.set_source_kv_bytes_per_token(524288);
  answer.set_result_kv_bytes_per_token(65536);
  answer.set_training_tokens(4534042624);
  answer.set_memory_bytes_per_rank(8589934592);
  answer.add_warnings("an estimate");
  const v1::JobPlan plan = PlanOf(answer);
  EXPECT_EQ(plan.model().family(), "llama");
  EXPECT_EQ(plan.model().parameters(), 6738415616.0);
  EXPECT_EQ(plan.kv_bytes_per_token().result(), 65536);
  EXPECT_EQ(plan.tokens().training(), 4534042624.0);
  EXPECT_EQ(plan.notes(0), "an estimate");
  EXPECT_THAT(PlanText(plan, 80), testing::HasSubstr("8.0 GiB"));
  answer.mutable_plan()->mutable_model()->set_family("newer");
  EXPECT_EQ(PlanOf(answer).model().family(), "newer");
}

}  // namespace
}  // namespace regroup
