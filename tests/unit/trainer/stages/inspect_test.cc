#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "services/common/job_file/resolve_job_spec.h"
#include "tests/unit/trainer/stages/stage_fixture.h"

namespace regroup {
namespace {

constexpr char kTokenizer[] = R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
  "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "</s>": 2}, "merges": []}})";

class InspectTest : public StageFixture {
 protected:
  InspectTest() {
    TinyLlama{}.Write(source_folder());
    std::ofstream(source_folder() / "tokenizer.json") << kTokenizer;
    std::ofstream(work() / "text.jsonl") << "{\"text\": \"abbaabbaabba\"}\n";
    v1::JobSpec& spec = *assignment_.mutable_spec();
    spec.mutable_target()->set_kv_heads(2);
    spec.mutable_calibration()->set_data((work() / "text.jsonl").string());
    spec.mutable_calibration()->set_sequence_length(8);
    spec.mutable_finetune()->set_method("none");
    spec.mutable_finetune()->set_data((work() / "training.jsonl").string());
    spec.mutable_finetune()->set_sequence_length(8);
    // Digested as any file of the job, but it has no text to train on.
    std::ofstream(work() / "training.jsonl") << "{}\n";
  }

  absl::Status Inspect() {
    *assignment_.mutable_spec() = ResolveJobSpec(assignment_.spec());
    StageContext context = Context();
    return FindStage(v1::TASK_KIND_INSPECT)(context).status();
  }
};

TEST_F(InspectTest, LeavesTheTrainingDataOfAJobThatTrainsNothingAlone) { EXPECT_TRUE(Inspect().ok()) << Inspect(); }

TEST_F(InspectTest, RefusesTrainingDataWithoutTextWhereAnyArmOfASweepTrains) {
  assignment_.mutable_spec()->mutable_sweep()->add_finetune("none");
  assignment_.mutable_spec()->mutable_sweep()->add_finetune("direct");
  EXPECT_THAT(std::string(Inspect().message()), testing::HasSubstr("finetune.data"));
}

TEST_F(InspectTest, LeavesTheTrainingDataOfASweepThatTrainsNothingAlone) {
  assignment_.mutable_spec()->mutable_finetune()->set_method("direct");
  assignment_.mutable_spec()->mutable_sweep()->add_finetune("none");
  EXPECT_TRUE(Inspect().ok()) << Inspect();
}

}  // namespace
}  // namespace regroup
