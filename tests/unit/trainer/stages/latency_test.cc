#include "trainer/stages/latency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "tests/unit/trainer/stages/stage_fixture.h"

namespace regroup {
namespace {

class LatencyTest : public StageFixture {
 protected:
  v1::Evaluation::Latency& settings() { return *assignment_.mutable_spec()->mutable_evaluation()->mutable_latency(); }
};

TEST_F(LatencyTest, DescribesEveryCombinationWithBothModelsAndTheBound) {
  for (const int batch : {1, 3}) settings().add_batch_sizes(batch);
  for (const int context : {4, 9}) settings().add_context_lengths(context);
  settings().set_new_tokens(5);
  StageContext context = Context();
  const auto random = [](int64_t kv_heads, uint64_t seed) {
    return [=]() -> absl::StatusOr<Model> { return RandomModel(SmallConfig(kv_heads), false, seed); };
  };
  const auto latency = *MeasureLatency(
      context,
      {.source = random(4, 1), .result = random(2, 2), .averaged = random(2, 3), .result_config = SmallConfig(2)});
  EXPECT_EQ(latency["device"], "cpu");
  EXPECT_EQ(latency["dtype"], "float32");
  EXPECT_EQ(latency["attention"], "folded matmul");
  ASSERT_EQ(latency["grid"].size(), 4u);
  const auto& cell = latency["grid"][3];
  EXPECT_EQ(cell["batch"], 3);
  EXPECT_EQ(cell["context"], 9);
  EXPECT_EQ(cell["source"]["kv_bytes"], 96 * 4 * 9 * 3);
  EXPECT_EQ(cell["result"]["kv_bytes"], 96 * 2 * 9 * 3);
  EXPECT_EQ(cell["result"]["kv_bytes"], cell["result"]["kv_bytes_computed"]);
  const double bytes = cell["source"]["step_bytes"].get<double>();
  EXPECT_DOUBLE_EQ(cell["speed_up_bound"], bytes / cell["result"]["step_bytes"].get<double>());
  EXPECT_NEAR(cell["source"]["bound_milliseconds_per_token"].get<double>(),
              bytes / cell["read_bytes_per_second"].get<double>() * 1e3, 1e-9);
  EXPECT_NEAR(
      cell["speed_up"].get<double>(),
      cell["source"]["milliseconds_per_token"].get<double>() / cell["result"]["milliseconds_per_token"].get<double>(),
      1e-9);
}

TEST_F(LatencyTest, ShowsThatAlignmentAddsNoByteToAStep) {
  settings().add_batch_sizes(1);
  settings().add_context_lengths(4);
  settings().set_new_tokens(2);
  StageContext context = Context();
  const auto random = [](int64_t kv_heads, uint64_t seed) {
    return [=]() -> absl::StatusOr<Model> { return RandomModel(SmallConfig(kv_heads), false, seed); };
  };
  const auto latency = *MeasureLatency(
      context,
      {.source = random(4, 1), .result = random(2, 2), .averaged = random(2, 3), .result_config = SmallConfig(2)});
  const auto& overhead = latency["alignment_overhead"];
  EXPECT_EQ(overhead["result_step_bytes"], overhead["averaged_step_bytes"]);
  EXPECT_GT(overhead["averaged_milliseconds_per_token"].get<double>(), 0);
}

TEST_F(LatencyTest, RefusesContextsThatTheModelHasNoPositionsFor) {
  settings().add_context_lengths(30);
  settings().set_new_tokens(2);
  EXPECT_TRUE(CheckLatency(settings(), SmallConfig(4)).ok());
  settings().set_new_tokens(3);
  const absl::Status status = CheckLatency(settings(), SmallConfig(4));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr("context_lengths"), testing::HasSubstr("at most 29")));
}

}  // namespace
}  // namespace regroup
