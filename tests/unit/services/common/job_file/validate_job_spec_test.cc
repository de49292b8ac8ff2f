#include "services/common/job_file/validate_job_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "job_builder.h"
#include "services/common/job_file/resolve_job_spec.h"

namespace regroup {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Fields(const v1::JobSpec& spec) {
  std::vector<std::string> fields;
  for (const FieldViolation& violation : ValidateJobSpec(spec)) fields.push_back(violation.field());
  return fields;
}

/// Makes the job one that reads no text and trains nothing: plain averaging of neighbours.
void NeedNoText(v1::JobSpec& spec) {
  spec.clear_calibration();
  spec.mutable_alignment()->set_method("none");
  spec.mutable_alignment()->set_compare("none");
  spec.mutable_finetune()->set_method("none");
  spec.mutable_finetune()->clear_data();
}

/// One way to make GoodJob() invalid, the field that must be named, and words of the explanation.
struct Spoilt {
  std::string title;
  std::function<void(v1::JobSpec&)> spoil;
  std::string field;
  std::string explanation;
};

void PrintTo(const Spoilt& spoilt, std::ostream* out) { *out << spoilt.title; }

class ValidateSpoiltJob : public testing::TestWithParam<Spoilt> {};

TEST_P(ValidateSpoiltJob, NamesTheFieldAndSaysWhatToWrite) {
  v1::JobSpec spec = GoodJob();
  GetParam().spoil(spec);
  const std::vector<FieldViolation> violations = ValidateJobSpec(spec);
  ASSERT_FALSE(violations.empty());
  EXPECT_EQ(violations.front().field(), GetParam().field);
  EXPECT_THAT(violations.front().description(), HasSubstr(GetParam().explanation));
}

const Spoilt kSpoilt[] = {
    {"NoName", [](auto& s) { s.clear_name(); }, "name", "is missing"},
    {"DataTwice", [](auto& s) { s.mutable_calibration()->add_data_files("/data/b.jsonl"); }, "calibration.data_files",
     "calibration.data are both given"},
    {"DataFileTwice",
     [](auto& s) {
       s.mutable_calibration()->clear_data();
       for (int i = 0; i < 2; ++i) s.mutable_calibration()->add_data_files("/data/b.jsonl");
     },
     "calibration.data_files[1]", "listed twice"},
    {"EmptyDataFile", [](auto& s) { s.mutable_finetune()->add_data_files(""); }, "layerwise.data_files[0]", "is empty"},
    {"RelativeDataFile", [](auto& s) { s.mutable_finetune()->add_data_files("b.jsonl"); }, "layerwise.data_files[0]",
     "not an absolute path"},
    {"EmptyField", [](auto& s) { s.mutable_calibration()->set_field(""); }, "calibration.field", "is not a name"},
    {"FieldOfAnswers",
     [](auto& s) {
       s.mutable_finetune()->set_loss("bild");
       s.mutable_finetune()->set_data("/data/answers.jsonl");
       s.mutable_finetune()->set_field("body");
     },
     "finetune.field", "has no meaning with loss: bild"},
    {"UpperCaseName", [](auto& s) { s.set_name("Llama"); }, "name", "lower-case"},
    {"LongName", [](auto& s) { s.set_name(std::string(41, 'a')); }, "name", "at most 40"},
    {"HyphenAtTheEdge", [](auto& s) { s.set_name("a-"); }, "name", "inner hyphens"},
    {"UnknownRecipe", [](auto& s) { s.set_recipe("papre"); }, "recipe", "did you mean 'paper'"},
    {"NoSource", [](auto& s) { s.clear_source(); }, "source.checkpoint", "is missing"},
    {"RelativeSource", [](auto& s) { s.mutable_source()->set_checkpoint("llama"); }, "source.checkpoint", "absolute"},
    {"DotsInPath", [](auto& s) { s.mutable_source()->set_checkpoint("/a/../b"); }, "source.checkpoint", "'..'"},
    {"DotsAtTheEnd", [](auto& s) { s.mutable_calibration()->set_data("/a/.."); }, "calibration.data", "'..'"},
    {"NoTarget", [](auto& s) { s.clear_target(); }, "target.kv_heads", "is missing"},
    {"ZeroHeads", [](auto& s) { s.mutable_target()->set_kv_heads(0); }, "target.kv_heads", "from 1"},
    {"NegativeHeads", [](auto& s) { s.mutable_target()->set_kv_heads(-2); }, "target.kv_heads", "from 1"},
    {"PlainAveragesThatMatchTheEnergyOfLogits",
     [](auto& s) {
       NeedNoText(s);
       s.mutable_alignment()->set_match_energy(true);
     },
     "calibration.data", "\"text\""},
    {"PlainAveragesWithHeadsForEachLayer",
     [](auto& s) {
       NeedNoText(s);
       s.mutable_target()->set_per_layer("auto");
     },
     "calibration.data", "\"text\""},
    {"GpusThatCannotShareTheHeads",
     [](auto& s) {
       s.mutable_target()->set_kv_heads(4);
       s.mutable_target()->set_tensor_parallel(6);
     },
     "target.tensor_parallel", "6 GPUs cannot share 4 KV heads equally"},
    {"NoGpus", [](auto& s) { s.mutable_target()->set_tensor_parallel(0); }, "target.tensor_parallel", "from 1"},
    {"GpusWithUnequalHeads",
     [](auto& s) {
       s.mutable_target()->set_tensor_parallel(2);
       s.mutable_target()->set_per_layer("auto");
     },
     "target.tensor_parallel", "same number of heads"},
    {"GpusWithoutMemory", [](auto& s) { s.mutable_serving()->set_gpu_memory_gib(0); }, "serving.gpu_memory_gib", "GiB"},
    {"MoreThanTheWholeMemory", [](auto& s) { s.mutable_serving()->set_memory_share(1.1); }, "serving.memory_share",
     "at most 1"},
    {"NoContext", [](auto& s) { s.mutable_serving()->set_context_length(0); }, "serving.context_length", "from 1"},
    {"UnknownCacheType", [](auto& s) { s.mutable_serving()->set_cache_dtype("int4"); }, "serving.cache_dtype", "fp8"},
    {"ANeedleWithoutHaystack",
     [](auto& s) {
       s.mutable_evaluation()->clear_perplexity();
       s.mutable_gates()->Clear();
       s.mutable_evaluation()->mutable_needle()->add_context_lengths(512);
     },
     "evaluation.needle", "as filler"},
    {"ANeedleWithoutContext", [](auto& s) { s.mutable_evaluation()->mutable_needle(); },
     "evaluation.needle.context_lengths", "for example"},
    {"AnswersToNothing", [](auto& s) { s.mutable_evaluation()->mutable_answers(); }, "evaluation.answers.prompts",
     "what to ask"},
    {"AnEmptyPrompt", [](auto& s) { s.mutable_evaluation()->mutable_answers()->add_prompts(""); },
     "evaluation.answers.prompts[0]", "1 to 16384"},
    {"TooManyPrompts",
     [](auto& s) {
       for (int i = 0; i < 33; ++i) s.mutable_evaluation()->mutable_answers()->add_prompts("a");
     },
     "evaluation.answers.prompts", "at most 32"},
    {"AnswersWithoutTokens",
     [](auto& s) {
       s.mutable_evaluation()->mutable_answers()->add_prompts("a");
       s.mutable_evaluation()->mutable_answers()->set_new_tokens(0);
     },
     "evaluation.answers.new_tokens", "from 1"},
    {"OutputAboveTheSourceWithASlash", [](auto& s) { s.mutable_output()->set_checkpoint("/models/"); },
     "output.checkpoint", "overlap"},
    {"NoCalibration", [](auto& s) { s.clear_calibration(); }, "calibration.data", "\"text\""},
    {"NoSequences", [](auto& s) { s.mutable_calibration()->set_sequences(0); }, "calibration.sequences", "from 1"},
    {"MoreRanksThanSequences",
     [](auto& s) {
       s.mutable_calibration()->set_sequences(2);
       s.mutable_calibration()->set_ranks(3);
     },
     "calibration.ranks", "more than calibration.sequences"},
    {"OneTokenSequences", [](auto& s) { s.mutable_calibration()->set_sequence_length(1); },
     "calibration.sequence_length", "from 2"},
    {"UnknownMethod", [](auto& s) { s.mutable_alignment()->set_method("procustes"); }, "alignment.method",
     "did you mean 'procrustes'"},
    {"UnknownCompare", [](auto& s) { s.mutable_alignment()->set_compare("query"); }, "alignment.compare",
     "none, key, value or joint"},
    {"UnknownSimilarity", [](auto& s) { s.mutable_alignment()->set_similarity("cosin"); }, "alignment.similarity",
     "did you mean 'cosine'"},
    {"UnknownLayerwise", [](auto& s) { s.mutable_layerwise()->set_method("distil"); }, "layerwise.method",
     "did you mean 'distill'? Known: none or distill"},
    {"LayerwiseWithoutText",
     [](auto& s) {
       NeedNoText(s);
       s.mutable_layerwise()->set_method("distill");
     },
     "layerwise.data", "\"text\""},
    {"RelativeLayerwiseText", [](auto& s) { s.mutable_layerwise()->set_data("text.jsonl"); }, "layerwise.data",
     "absolute"},
    {"NoLayerwiseSequences", [](auto& s) { s.mutable_layerwise()->set_sequences(0); }, "layerwise.sequences",
     "is 0; write a number from 1"},
    {"TooManyLayerwiseSequences", [](auto& s) { s.mutable_layerwise()->set_sequences((1 << 24) + 1); },
     "layerwise.sequences", "to 16777216"},
    {"OneTokenLayerwiseSequences", [](auto& s) { s.mutable_layerwise()->set_sequence_length(1); },
     "layerwise.sequence_length", "from 2"},
    {"NoPasses", [](auto& s) { s.mutable_layerwise()->set_passes(0); }, "layerwise.passes", "from 1"},
    {"TooManyPasses", [](auto& s) { s.mutable_layerwise()->set_passes(65537); }, "layerwise.passes", "to 65536"},
    {"EmptyLayerwiseBatch", [](auto& s) { s.mutable_layerwise()->set_batch_sequences(0); }, "layerwise.batch_sequences",
     "from 1"},
    {"TooLargeLayerwiseBatch", [](auto& s) { s.mutable_layerwise()->set_batch_sequences(65537); },
     "layerwise.batch_sequences", "to 65536"},
    {"NoLayersInATask", [](auto& s) { s.mutable_layerwise()->set_layers_per_task(0); }, "layerwise.layers_per_task",
     "from 1"},
    {"TooManyLayersInATask", [](auto& s) { s.mutable_layerwise()->set_layers_per_task(65537); },
     "layerwise.layers_per_task", "to 65536"},
    {"ZeroLayerwiseRate", [](auto& s) { s.mutable_layerwise()->set_learning_rate(0); }, "layerwise.learning_rate",
     "above 0"},
    {"LayerwiseRateAboveOne", [](auto& s) { s.mutable_layerwise()->set_learning_rate(1.5); }, "layerwise.learning_rate",
     "is 1.5; write a number above 0 and at most 1"},
    {"LayerwiseRateNotANumber",
     [](auto& s) { s.mutable_layerwise()->set_learning_rate(std::numeric_limits<double>::quiet_NaN()); },
     "layerwise.learning_rate", "above 0"},
    {"NegativeMapWeight", [](auto& s) { s.mutable_layerwise()->set_map_weight(-0.5); }, "layerwise.map_weight",
     "is -0.5; write a number from 0"},
    {"HugeMapWeight", [](auto& s) { s.mutable_layerwise()->set_map_weight(2e6); }, "layerwise.map_weight",
     "to 1,000,000"},
    {"MapWeightNotANumber",
     [](auto& s) { s.mutable_layerwise()->set_map_weight(std::numeric_limits<double>::quiet_NaN()); },
     "layerwise.map_weight", "from 0"},
    {"NegativeAttentionWeight", [](auto& s) { s.mutable_finetune()->set_attention_weight(-1); },
     "finetune.attention_weight", "from 0"},
    {"AttentionWeightWithKeptStates",
     [](auto& s) {
       s.mutable_finetune()->set_attention_weight(0.3);
       s.mutable_finetune()->set_teacher("cache");
     },
     "finetune.attention_weight", "write teacher: compute"},
    {"AttentionWeightWithRecomputedBlocks",
     [](auto& s) {
       s.mutable_finetune()->set_attention_weight(0.3);
       s.mutable_finetune()->set_recompute("block");
     },
     "finetune.attention_weight", "write recompute: feed_forward or none"},
    {"AttentionWeightWithSlicedBlocks",
     [](auto& s) {
       s.mutable_finetune()->set_attention_weight(0.3);
       s.mutable_finetune()->set_shard("all");
     },
     "finetune.attention_weight", "write shard: gradients or optimizer"},
    {"NegativeMeasurements", [](auto& s) { s.mutable_finetune()->set_evaluate_every_steps(-1); },
     "finetune.evaluate_every_steps", "0 to"},
    {"MeasurementsWithoutText",
     [](auto& s) {
       s.mutable_finetune()->set_evaluate_every_steps(10);
       s.mutable_evaluation()->clear_perplexity();
     },
     "finetune.evaluate_every_steps", "add evaluation.perplexity"},
    {"NoMeasuredWindows", [](auto& s) { s.mutable_finetune()->set_evaluate_windows(0); }, "finetune.evaluate_windows",
     "1 to"},
    {"NegativePatience", [](auto& s) { s.mutable_finetune()->set_stop_when_no_better(-1); },
     "finetune.stop_when_no_better", "0 to"},
    {"PatienceWithoutMeasurements", [](auto& s) { s.mutable_finetune()->set_stop_when_no_better(3); },
     "finetune.stop_when_no_better", "write evaluate_every_steps"},
    {"SlicedBlocksWithKeptStates",
     [](auto& s) {
       s.mutable_finetune()->set_shard("all");
       s.mutable_finetune()->set_teacher("cache");
     },
     "finetune.shard", "write teacher: compute"},
    {"LayerwisePrecision", [](auto& s) { s.mutable_layerwise()->set_precision("half"); }, "layerwise.precision",
     "float32"},
    {"NegativeLayerwiseSeed", [](auto& s) { s.mutable_layerwise()->set_seed(-1); }, "layerwise.seed", "0 or more"},
    {"UnknownFinetune", [](auto& s) { s.mutable_finetune()->set_method("lo"); }, "finetune.method",
     "did you mean 'l0'"},
    {"UnknownPrecision", [](auto& s) { s.mutable_finetune()->set_precision("float16"); }, "finetune.precision",
     "bfloat16"},
    {"UnknownTrainedPart", [](auto& s) { s.mutable_finetune()->set_train("keys"); }, "finetune.train",
     "all, attention, lora or auto"},
    {"UnknownRecompute", [](auto& s) { s.mutable_finetune()->set_recompute("blocks"); }, "finetune.recompute",
     "did you mean 'block'"},
    {"UnknownLoss", [](auto& s) { s.mutable_finetune()->set_loss("bld"); }, "finetune.loss", "did you mean 'bild'"},
    {"ZeroLoraRank", [](auto& s) { s.mutable_finetune()->set_lora_rank(0); }, "finetune.lora_rank", "from 1"},
    {"NegativeLoraAlpha", [](auto& s) { s.mutable_finetune()->set_lora_alpha(-1); }, "finetune.lora_alpha", "above 0"},
    {"UnknownTeacher", [](auto& s) { s.mutable_finetune()->set_teacher("disk"); }, "finetune.teacher",
     "compute or cache"},
    {"UnknownShard", [](auto& s) { s.mutable_finetune()->set_shard("weights"); }, "finetune.shard",
     "auto, optimizer, gradients or all"},
    {"UnknownDevice", [](auto& s) { s.mutable_resources()->set_device("gpu"); }, "resources.device",
     "auto, cpu or cuda"},
    {"NoSteps", [](auto& s) { s.mutable_finetune()->clear_steps(); }, "finetune.steps", "is missing"},
    {"ZeroSteps", [](auto& s) { s.mutable_finetune()->set_steps(0); }, "finetune.steps", "from 1"},
    {"BatchNotDivided", [](auto& s) { s.mutable_finetune()->set_ranks(3); }, "finetune.batch_sequences",
     "(3 x 1 = 3) does not divide"},
    {"ZeroLeastRanks", [](auto& s) { s.mutable_finetune()->set_min_ranks(0); }, "finetune.min_ranks", "from 1"},
    {"MoreLeastRanksThanRanks",
     [](auto& s) {
       s.mutable_finetune()->set_ranks(2);
       s.mutable_finetune()->set_min_ranks(4);
     },
     "finetune.min_ranks", "from 1 to 2"},
    {"BatchNotDividedByLeastRanks",
     [](auto& s) {
       s.mutable_finetune()->set_ranks(4);
       s.mutable_finetune()->set_min_ranks(3);
     },
     "finetune.min_ranks", "write a number that divides 64"},
    {"ZeroRate", [](auto& s) { s.mutable_finetune()->set_learning_rate(0); }, "finetune.learning_rate", "above 0"},
    {"RateNotANumber",
     [](auto& s) { s.mutable_finetune()->set_learning_rate(std::numeric_limits<double>::quiet_NaN()); },
     "finetune.learning_rate", "above 0"},
    {"ZeroRanks", [](auto& s) { s.mutable_finetune()->set_ranks(0); }, "finetune.ranks", "from 1"},
    {"GateWithoutPerplexity",
     [](auto& s) {
       s.clear_evaluation();
       s.mutable_gates()->set_max_perplexity_ratio(1.5);
     },
     "gates.max_perplexity_ratio", "add evaluation.perplexity"},
    {"NegativeGate", [](auto& s) { s.mutable_gates()->set_max_perplexity_ratio(-1); }, "gates.max_perplexity_ratio",
     "above 0"},
    {"PerplexityWithoutData", [](auto& s) { s.mutable_evaluation()->mutable_perplexity()->clear_data(); },
     "evaluation.perplexity.data", "is missing"},
    {"ChoiceWithoutName", [](auto& s) { s.mutable_evaluation()->add_multiple_choice()->set_data("/a"); },
     "evaluation.multiple_choice[0].name", "is not a name"},
    {"LatencyWithoutSizes", [](auto& s) { s.mutable_evaluation()->mutable_latency()->add_context_lengths(5); },
     "evaluation.latency.batch_sizes", "is missing"},
    {"EmptySweep", [](auto& s) { s.mutable_sweep(); }, "sweep", "varies nothing"},
    {"UnknownWordInSweep", [](auto& s) { s.mutable_sweep()->add_alignment("mean"); }, "sweep.alignment[0]",
     "none, procrustes or principal"},
    {"UnknownLayerwiseInSweep", [](auto& s) { s.mutable_sweep()->add_layerwise("distil"); }, "sweep.layerwise[0]",
     "did you mean 'distill'"},
    {"LayerwiseTwiceInSweep",
     [](auto& s) {
       s.mutable_sweep()->add_layerwise("distill");
       s.mutable_sweep()->add_layerwise("distill");
     },
     "sweep.layerwise[1]", "listed twice"},
    {"ValueTwiceInSweep",
     [](auto& s) {
       s.mutable_sweep()->add_kv_heads(2);
       s.mutable_sweep()->add_kv_heads(2);
     },
     "sweep.kv_heads[1]", "listed twice"},
    {"NoOutput", [](auto& s) { s.clear_output(); }, "output.checkpoint", "is missing"},
    {"OutputIsSource", [](auto& s) { s.mutable_output()->set_checkpoint("/models/llama"); }, "output.checkpoint",
     "overlap"},
    {"AddressOfNoScheme", [](auto& s) { s.mutable_source()->set_checkpoint("ftp://host/model"); }, "source.checkpoint",
     "write hf://, s3:// or https://"},
    {"AddressWithASecret",
     [](auto& s) { s.mutable_calibration()->set_data("https://host/text.jsonl?X-Amz-Signature=abc"); },
     "calibration.data", "a query often is a secret"},
    {"SourceIsAPattern", [](auto& s) { s.mutable_source()->set_checkpoint("s3://bucket/models/*"); },
     "source.checkpoint", "is a pattern"},
    {"OutputOnAHub", [](auto& s) { s.mutable_output()->set_checkpoint("hf://org/model"); }, "output.checkpoint",
     "cannot be written to"},
    {"AlsoIsAFolder", [](auto& s) { s.mutable_output()->set_also("/results/also"); }, "output.also",
     "is not an address"},
    {"AlsoBesideABucket",
     [](auto& s) {
       s.mutable_output()->set_checkpoint("s3://bucket/model");
       s.mutable_output()->set_also("s3://bucket/also");
     },
     "output.also", "beside a folder"},
    {"OutputInSource", [](auto& s) { s.mutable_output()->set_checkpoint("/models/llama/gqa"); }, "output.checkpoint",
     "overlap"},
    {"NoTimeToRun", [](auto& s) { s.mutable_resources()->set_max_runtime_s(0); }, "resources.max_runtime_s", "from 1"},
    {"PriorityTooHigh", [](auto& s) { s.mutable_resources()->set_priority(101); }, "resources.priority", "-100 to 100"},
    {"LongLabel", [](auto& s) { (*s.mutable_labels())["a"] = std::string(64, 'x'); }, "labels.a", "at most 63"},
    {"LabelOfTwoLines", [](auto& s) { (*s.mutable_labels())["a"] = "b\r\nc: d"; }, "labels.a", "no control characters"},
    {"NameOfALabelWithAnEscape", [](auto& s) { (*s.mutable_labels())["\x1b[2J"] = "b"; }, "labels", "'...' is not"},
    {"PathWithAZeroByte", [](auto& s) { s.mutable_output()->set_checkpoint(std::string("/out\0/x", 7)); },
     "output.checkpoint", "no control characters"},
    {"EndlessPath", [](auto& s) { s.mutable_output()->set_checkpoint("/" + std::string(5000, 'x')); },
     "output.checkpoint", "at most 4095"},
};

INSTANTIATE_TEST_SUITE_P(, ValidateSpoiltJob, testing::ValuesIn(kSpoilt),
                         [](const auto& info) { return info.param.title; });

TEST(ValidateJobSpec, AcceptsAGoodJobAsWrittenAndAsResolved) {
  EXPECT_THAT(Fields(GoodJob()), IsEmpty());
  EXPECT_THAT(Fields(ResolveJobSpec(GoodJob())), IsEmpty());
}

TEST(ValidateJobSpec, ReportsEveryMistakeOfAJob) {
  EXPECT_THAT(Fields(v1::JobSpec()),
              testing::ElementsAre("name", "source.checkpoint", "target.kv_heads", "calibration.data", "finetune.data",
                                   "finetune.steps", "output.checkpoint"));
}

TEST(ValidateJobSpec, NamesAListOfVeryManyItemsOnceInsteadOfEachItem) {
  v1::JobSpec spec = GoodJob();
  spec.clear_evaluation();
  for (int i = 0; i < 100'000; ++i) spec.mutable_evaluation()->add_multiple_choice();
  for (int i = 0; i < 100'000; ++i) spec.mutable_sweep()->add_alignment("wrong");
  for (int i = 0; i < 100'000; ++i) spec.mutable_sweep()->add_layerwise("wrong");
  EXPECT_THAT(Fields(spec),
              testing::IsSupersetOf({"evaluation.multiple_choice", "sweep.alignment", "sweep.layerwise"}));
  EXPECT_LT(Fields(spec).size(), 10U);
}

TEST(ValidateJobSpec, ASweepNeedsNeitherTargetNorOutput) {
  v1::JobSpec spec = GoodJob();
  spec.clear_target();
  spec.clear_output();
  spec.mutable_sweep()->add_kv_heads(4);
  EXPECT_THAT(Fields(spec), IsEmpty());
}

TEST(ValidateJobSpec, ASweepMayNameAnOutputThatItLeavesAlone) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_sweep()->add_kv_heads(4);
  EXPECT_THAT(Fields(spec), IsEmpty());
}

TEST(ValidateJobSpec, ASweepThatTrainsNowhereNeedsNoSteps) {
  v1::JobSpec spec = GoodJob();
  spec.clear_output();
  spec.mutable_finetune()->clear_steps();
  spec.mutable_sweep()->add_finetune("none");
  EXPECT_THAT(Fields(spec), IsEmpty());
}

TEST(ValidateJobSpec, ASweepThatTrainsSomewhereNeedsSteps) {
  v1::JobSpec spec = GoodJob();
  spec.clear_output();
  spec.mutable_finetune()->set_method("none");
  spec.mutable_finetune()->clear_steps();
  spec.mutable_sweep()->add_finetune("none");
  spec.mutable_sweep()->add_finetune("direct");
  EXPECT_THAT(Fields(spec), testing::ElementsAre("finetune.steps"));
}

TEST(ValidateJobSpec, ASweepThatTrainsSomewhereNeedsTrainingData) {
  v1::JobSpec spec = GoodJob();
  spec.clear_output();
  NeedNoText(spec);
  spec.mutable_sweep()->add_finetune("none");
  EXPECT_THAT(Fields(spec), IsEmpty());
  spec.mutable_sweep()->add_finetune("direct");
  EXPECT_THAT(Fields(spec), testing::ElementsAre("finetune.data"));
}

TEST(ValidateJobSpec, ASweepThatTrainsLayersSomewhereNeedsText) {
  v1::JobSpec spec = GoodJob();
  spec.clear_output();
  NeedNoText(spec);
  spec.mutable_layerwise()->set_method("distill");
  spec.mutable_sweep()->add_layerwise("none");
  EXPECT_THAT(Fields(spec), IsEmpty());
  spec.mutable_sweep()->add_layerwise("distill");
  EXPECT_THAT(Fields(spec), testing::ElementsAre("layerwise.data"));
  spec.mutable_layerwise()->set_data("/data/layerwise.jsonl");
  EXPECT_THAT(Fields(spec), IsEmpty());
}

TEST(ValidateJobSpec, AcceptsTheLeastAndTheMostOfEveryKeyOfLayerwise) {
  v1::JobSpec spec = GoodJob();
  v1::Layerwise& layerwise = *spec.mutable_layerwise();
  layerwise.set_method("distill");
  layerwise.set_sequences(1);
  layerwise.set_sequence_length(2);
  layerwise.set_passes(1);
  layerwise.set_batch_sequences(1);
  layerwise.set_learning_rate(1e-12);
  layerwise.set_map_weight(0);
  layerwise.set_layers_per_task(1);
  layerwise.set_seed(0);
  EXPECT_THAT(Fields(spec), IsEmpty());
  layerwise.set_sequences(1 << 24);
  layerwise.set_sequence_length(1 << 22);
  layerwise.set_passes(1 << 16);
  layerwise.set_batch_sequences(1 << 16);
  layerwise.set_learning_rate(1);
  layerwise.set_map_weight(1e6);
  layerwise.set_layers_per_task(1 << 16);
  layerwise.set_seed(std::numeric_limits<int64_t>::max());
  EXPECT_THAT(Fields(spec), IsEmpty());
}

TEST(ValidateJobSpec, AcceptsARateOfFinetuneThatASweepOverLayerwiseLeavesUnset) {
  v1::JobSpec spec = GoodJob();
  spec.mutable_sweep()->add_layerwise("none");
  spec.mutable_sweep()->add_layerwise("distill");
  EXPECT_THAT(Fields(ResolveJobSpec(spec)), IsEmpty());
  spec.mutable_finetune()->set_learning_rate(-1);
  EXPECT_THAT(Fields(spec), testing::ElementsAre("finetune.learning_rate"));
}

TEST(ValidateJobSpec, PlainAveragingOfNeighboursNeedsNoCalibration) {
  v1::JobSpec spec = GoodJob();
  NeedNoText(spec);
  EXPECT_THAT(Fields(spec), IsEmpty());
}

TEST(ValidateJobSpec, RefusesASweepOfTooManyCombinations) {
  v1::JobSpec spec = GoodJob();
  spec.clear_output();
  for (int heads = 1; heads <= 100; ++heads) spec.mutable_sweep()->add_kv_heads(heads);
  for (const char* method : {"none", "procrustes", "principal"}) spec.mutable_sweep()->add_alignment(method);
  EXPECT_THAT(Fields(spec), testing::ElementsAre("sweep"));
}

TEST(ValidateJobSpec, CountsLayerwiseAmongTheCombinations) {
  v1::JobSpec spec = GoodJob();
  spec.clear_output();
  for (int heads = 1; heads <= 128; ++heads) spec.mutable_sweep()->add_kv_heads(heads);
  for (const char* method : {"none", "distill"}) spec.mutable_sweep()->add_layerwise(method);
  EXPECT_THAT(Fields(spec), IsEmpty());
  spec.mutable_sweep()->add_kv_heads(129);
  EXPECT_THAT(Fields(spec), testing::ElementsAre("sweep"));
}

}  // namespace
}  // namespace regroup
