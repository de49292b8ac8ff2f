#include "coordinator/core/coordinator_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Time kChangeTime{std::chrono::seconds(1000)};

/// A job whose layers are trained one by one, two a task.
class CoordinatorMetricsTest : public ::testing::Test {
 protected:
  CoordinatorMetricsTest() : job_(MakeJob("small-1", DistillingSpec())) {
    EXPECT_TRUE(Change("inspect", InspectSuccess(SmallModel(4))));
    for (const char* task : {"calibrate", "record", "align-000", "align-001", "align-002", "align-003"}) {
      EXPECT_TRUE(Change(task, Success())) << task;
    }
  }

  static v1::JobSpec DistillingSpec() {
    v1::JobSpec spec = SmallSpec();
    spec.mutable_layerwise()->set_method("distill");
    spec.mutable_layerwise()->set_layers_per_task(2);
    return spec;
  }

  void Start(const std::string& task) {
    const Job before = job_;
    job_.Start(job_.FindTask(task).value(), "w1", kChangeTime);
    metrics_.ObserveChange(before, job_);
  }

  void Finish(const std::string& task, const v1::TaskOutcome& outcome) {
    const Job before = job_;
    job_.Finish(job_.FindTask(task).value(), outcome, Reached{}, kChangeTime);
    metrics_.ObserveChange(before, job_);
  }

  bool Change(const std::string& task, const v1::TaskOutcome& outcome) {
    Start(task);
    Finish(task, outcome);
    return job_.task(job_.FindTask(task).value()).state() == v1::TASK_STATE_SUCCEEDED;
  }

  void Push(const std::string& task, const std::string& metric, int64_t step, double value) {
    v1::MetricPoint point;
    point.set_task(task);
    point.set_metric(metric);
    point.set_step(step);
    point.set_value(value);
    point.mutable_time()->set_seconds(990);
    metrics_.ObservePoint(job_, point);
  }

  std::string Page() { return metrics_.metrics().Text(); }

  Job job_;
  CoordinatorMetrics metrics_;
};

TEST_F(CoordinatorMetricsTest, ShowTheLayerInTrainingAndItsLoss) {
  Start("layerwise-002");
  Push("layerwise-002", "layer", 17, 3);
  Push("layerwise-002", "layer_loss", 17, 0.25);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("regroup_job_layer{job_id=\"small-1\",task=\"layerwise-002\"} 3\n"));
  EXPECT_THAT(page, HasSubstr("regroup_job_layer_loss{job_id=\"small-1\",task=\"layerwise-002\"} 0.25\n"));
  EXPECT_THAT(page, HasSubstr("regroup_job_step{job_id=\"small-1\",task=\"layerwise-002\"} 17\n"));
}

TEST_F(CoordinatorMetricsTest, ShowWhenTrainingFirstStartedUntilItEnds) {
  for (const char* task : {"layerwise-000", "layerwise-002"}) EXPECT_TRUE(Change(task, Success())) << task;
  Start("finetune");
  Push("finetune", "useful_seconds", 4, 12.5);
  const std::string labels = "{job_id=\"small-1\",task=\"finetune\"} ";
  EXPECT_THAT(Page(), HasSubstr("regroup_job_useful_seconds" + labels + "12.5\n"));
  EXPECT_THAT(Page(), HasSubstr("regroup_job_training_start_timestamp_seconds" + labels + "1000\n"));
  Finish("finetune", Success());
  EXPECT_THAT(Page(), Not(HasSubstr("regroup_job_training_start_timestamp_seconds{")));
}

TEST_F(CoordinatorMetricsTest, TheErrorsOfALayerHaveItsIndexAndAreNoStep) {
  Start("layerwise-002");
  Push("layerwise-002", "layer_error_before", 3, 0.5);
  Push("layerwise-002", "layer_error_after", 3, 0.125);
  const std::string page = Page();
  const std::string labels = "{job_id=\"small-1\",layer=\"3\",task=\"layerwise-002\",when=";
  EXPECT_THAT(page, HasSubstr("regroup_job_layer_error" + labels + "\"before\"} 0.5\n"));
  EXPECT_THAT(page, HasSubstr("regroup_job_layer_error" + labels + "\"after\"} 0.125\n"));
  EXPECT_THAT(page, Not(HasSubstr("regroup_job_step{")));
  EXPECT_THAT(page, Not(HasSubstr("regroup_job_step_timestamp_seconds{")));
}

TEST_F(CoordinatorMetricsTest, LayersThatTheModelDoesNotHaveAddNoSeries) {
  Start("layerwise-002");
  for (const int64_t layer : {int64_t{-1}, int64_t{job_.proto().model().layers()}, int64_t{1} << 40}) {
    Push("layerwise-002", "layer_error_after", layer, 0.5);
  }
  EXPECT_THAT(Page(), Not(HasSubstr("regroup_job_layer_error{")));
}

TEST_F(CoordinatorMetricsTest, ATaskThatHasEndedHasNoTimeOfItsLastStep) {
  Start("layerwise-000");
  Start("layerwise-002");
  for (const char* task : {"layerwise-000", "layerwise-002"}) Push(task, "layer_loss", 8, 0.25);
  Finish("layerwise-000", Success());
  // The last points of a task arrive after its end.
  Push("layerwise-000", "layer_loss", 9, 0.125);
  Push("layerwise-000", "layer_error_after", 1, 0.5);
  const std::string page = Page();
  const std::string time = "regroup_job_step_timestamp_seconds{job_id=\"small-1\",task=";
  EXPECT_THAT(page, Not(HasSubstr(time + "\"layerwise-000\"}")));
  EXPECT_THAT(page, HasSubstr(time + "\"layerwise-002\"} 990\n"));
  EXPECT_THAT(page, HasSubstr("regroup_job_layer_loss{job_id=\"small-1\",task=\"layerwise-000\"} 0.125\n"));
  EXPECT_THAT(page, HasSubstr("layer=\"1\""));
}

TEST_F(CoordinatorMetricsTest, ATaskThatStartsAgainKeepsTheTimeOfItsLastStep) {
  Start("layerwise-000");
  Push("layerwise-000", "layer_loss", 8, 0.25);
  const Job before = job_;
  job_.Move(job_.FindTask("layerwise-000").value(), "its machine is slow", kChangeTime);
  metrics_.ObserveChange(before, job_);
  EXPECT_THAT(Page(), HasSubstr("regroup_job_step_timestamp_seconds{job_id=\"small-1\",task=\"layerwise-000\"} 990\n"));
}

TEST_F(CoordinatorMetricsTest, TheGaugesOfAJobEndWithIt) {
  Start("layerwise-000");
  Push("layerwise-000", "layer_loss", 8, 0.25);
  Push("layerwise-000", "layer_error_after", 0, 0.5);
  Finish("layerwise-000", FailureOf(v1::FAILURE_CLASS_DATA));
  ASSERT_TRUE(job_.IsFinal());
  EXPECT_THAT(Page(), Not(HasSubstr("small-1")));
}

}  // namespace
}  // namespace regroup
