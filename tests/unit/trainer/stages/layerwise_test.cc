// Tests the stages record and layerwise one after the other on a tiny model of four layers.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "services/common/base/files.h"
#include "tests/unit/trainer/fixtures/family_folder.h"
#include "tests/unit/trainer/stages/stage_fixture.h"
#include "trainer/data/file_digest.h"
#include "trainer/layerwise/layer_distiller.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_streams.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/load_conversion.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kLayers = 4, kLength = 16, kWindows = 36;

/// Returns a tokenizer whose tokens are letters; 22 ends a text.
std::string LetterTokenizer() {
  json vocabulary = {{"</s>", 22}};
  for (int letter = 0; letter < 22; ++letter) vocabulary[std::string(1, static_cast<char>('a' + letter))] = letter;
  const json tokenizer = {{"added_tokens", json::array()},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", nullptr},
                          {"post_processor", nullptr},
                          {"decoder", nullptr},
                          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", json::array()}}}};
  return tokenizer.dump();
}

class LayerwiseTest : public StageFixture {
 protected:
  LayerwiseTest() {
    at::set_num_threads(1);
    WriteSource();
    std::ofstream text(work() / "text.jsonl");
    at::manual_seed(12);
    const at::Tensor letters = at::randint(0, 22, {30, 20}, at::kLong);
    for (int64_t line = 0; line < letters.size(0); ++line) {
      text << "{\"text\": \"";
      for (int64_t i = 0; i < letters.size(1); ++i) text << static_cast<char>('a' + letters[line][i].item<int64_t>());
      text << "\"}\n";
    }
    text.close();
    v1::Layerwise& layerwise = *assignment_.mutable_spec()->mutable_layerwise();
    layerwise.set_method("distill");
    layerwise.set_data((work() / "text.jsonl").string());
    layerwise.set_sequences(kWindows);
    layerwise.set_sequence_length(kLength);
    layerwise.set_passes(3);
    layerwise.set_batch_sequences(2);
    layerwise.set_map_weight(1);
    layerwise.set_learning_rate(1e-2);
    layerwise.set_layers_per_task(2);
    assignment_.mutable_model()->set_layers(kLayers);
    AddAlignments("", SourceModel::Open(source_folder())->config(), 2);
  }

  void WriteSource(const std::function<void(std::map<std::string, at::Tensor>&)>& change = {}) {
    json config = FamilyConfig("llama");
    config["num_hidden_layers"] = kLayers;
    WriteFamilyFolder(source_folder(), config, 7);
    if (change) {
      const auto stored = LoadTensors(source_folder() / "model.safetensors");
      std::map<std::string, at::Tensor> tensors;
      for (const auto& [name, tensor] : *stored) tensors[name] = tensor.clone();
      change(tensors);
      WriteFolder(source_folder(), config, tensors);
    }
    std::ofstream(source_folder() / "tokenizer.json") << LetterTokenizer();
  }
  v1::Layerwise& layerwise() { return *assignment_.mutable_spec()->mutable_layerwise(); }

  fs::path AttemptOf(const std::string& task, int epoch) const { return work() / task / std::to_string(epoch); }

  /// Runs one attempt and returns its folder of results.
  absl::StatusOr<fs::path> Run(v1::TaskKind kind, const std::string& task, int epoch) {
    assignment_.mutable_attempt()->set_task(task);
    assignment_.mutable_attempt()->set_epoch(epoch);
    StageContext context = ContextOf(task, epoch);
    fs::create_directories(context.out());
    const auto outcome = FindStage(kind)(context);
    if (!outcome.ok()) return outcome.status();
    return context.out();
  }
  StageContext ContextOf(const std::string& task, int epoch) {
    return {assignment_, work(), AttemptOf(task, epoch), *communicator_, *link_, at::Device(at::kCPU)};
  }

  /// Records the streams, and makes them the input of later tasks.
  void Record(const std::string& task = "record") {
    const auto recorded = Run(v1::TASK_KIND_RECORD, task, 1);
    ASSERT_TRUE(recorded.ok()) << recorded.status();
    (*assignment_.mutable_inputs())[kRecordRole] = task + "/1/out";
  }
  absl::StatusOr<fs::path> TryLayers(const std::string& task, int64_t first, int64_t layers, int epoch = 1) {
    assignment_.set_layer(static_cast<int32_t>(first));
    assignment_.set_layers(static_cast<int32_t>(layers));
    return Run(v1::TASK_KIND_LAYERWISE, task, epoch);
  }
  fs::path TrainLayers(const std::string& task, int64_t first, int64_t layers, int epoch = 1) {
    const auto trained = TryLayers(task, first, layers, epoch);
    EXPECT_TRUE(trained.ok()) << trained.status();
    return trained.value_or("");
  }

  json PointerOf(const std::string& task) const {
    return json::parse(*ReadFile(AttemptOf(task, 1) / "out" / artifacts::kStreamsPointer));
  }
  fs::path StreamsOf(const std::string& task) const { return work() / PointerOf(task)["folder"].get<std::string>(); }
  static json RecordOf(const fs::path& folder, int64_t layer) {
    return json::parse(*ReadFile(folder / artifacts::LayerRecord(layer)));
  }
  static std::string WeightsOf(const fs::path& folder, int64_t layer) {
    return *ReadFile(folder / artifacts::TrainedAttention(layer));
  }
  /// Compares what two attempts wrote for a layer; only the time may differ.
  static void ExpectSame(const fs::path& one, const fs::path& other, int64_t layer) {
    EXPECT_EQ(WeightsOf(one, layer), WeightsOf(other, layer)) << layer;
    json first = RecordOf(one, layer), second = RecordOf(other, layer);
    first.erase("seconds");
    second.erase("seconds");
    EXPECT_EQ(first, second);
  }
  static std::set<std::string> NamesIn(const fs::path& folder) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
    return names;
  }
  /// Returns the attention of the merged layer before training, by the names of VisitBlock.
  std::map<std::string, at::Tensor> Merged(int64_t layer) {
    const SourceModel source = *SourceModel::Open(source_folder());
    Block block = *source.MapBlock(layer);
    EXPECT_TRUE(Conversion::Average(source.config(), 2)->Merge(block, layer).ok());
    std::map<std::string, at::Tensor> tensors;
    VisitBlock(block, layer, [&](const std::string& name, at::Tensor& tensor) {
      if (tensor.defined() && name.find(".attention.") != std::string::npos) tensors[name] = tensor;
    });
    return tensors;
  }
  void ExpectMerged(const fs::path& folder, int64_t layer) {
    const auto written = LoadTensors(folder / artifacts::TrainedAttention(layer));
    ASSERT_TRUE(written.ok()) << written.status();
    const std::map<std::string, at::Tensor> expected = Merged(layer);
    EXPECT_EQ(written->size(), expected.size());
    for (const auto& [name, tensor] : expected) {
      ASSERT_TRUE(written->contains(name)) << name;
      EXPECT_TRUE(at::equal(written->at(name), tensor)) << name;
    }
  }
};

TEST_F(LayerwiseTest, RecordWritesTheSourcesStreamsBeforeEveryBlock) {
  Record();
  EXPECT_EQ(NamesIn(AttemptOf("record", 1)), std::set<std::string>{"out"});
  const json pointer = PointerOf("record");
  EXPECT_EQ(pointer["windows"], kWindows);
  EXPECT_EQ(pointer["ranks"], 1);
  EXPECT_EQ(NamesIn(StreamsOf("record")), (std::set<std::string>{"layer-000-part-0-of-1", "layer-002-part-0-of-1"}));

  const SourceModel source = *SourceModel::Open(source_folder());
  StageContext context = ContextOf("record", 1);
  const TokenWindows text = *ReadLayerwiseText(context, source);
  const Model model = *source.Load(at::kFloat, at::kCPU);
  const WindowRunner runner(model, kLength, at::kCPU);
  for (const int64_t layer : {0, 2}) {
    const auto streams = ResidualStreams::Open({StreamsOf("record") / StreamFile(layer, 0, 1)},
                                               {.windows = kWindows, .tokens = kLength, .hidden_size = 10});
    ASSERT_TRUE(streams.ok()) << streams.status();
    for (const int64_t window : {0, 17, 35}) {
      at::Tensor tokens = at::empty({1, kLength}, at::kLong);
      text.Copy(window, tokens.mutable_data_ptr<int64_t>());
      at::Tensor expected = runner.Start(tokens);
      for (int64_t earlier = 0; earlier < layer; ++earlier) {
        expected = runner.Advance(expected, model.blocks[earlier], earlier);
      }
      const at::Tensor ours = *streams->Read({window}, at::kFloat, at::kCPU);
      EXPECT_LT((ours - expected).norm().item<double>(), 1e-2 * expected.norm().item<double>()) << layer;
    }
  }
}

TEST_F(LayerwiseTest, JobsWithTheSameTextAndBordersShareTheStreams) {
  Record();
  const fs::path file = StreamsOf("record") / StreamFile(2, 0, 1);
  const fs::file_time_type written = fs::last_write_time(file);
  const auto long_ago = written - std::chrono::hours(1);
  fs::last_write_time(StreamsOf("record"), long_ago);
  Record("record-of-another-job");
  EXPECT_EQ(PointerOf("record-of-another-job"), PointerOf("record"));
  EXPECT_EQ(fs::last_write_time(file), written);
  // Its use keeps the folder from being removed first.
  EXPECT_GT(fs::last_write_time(StreamsOf("record")), long_ago);

  layerwise().set_layers_per_task(1);
  Record("other-borders");
  EXPECT_NE(PointerOf("other-borders"), PointerOf("record"));
  assignment_.mutable_model()->set_digest("another");
  Record("other-source");
  EXPECT_NE(PointerOf("other-source"), PointerOf("other-borders"));
}

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
                                 .checkpoints = AttemptOf(task, 1) / artifacts::kTrainingCheckpoints / "layer-001",
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

TEST_F(LayerwiseTest, StreamsThatSeveralRanksRecordedAreComputedAgainToTheSameBytes) {
  const SourceModel source = *SourceModel::Open(source_folder());
  const fs::path folder = work() / "streams" / "by-three";
  fs::create_directories(folder);
  fs::create_directories(AttemptOf("record", 1) / "out");
  StageContext context = ContextOf("record", 1);
  const TokenWindows text = *ReadLayerwiseText(context, source);
  const SourcePass pass = *MakeSourcePass(context, source, /*with_embeddings=*/true);
  for (int64_t rank = 0; rank < 3; ++rank) {
    ASSERT_TRUE(RecordStreams(context, pass, text, WindowsOfRank(kWindows, rank, 3), {0, 2}, 2, folder, rank, 3).ok());
  }
  ASSERT_TRUE(WriteStreamsPointer(context, {.folder = "streams/by-three", .windows = kWindows, .ranks = 3}).ok());
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

TEST_F(LayerwiseTest, ADamagedPointerIsDataLossThatNamesTheFile) {
  Record();
  const fs::path pointer = AttemptOf("record", 1) / "out" / artifacts::kStreamsPointer;
  for (const char* content :
       {"", "[]", R"({"folder": "streams/a", "windows": 36})", R"({"folder": 3, "windows": 36, "ranks": 1})",
        R"({"folder": "streams/a", "windows": "36", "ranks": 1})",
        R"({"folder": "streams/a", "windows": 36, "ranks": null})"}) {
    std::ofstream(pointer) << content;
    const auto read = ReadStreamsPointer(ContextOf("layerwise-0", 1));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << content;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(pointer.string())) << content;
  }
}

TEST_F(LayerwiseTest, AStreamOfAnotherSizeIsDataLossThatNamesTheFile) {
  Record();
  const fs::path file = StreamsOf("record") / StreamFile(2, 0, 1);
  fs::resize_file(file, 10);
  const absl::Status status = TryLayers("layerwise-2", 2, 2).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(file.string()));
}

class MakeRoomForStreamsTest : public testing::Test {
 protected:
  /// Writes folders of 1,000 bytes, in two files each, the first of which was used last.
  MakeRoomForStreamsTest() {
    for (int i = 0; i < 4; ++i) {
      const fs::path folder = folder_.path() / std::string(1, static_cast<char>('a' + i));
      fs::create_directories(folder);
      std::ofstream(folder / "one") << std::string(400, 'x');
      std::ofstream(folder / "two") << std::string(600, 'x');
      fs::last_write_time(folder, fs::file_time_type::clock::now() - std::chrono::hours(i + 1));
    }
  }
  /// Returns the names of what is left.
  std::string LeftOver(int64_t needed, int64_t limit) {
    MakeRoomForStreams(folder_.path(), needed, limit);
    std::string left;
    for (const char name : {'a', 'b', 'c', 'd'}) {
      if (fs::exists(folder_.path() / std::string(1, name))) left += name;
    }
    return left;
  }

  TemporaryFolder folder_;
};

TEST_F(MakeRoomForStreamsTest, RemovesNothingWhileThereIsRoom) {
  EXPECT_EQ(LeftOver(1000, 5000), "abcd");
  MakeRoomForStreams(folder_.path(), int64_t{1} << 30);
  EXPECT_EQ(LeftOver(0, 4000), "abcd");
}

TEST_F(MakeRoomForStreamsTest, RemovesThoseThatWereNotUsedForTheLongestTimeAndNoMoreThanNecessary) {
  EXPECT_EQ(LeftOver(1001, 5000), "abc");
  EXPECT_EQ(LeftOver(3500, 5000), "a");
}

TEST_F(MakeRoomForStreamsTest, RemovesAllWhereTheNeedAloneIsTooLarge) { EXPECT_EQ(LeftOver(6000, 5000), ""); }

TEST_F(MakeRoomForStreamsTest, AFolderThatDoesNotExistYetHasRoom) {
  MakeRoomForStreams(folder_.path() / "none", 6000, 5000);
  EXPECT_FALSE(fs::exists(folder_.path() / "none"));
}

}  // namespace
}  // namespace regroup
