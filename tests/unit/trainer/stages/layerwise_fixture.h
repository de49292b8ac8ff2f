// Runs the stages record and layerwise on a tiny model of four layers, for their tests.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "tests/unit/trainer/fixtures/family_folder.h"
#include "tests/unit/trainer/stages/stage_fixture.h"
#include "trainer/nn/parameter_names.h"
#include "trainer/stages/artifacts.h"

namespace regroup {

namespace fs = std::filesystem;
using nlohmann::json;

inline constexpr int64_t kLayers = 4, kLength = 16, kWindows = 36;

/// Returns a tokenizer whose tokens are letters; 22 ends a text.
inline std::string LetterTokenizer() {
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

class LayerwiseFixture : public StageFixture {
 protected:
  LayerwiseFixture() {
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
      if (tensor.defined() && IsOfAttention(name)) tensors[name] = tensor;
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

}  // namespace regroup
