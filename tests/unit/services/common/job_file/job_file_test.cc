#include "services/common/job_file/job_file.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "services/common/job_file/validate_job_spec.h"

namespace regroup {
namespace {

using testing::HasSubstr;

std::string ErrorOf(std::string_view text) {
  const auto spec = ParseJobFile(text, "/jobs/job.yaml");
  EXPECT_FALSE(spec.ok()) << text;
  return std::string(spec.status().message());
}

// The job file of the documentation, with every section.
constexpr std::string_view kWholeFile = R"(
name: llama-gqa2
source:      {checkpoint: /models/llama}
recipe:      paper
target:      {kv_heads: 2}
calibration: {data: /data/train.jsonl, sequences: 128, sequence_length: 2048, ranks: 1}
alignment:   {method: procrustes, compare: value, similarity: cosine, seed: 0}
layerwise:   {method: distill, data: /data/train.jsonl, sequences: 512, sequence_length: 2048, passes: 2, batch_sequences: 2,
              learning_rate: 3.0e-3, map_weight: 1.0, layers_per_task: 4, seed: 0, precision: auto}
refine:      {outputs: true}
finetune:    {method: l0, data: /data/train.jsonl, steps: 1000, batch_sequences: 64, micro_batch_sequences: 1, sequence_length: 2048,
              learning_rate: 1.0e-5, ranks: 2, precision: auto, checkpoint_every_steps: 200}
evaluation:  {perplexity: {data: /data/valid.jsonl, sequence_length: 2048},
              multiple_choice: [{name: arc_e, data: /data/arc_e.jsonl}],
              latency: {batch_sizes: [1, 8], context_lengths: [512, 2048], new_tokens: 64}}
gates:       {max_perplexity_ratio: 1.5}
sweep:       {kv_heads: [4, 2, 1], alignment: [none, procrustes, principal], layerwise: [none, distill], refine: [false, true],
              finetune: [none, direct, l0]}
output:      {checkpoint: /models/llama-gqa2}
resources:   {device: auto, max_runtime_s: 86400, priority: 0}
labels:      {team: serving, "2": "3"}
)";

TEST(JobFile, ReadsEverySectionOfTheDocumentedFile) {
  const auto spec = ParseJobFile(kWholeFile, "/jobs/job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name(), "llama-gqa2");
  EXPECT_EQ(spec->target().kv_heads(), 2);
  EXPECT_EQ(spec->calibration().sequence_length(), 2048);
  EXPECT_EQ(spec->layerwise().method(), "distill");
  EXPECT_EQ(spec->layerwise().data(), "/data/train.jsonl");
  EXPECT_EQ(spec->layerwise().sequences(), 512);
  EXPECT_EQ(spec->layerwise().sequence_length(), 2048);
  EXPECT_EQ(spec->layerwise().passes(), 2);
  EXPECT_EQ(spec->layerwise().batch_sequences(), 2);
  EXPECT_DOUBLE_EQ(spec->layerwise().learning_rate(), 3e-3);
  EXPECT_DOUBLE_EQ(spec->layerwise().map_weight(), 1.0);
  EXPECT_EQ(spec->layerwise().layers_per_task(), 4);
  EXPECT_EQ(spec->layerwise().precision(), "auto");
  EXPECT_TRUE(spec->layerwise().has_seed());
  EXPECT_TRUE(spec->refine().outputs());
  EXPECT_DOUBLE_EQ(spec->finetune().learning_rate(), 1e-5);
  ASSERT_EQ(spec->evaluation().multiple_choice_size(), 1);
  EXPECT_EQ(spec->evaluation().multiple_choice(0).name(), "arc_e");
  EXPECT_THAT(spec->evaluation().latency().batch_sizes(), testing::ElementsAre(1, 8));
  EXPECT_THAT(spec->sweep().alignment(), testing::ElementsAre("none", "procrustes", "principal"));
  EXPECT_THAT(spec->sweep().layerwise(), testing::ElementsAre("none", "distill"));
  EXPECT_THAT(spec->sweep().refine(), testing::ElementsAre(false, true));
  EXPECT_EQ(spec->resources().max_runtime_s(), 86400);
  EXPECT_EQ(spec->labels().at("2"), "3");
}

TEST(JobFile, TheDocumentedFileIsValid) {
  const auto spec = ParseJobFile(kWholeFile, "/jobs/job.yaml");
  ASSERT_TRUE(spec.ok());
  for (const FieldViolation& violation : ValidateJobSpec(*spec)) ADD_FAILURE() << violation.ShortDebugString();
}

TEST(JobFile, DistinguishesAWrittenZeroFromAnUnwrittenKey) {
  const auto spec = ParseJobFile("alignment: {seed: 0}\n", "/jobs/job.yaml");
  ASSERT_TRUE(spec.ok());
  EXPECT_TRUE(spec->alignment().has_seed());
  EXPECT_FALSE(spec->alignment().has_method());
}

TEST(JobFile, ReadsAListOfDataUnderEitherKey) {
  for (const char* text : {"calibration: {data: [a.jsonl, /b/*.jsonl], field: body}\n",
                           "calibration:\n  data_files:\n    - a.jsonl\n    - /b/*.jsonl\n  field: body\n"}) {
    const auto spec = ParseJobFile(text, "/jobs/job.yaml");
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_THAT(spec->calibration().data_files(), testing::ElementsAre("/jobs/a.jsonl", "/b/*.jsonl"));
    EXPECT_EQ(spec->calibration().data(), "");
    EXPECT_EQ(spec->calibration().field(), "body");
  }
}

TEST(JobFile, SaysWhereAListOfDataIsWrong) {
  EXPECT_THAT(ErrorOf("calibration: {data: [a.jsonl, ~/b.jsonl]}\n"),
              HasSubstr("job.yaml:1:31: calibration.data_files[1]: '~' is not expanded"));
  EXPECT_THAT(ErrorOf("calibration: {data: [a.jsonl, [b.jsonl]]}\n"),
              HasSubstr("data_files[1] is a string, not a list"));
  EXPECT_THAT(ErrorOf("calibration: {data_files: [a.jsonl], data: [b.jsonl]}\n"),
              HasSubstr("calibration.data is a string, not a list"));
  EXPECT_THAT(ErrorOf("source: {checkpoint: [a]}\n"), HasSubstr("source.checkpoint is a string, not a list"));
}

TEST(JobFile, RefusesAnUnknownKeyAndNamesTheNearest) {
  EXPECT_EQ(ErrorOf("finetune:\n  stpes: 3\n"), "/jobs/job.yaml:2:3: unknown key 'stpes'; did you mean 'steps'?");
  EXPECT_EQ(ErrorOf("layerwise: {layers_per_tasks: 3}\n"),
            "/jobs/job.yaml:1:13: unknown key 'layers_per_tasks'; did you mean 'layers_per_task'?");
  EXPECT_EQ(ErrorOf("calibrate: {}\n"), "/jobs/job.yaml:1:1: unknown key 'calibrate'; did you mean 'calibration'?");
}

TEST(JobFile, SaysWhereAMisplacedKeyBelongs) {
  EXPECT_EQ(ErrorOf("kv_heads: 2\n"),
            "/jobs/job.yaml:1:1: unknown key 'kv_heads' here; did you mean 'target.kv_heads'?");
  EXPECT_EQ(ErrorOf("target: {gates: {}}"),
            "/jobs/job.yaml:1:10: unknown key 'gates' here; did you mean 'gates' at the top of the file?");
}

TEST(JobFile, ListsTheKnownKeysWhereNoneIsNear) {
  EXPECT_EQ(ErrorOf("target: {zzzzzzzz: 2}\n"),
            "/jobs/job.yaml:1:10: unknown key 'zzzzzzzz'; known here: kv_heads, per_layer or tensor_parallel");
}

TEST(JobFile, RefusesTheMergeKey) {
  EXPECT_THAT(ErrorOf("target: {<<: {kv_heads: 2}}\n"), HasSubstr("unknown key '<<'"));
}

TEST(JobFile, RefusesValuesOfAnotherType) {
  EXPECT_EQ(ErrorOf("target: {kv_heads: two}\n"), "/jobs/job.yaml:1:20: target.kv_heads is a whole number, not 'two'");
  EXPECT_THAT(ErrorOf("target: {kv_heads: 2.5}\n"), HasSubstr("a whole number, not '2.5'"));
  EXPECT_THAT(ErrorOf("target: {kv_heads: 99999999999}\n"), HasSubstr("a whole number"));
  EXPECT_THAT(ErrorOf("target: {kv_heads: \"2\"}\n"), HasSubstr("a whole number without quotes, not \"2\""));
  EXPECT_THAT(ErrorOf("target: {kv_heads:}\n"), HasSubstr("a whole number, not nothing"));
  EXPECT_THAT(ErrorOf("target: {kv_heads: [2]}\n"), HasSubstr("a whole number, not a list"));
  EXPECT_THAT(ErrorOf("target: 2\n"),
              HasSubstr("target is a mapping with kv_heads, per_layer or tensor_parallel, not '2'"));
  EXPECT_THAT(ErrorOf("target:\n"), HasSubstr("not nothing"));
  EXPECT_THAT(ErrorOf("refine: {outputs: yes}\n"), HasSubstr("true or false, not 'yes'"));
  EXPECT_THAT(ErrorOf("finetune: {learning_rate: .inf}\n"), HasSubstr("a number, not '.inf'"));
  EXPECT_THAT(ErrorOf("finetune: {learning_rate: inf}\n"), HasSubstr("a number, not 'inf'"));
  EXPECT_THAT(ErrorOf("finetune: {learning_rate: nan}\n"), HasSubstr("a number, not 'nan'"));
  EXPECT_THAT(ErrorOf("layerwise: {passes: many}\n"), HasSubstr("layerwise.passes is a whole number, not 'many'"));
  EXPECT_THAT(ErrorOf("layerwise: {map_weight: half}\n"), HasSubstr("layerwise.map_weight is a number, not 'half'"));
  EXPECT_THAT(ErrorOf("sweep: {layerwise: distill}\n"), HasSubstr("sweep.layerwise is a list"));
  EXPECT_THAT(ErrorOf("sweep: {kv_heads: 4}\n"), HasSubstr("sweep.kv_heads is a list"));
  EXPECT_THAT(ErrorOf("sweep: {kv_heads: [4, x]}\n"), HasSubstr("sweep.kv_heads[1] is a whole number"));
  EXPECT_THAT(ErrorOf("labels: [a]\n"), HasSubstr("labels is a mapping"));
  EXPECT_THAT(ErrorOf("evaluation: {multiple_choice: [arc]}\n"),
              HasSubstr("multiple_choice[0] is a mapping with name or data"));
}

TEST(JobFile, ReportsAllMistakesTogetherInTheOrderOfTheFile) {
  EXPECT_EQ(ErrorOf("nmae: x\ntarget: {kv_heads: two}\n"),
            "/jobs/job.yaml:1:1: unknown key 'nmae'; did you mean 'name'?\n"
            "/jobs/job.yaml:2:20: target.kv_heads is a whole number, not 'two'");
}

TEST(JobFile, ResolvesRelativePathsAgainstItsOwnFolder) {
  const auto spec = ParseJobFile(
      "source: {checkpoint: model/}\n"
      "calibration: {data: ../data/train.jsonl}\n"
      "layerwise: {data: ../data/layers.jsonl}\n"
      "evaluation: {multiple_choice: [{name: a, data: a.jsonl}]}\n"
      "output: {checkpoint: /out}\n",
      "/jobs/demo/job.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->source().checkpoint(), "/jobs/demo/model");
  EXPECT_EQ(spec->calibration().data(), "/jobs/data/train.jsonl");
  EXPECT_EQ(spec->layerwise().data(), "/jobs/data/layers.jsonl");
  EXPECT_EQ(spec->evaluation().multiple_choice(0).data(), "/jobs/demo/a.jsonl");
  EXPECT_EQ(spec->output().checkpoint(), "/out");
}

TEST(JobFile, RefusesATildeInsteadOfMakingAFolderOfThatName) {
  EXPECT_THAT(ErrorOf("source: {checkpoint: ~/llama}\n"), HasSubstr("'~' is not expanded"));
}

TEST(JobFile, PlacesViolationsAtTheirKeyOrAtTheNearestParent) {
  const auto file = ParseJobFileWithPositions("finetune:\n  steps: 0\n", "job.yaml");
  ASSERT_TRUE(file.ok());
  FieldViolation violation;
  violation.set_description("is wrong");
  violation.set_field("finetune.steps");
  EXPECT_EQ(DescribeViolation(*file, violation), "job.yaml:2:3: finetune.steps: is wrong");
  violation.set_field("finetune.batch_sequences");
  EXPECT_EQ(DescribeViolation(*file, violation), "job.yaml:1:1: finetune.batch_sequences: is wrong");
  violation.set_field("source.checkpoint");
  EXPECT_EQ(DescribeViolation(*file, violation), "job.yaml: source.checkpoint: is wrong");
}

TEST(JobFile, AFileThatIsMissingIsNotFound) {
  EXPECT_EQ(ReadJobFile("/no/such/job.yaml").status().code(), absl::StatusCode::kNotFound);
}

TEST(JobFile, FormattingTheDocumentedFileAndReadingItBackChangesNothing) {
  const auto spec = ParseJobFile(kWholeFile, "/jobs/job.yaml");
  ASSERT_TRUE(spec.ok());
  const auto again = ParseJobFile(FormatJobFile(*spec), "/elsewhere/job.yaml");
  ASSERT_TRUE(again.ok()) << again.status() << FormatJobFile(*spec);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*spec, *again)) << FormatJobFile(*spec);
}

}  // namespace
}  // namespace regroup
