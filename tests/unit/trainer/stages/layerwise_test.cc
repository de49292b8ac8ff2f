// Tests the stage layerwise, behind record, on a tiny model of four layers.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "services/common/base/attempt_files.h"
#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "tests/unit/trainer/stages/layerwise_fixture.h"
#include "trainer/layerwise/layer_distiller.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_streams.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/load_conversion.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class LayerwiseTest : public LayerwiseFixture {};

TEST_F(LayerwiseTest, WritesTheTrainedAttentionAndARecordOfEveryLayer) {
  Record();
  link_->RecordMetrics(work() / "curves.jsonl");
  const fs::path out = TrainLayers("layerwise-2", 2, 2);
  EXPECT_EQ(NamesIn(out), (std::set<std::string>{"attention-002.safetensors", "attention-003.safetensors",
                                                 "layer-002.json", "layer-003.json"}));
  // Streams, targets and checkpoints of the attempt are removed.
  EXPECT_EQ(NamesIn(AttemptOf("layerwise-2", 1)), std::set<std::string>{"out"});
  for (const int64_t layer : {2, 3}) {
    const json record = RecordOf(out, layer);
    std::set<std::string> keys;
    for (const auto& [key, value] : record.items()) keys.insert(key);
    EXPECT_EQ(keys, (std::set<std::string>{"layer", "error_before", "error_after", "kept_start", "steps",
                                           "learning_rate", "seconds", "sha256"}));
    EXPECT_EQ(record["layer"], layer);
    EXPECT_EQ(record["kept_start"], false);
    // Two of the 36 windows only measure.
    EXPECT_EQ(record["steps"], 34 * 3 / 2);
    EXPECT_EQ(record["learning_rate"], 1e-2);
    EXPECT_GT(record["seconds"], 0);
    EXPECT_GT(record["error_before"], 0.05);
    EXPECT_LT(record["error_after"].get<double>(), 0.8 * record["error_before"].get<double>());
    EXPECT_EQ(record["sha256"], *FileDigest(out / artifacts::TrainedAttention(layer)));
    const TensorMap written = *LoadTensors(out / artifacts::TrainedAttention(layer));
    const std::map<std::string, at::Tensor> merged = Merged(layer);
    ASSERT_EQ(written.size(), merged.size());
    for (const auto& [name, tensor] : merged) {
      EXPECT_EQ(written.at(name).sizes(), tensor.sizes()) << name;
      EXPECT_FALSE(at::equal(written.at(name), tensor)) << name;
    }
  }
}

TEST_F(LayerwiseTest, PublishesTheErrorsAtThePlaceOfTheLayer) {
  Record();
  link_->RecordMetrics(work() / "curves.jsonl");
  const fs::path out = TrainLayers("layerwise-2", 2, 2);
  std::ifstream curves(work() / "curves.jsonl");
  std::map<int64_t, json> errors;
  std::set<int64_t> layers;
  for (std::string line; std::getline(curves, line);) {
    const json point = json::parse(line);
    if (point.contains("layer_error_before")) errors[point["step"].get<int64_t>()] = point;
    if (!point.contains("layer_loss")) continue;
    layers.insert(point["layer"].get<int64_t>());
    for (const char* name : {"gradient_norm", "learning_rate", "step_seconds", "tokens_per_second"}) {
      EXPECT_TRUE(point.contains(name)) << name;
    }
  }
  EXPECT_EQ(layers, (std::set<int64_t>{2, 3}));
  ASSERT_EQ(errors.size(), 2U);
  for (const int64_t layer : {2, 3}) {
    EXPECT_EQ(errors[layer]["layer_error_before"], RecordOf(out, layer)["error_before"]);
    EXPECT_EQ(errors[layer]["layer_error_after"], RecordOf(out, layer)["error_after"]);
  }
}

TEST_F(LayerwiseTest, ALaterAttemptTakesFinishedLayersOver) {
  Record();
  const fs::path first = TrainLayers("layerwise-0", 0, 2, 1);
  const fs::path second = TrainLayers("layerwise-0", 0, 2, 2);
  for (const int64_t layer : {0, 1}) {
    EXPECT_EQ(WeightsOf(first, layer), WeightsOf(second, layer));
    // The same time too: nothing was trained again.
    EXPECT_EQ(RecordOf(first, layer), RecordOf(second, layer));
  }
}

TEST_F(LayerwiseTest, ALaterAttemptTrainsWhatIsMissingOrDamagedToTheSameBytes) {
  Record();
  const fs::path expected = TrainLayers("straight", 0, 4);
  const auto damaged_and_repeated = [&](const std::string& task, const std::function<void(const fs::path&)>& damage) {
    damage(TrainLayers(task, 0, 4, 1));
    const fs::path out = TrainLayers(task, 0, 4, 2);
    for (int64_t layer = 0; layer < kLayers; ++layer) ExpectSame(out, expected, layer);
  };
  damaged_and_repeated("flipped", [](const fs::path& out) {
    std::string weights = WeightsOf(out, 1);
    weights.back() ^= 1;
    std::ofstream(out / artifacts::TrainedAttention(1), std::ios::binary) << weights;
  });
  damaged_and_repeated("no-weights", [](const fs::path& out) { fs::remove(out / artifacts::TrainedAttention(2)); });
  damaged_and_repeated("killed-before-the-record", [](const fs::path& out) {
    for (const int64_t layer : {1, 2, 3}) fs::remove(out / artifacts::LayerRecord(layer));
    fs::resize_file(out / artifacts::TrainedAttention(1), 100);
  });
  int number = 0;
  for (const char* content : {"", "[]", "{}", R"({"sha256": 5})", R"({"sha256": null})"}) {
    damaged_and_repeated("record-" + std::to_string(++number),
                         [&](const fs::path& out) { std::ofstream(out / artifacts::LayerRecord(3)) << content; });
  }
}

TEST_F(LayerwiseTest, ALaterAttemptContinuesFromTheLastCheckpointOfTheLayer) {
  layerwise().set_layers_per_task(1);
  Record();
  const fs::path straight = TrainLayers("straight", 1, 1);
  // The same training leaves checkpoints behind, the last one before its last step.
  const auto killed_with_seed = [&](const std::string& task, uint64_t seed) {
    const SourceModel source = *SourceModel::Open(source_folder());
    StageContext context = ContextOf(task, 1);
    fs::create_directories(context.out());
    const SourcePass pass = *MakeSourcePass(context, source, /*with_embeddings=*/false);
    const StreamShape shape{.windows = kWindows, .tokens = kLength, .hidden_size = 10};
    const ResidualStreams inputs = *ResidualStreams::Open({StreamsOf("record") / StreamFile(1, 0, 1)}, shape);
    ResidualStreams targets = *ResidualStreams::Create(work() / "targets", shape);
    const Block block = *pass.LoadBlock(1);
    SourcePass::Branches branches{.streams = &targets};
    EXPECT_TRUE(pass.Advance(block, 1, inputs, nullptr, &branches).ok());
    Block merged = *source.MapBlock(1);
    EXPECT_TRUE(Conversion::Average(source.config(), 2)->Merge(merged, 1).ok());
    const LayerSettings settings{.passes = 3,
                                 .learning_rate = 1e-2,
                                 .seed = seed,
                                 .checkpoints = AttemptOf(task, 1) / attempt_files::kTrainingCheckpoints / "layer-001",
                                 .checkpoint_every_s = 0};
    const LayerLesson lesson{.layer = 1,
                             .pass = &pass,
                             .source = &block,
                             .head_order = {0, 1, 2, 3},
                             .inputs = &inputs,
                             .targets = &targets,
                             .variance = branches.moments.Variance()};
    EXPECT_TRUE(LayerDistiller(settings, lesson, merged, [](const auto&) {}).Run().ok());
    return TrainLayers(task, 1, 1, 2);
  };
  ExpectSame(killed_with_seed("killed", 0), straight, 1);
  // One step alone does not bring the weights of another order of the text to these: the checkpoint was read.
  EXPECT_NE(WeightsOf(killed_with_seed("other-seed", 5), 1), WeightsOf(straight, 1));
}

TEST_F(LayerwiseTest, StreamsThatWereRemovedAreComputedAgainToTheSameBytes) {
  Record();
  const fs::path first = TrainLayers("first", 0, 2), second = TrainLayers("second", 2, 2);
  fs::remove_all(StreamsOf("record"));
  const fs::path first_again = TrainLayers("first-again", 0, 2), second_again = TrainLayers("second-again", 2, 2);
  for (const int64_t layer : {0, 1}) ExpectSame(first_again, first, layer);
  for (const int64_t layer : {2, 3}) ExpectSame(second_again, second, layer);
  EXPECT_EQ(NamesIn(AttemptOf("second-again", 1)), std::set<std::string>{"out"});
}

TEST_F(LayerwiseTest, StreamsThatAreDamagedAreComputedAgainToTheSameBytes) {
  Record();
  const fs::path intact = TrainLayers("intact", 2, 2);
  FlipBit(StreamsOf("record") / StreamFile(2, 0, 1), 1001);
  const fs::path again = TrainLayers("again", 2, 2);
  for (const int64_t layer : {2, 3}) ExpectSame(again, intact, layer);
}

TEST_F(LayerwiseTest, StreamsThatSeveralRanksRecordedAreComputedAgainToTheSameBytes) {
  const SourceModel source = *SourceModel::Open(source_folder());
  const fs::path folder = work() / "streams" / "by-three", staged = work() / "staged";
  fs::create_directories(staged);
  fs::create_directories(AttemptOf("record", 1) / "out");
  StageContext context = ContextOf("record", 1);
  const TokenWindows text = *ReadLayerwiseText(context, source);
  const SourcePass pass = *MakeSourcePass(context, source, /*with_embeddings=*/true);
  for (int64_t rank = 0; rank < 3; ++rank) {
    ASSERT_TRUE(RecordStreams(context, pass, text, WindowsOfRank(kWindows, rank, 3), {0, 2}, 2, staged, rank, 3).ok());
  }
  ASSERT_TRUE(PublishShared(staged, folder).ok());
  const SharedFolder shared = *DescribeShared(context, "streams/by-three");
  ASSERT_TRUE(WriteStreamsPointer(context, {.shared = shared, .windows = kWindows, .ranks = 3}).ok());
  (*assignment_.mutable_inputs())[kRecordRole] = "record/1/out";
  const fs::path with = TrainLayers("with", 2, 2);
  fs::remove_all(folder);
  const fs::path without = TrainLayers("without", 2, 2);
  for (const int64_t layer : {2, 3}) ExpectSame(without, with, layer);
}

TEST_F(LayerwiseTest, BlocksOfAnySizeGiveTheSameBytes) {
  layerwise().set_layers_per_task(kLayers);
  Record("record-one-block");
  const fs::path all = TrainLayers("all", 0, kLayers);
  layerwise().set_layers_per_task(1);
  Record("record-every-layer");
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    ExpectSame(TrainLayers("layer-" + std::to_string(layer), layer, 1), all, layer);
  }
}

TEST_F(LayerwiseTest, ASourceWithNumbersThatAreNotFiniteIsRefusedByName) {
  WriteSource([](std::map<std::string, at::Tensor>& tensors) {
    tensors["model.layers.2.self_attn.v_proj.weight"][3][1] = std::numeric_limits<float>::quiet_NaN();
  });
  Record();
  EXPECT_TRUE(TryLayers("first", 0, 2).ok());
  const absl::Status status = TryLayers("second", 2, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("source.checkpoint"), HasSubstr("layer 2")));
}

TEST_F(LayerwiseTest, ALayerWithoutOutputIsMergedWithoutError) {
  WriteSource(
      [](std::map<std::string, at::Tensor>& tensors) { tensors["model.layers.1.self_attn.o_proj.weight"].zero_(); });
  Record();
  link_->RecordMetrics(work() / "curves.jsonl");
  const fs::path out = TrainLayers("layerwise-0", 0, 2);
  json record = RecordOf(out, 1);
  EXPECT_EQ(record["sha256"], *FileDigest(out / artifacts::TrainedAttention(1)));
  record.erase("sha256");
  EXPECT_GE(record["seconds"], 0);
  record.erase("seconds");
  EXPECT_EQ(record, (json{{"layer", 1},
                          {"error_before", 0.0},
                          {"error_after", 0.0},
                          {"kept_start", false},
                          {"steps", 0},
                          {"learning_rate", 1e-2}}));
  ExpectMerged(out, 1);
  EXPECT_THAT(*ReadFile(work() / "curves.jsonl"),
              HasSubstr(R"({"step":1,"layer_error_before":0.0,"layer_error_after":0.0})"));
}

TEST_F(LayerwiseTest, ALayerThatTrainingMakesWorseKeepsItsStart) {
  Record();
  // The first rate and an eighth of it give a worse layer, the second one numbers that are not finite.
  for (const double rate : {300.0, 1e30}) {
    layerwise().set_learning_rate(rate);
    const fs::path out = TrainLayers("rate-" + std::to_string(rate > 1000), 0, 1);
    const json record = RecordOf(out, 0);
    EXPECT_EQ(record["kept_start"], true);
    EXPECT_GT(record["error_before"], 0.05);
    EXPECT_EQ(record["error_after"], record["error_before"]);
    ExpectMerged(out, 0);
  }
}

TEST_F(LayerwiseTest, ALayerThatTheRateMakesWorseIsTrainedAgainAtASmallerOne) {
  Record();
  layerwise().set_learning_rate(2.0);
  const fs::path out = TrainLayers("too-fast", 0, 1);
  const json record = RecordOf(out, 0);
  EXPECT_EQ(record["kept_start"], false);
  EXPECT_EQ(record["learning_rate"], 0.25);
  EXPECT_LT(record["error_after"], record["error_before"]);
  // The second training starts from the merged layer, as one at that rate does.
  layerwise().set_learning_rate(0.25);
  ExpectSame(TrainLayers("slower", 0, 1), out, 0);
}

TEST_F(LayerwiseTest, BFloat16TrainsAsFloat32DoesAndWritesWhatItsMasterWeightsHold) {
  Record();
  const fs::path wide = TrainLayers("float32", 0, 2);
  layerwise().set_precision("bfloat16");
  Record("record-in-bfloat16");
  EXPECT_NE(PointerOf("record-in-bfloat16"), PointerOf("record"));
  const fs::path narrow = TrainLayers("bfloat16", 0, 2);
  for (const int64_t layer : {0, 1}) {
    const double expected = RecordOf(wide, layer)["error_after"];
    EXPECT_NEAR(RecordOf(narrow, layer)["error_after"], expected, 0.1 * expected) << layer;
    const TensorMap written = *LoadTensors(narrow / artifacts::TrainedAttention(layer));
    for (const auto& [name, tensor] : written) {
      EXPECT_EQ(tensor.scalar_type(), at::kFloat) << name;
      EXPECT_FALSE(at::equal(tensor, tensor.to(at::kBFloat16).to(at::kFloat))) << name;
    }
  }
  // A layer that stays as it was is not rounded either.
  layerwise().set_learning_rate(300);
  ExpectMerged(TrainLayers("too-fast", 0, 1), 0);
}

TEST_F(LayerwiseTest, LaterStagesReadTheTrainedAttention) {
  Record();
  TrainLayers("layerwise-0", 0, 2);
  TrainLayers("layerwise-2", 2, 2);
  (*assignment_.mutable_inputs())[LayerwiseRole(0)] = "layerwise-0/1/out";
  (*assignment_.mutable_inputs())[LayerwiseRole(2)] = "layerwise-2/1/out";
  const SourceModel source = *SourceModel::Open(source_folder());
  const auto conversion = LoadConversion(ContextOf("export", 1), source.config());
  ASSERT_TRUE(conversion.ok()) << conversion.status();
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    Block block = *source.MapBlock(layer);
    ASSERT_TRUE(conversion->Merge(block, layer).ok());
    const fs::path out = AttemptOf(layer < 2 ? "layerwise-0" : "layerwise-2", 1) / "out";
    const TensorMap trained = *LoadTensors(out / artifacts::TrainedAttention(layer));
    EXPECT_TRUE(
        at::equal(block.attention.key.weight, trained.at("layers." + std::to_string(layer) + ".attention.key.weight")));
    EXPECT_TRUE(at::equal(block.attention.output.weight,
                          trained.at("layers." + std::to_string(layer) + ".attention.output.weight")));
  }
}

TEST_F(LayerwiseTest, AStreamOfAnotherSizeIsComputedAgain) {
  Record();
  const fs::path intact = TrainLayers("intact", 2, 2);
  fs::resize_file(StreamsOf("record") / StreamFile(2, 0, 1), 10);
  const fs::path again = TrainLayers("again", 2, 2);
  for (const int64_t layer : {2, 3}) ExpectSame(again, intact, layer);
}

}  // namespace
}  // namespace regroup
