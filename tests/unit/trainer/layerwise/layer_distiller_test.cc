#include "trainer/layerwise/layer_distiller.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/family_folder.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "trainer/alignment/merge_heads.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/nn/windows_at_once.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using Figures = LayerDistiller::StepFigures;

constexpr int64_t kLength = 16;

/// Prepares the lesson of one layer of a tiny model, whose heads are merged by plain averages.
class LayerDistillerTest : public testing::Test {
 protected:
  /// Layers this small take longer to hand out to threads than to compute.
  LayerDistillerTest() { at::set_num_threads(1); }

  void Open(std::string_view family, int64_t kv_heads, int texts = 40) {
    WriteFamilyFolder(folder_.path() / "source", FamilyConfig(family), 7);
    const auto source = SourceModel::Open(folder_.path() / "source");
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *source;
    auto pass = SourcePass::Make(*source_, {.sequence_length = kLength, .tick = [] {}});
    ASSERT_TRUE(pass.ok()) << pass.status();
    pass_ = *std::move(pass);
    text_ = LetterWindows(folder_.path() / "text.jsonl", texts, kLength);
    const auto conversion = Conversion::Average(source_->config(), kv_heads);
    ASSERT_TRUE(conversion.ok()) << conversion.status();
    conversion_ = *conversion;
  }

  /// Computes the inputs and targets of a layer.
  void Prepare(int64_t layer) {
    const int64_t hidden = source_->config().hidden_size;
    std::vector<int64_t> all;
    for (int64_t window = 0; window < text_->windows(); ++window) all.push_back(window);
    const StreamShape shape{.windows = text_->windows(), .tokens = kLength, .hidden_size = hidden};
    inputs_ = *ResidualStreams::Create(folder_.path() / "inputs", shape);
    ASSERT_TRUE(pass_->Start(*text_, all, *inputs_).ok());
    for (int64_t earlier = 0; earlier < layer; ++earlier) {
      ASSERT_TRUE(pass_->Advance(*pass_->LoadBlock(earlier), earlier, *inputs_, &*inputs_).ok());
    }
    targets_ = *ResidualStreams::Create(
        folder_.path() / "targets",
        {.windows = text_->windows(), .tokens = pass_->BranchTokens(layer), .hidden_size = hidden});
    source_block_ = *pass_->LoadBlock(layer);
    SourcePass::Branches branches{.streams = &*targets_};
    ASSERT_TRUE(pass_->Advance(source_block_, layer, *inputs_, nullptr, &branches).ok());
    lesson_ = {
        .layer = layer,
        .pass = &*pass_,
        .source = &source_block_,
        .head_order = QueryHeadOrder(conversion_.alignments()[layer], AttentionShapeOf(source_->config(), layer)),
        .inputs = &*inputs_,
        .targets = &*targets_,
        .variance = branches.moments.Variance()};
    merged_ = *source_->MapBlock(layer);
    ASSERT_TRUE(conversion_.Merge(merged_, layer).ok());
    ConvertBlock(merged_, at::kFloat, at::kCPU);
  }

  std::unique_ptr<LayerDistiller> Make(const LayerSettings& settings) {
    published_.clear();
    return std::make_unique<LayerDistiller>(settings, lesson_, merged_, [this](const Figures& figures) {
      published_.push_back(figures);
      if (on_publish_) on_publish_(figures);
    });
  }
  /// Returns the distiller after its training, starting from the checkpoint if there is one.
  std::unique_ptr<LayerDistiller> Train(const LayerSettings& settings,
                                        const std::optional<TrainingCheckpoint>& resumed = {}) {
    std::unique_ptr<LayerDistiller> distiller = Make(settings);
    if (resumed.has_value()) {
      EXPECT_TRUE(distiller->Resume(*resumed).ok());
    }
    const absl::Status status = distiller->Run();
    EXPECT_TRUE(status.ok()) << status;
    return distiller;
  }
  static at::Tensor Weights(Block block) {
    std::vector<at::Tensor> all;
    VisitBlock(block, 0, [&](const std::string&, at::Tensor& tensor) {
      if (tensor.defined()) all.push_back(tensor.detach().flatten());
    });
    return at::cat(all);
  }
  /// Returns the mean squared distance of the layer's branches from the source's in these windows, by one forward pass
  /// of the whole model with only this layer replaced, relative to the variance.
  double ErrorByWholeModel(const Block& block, int64_t first, int64_t windows) const {
    at::Tensor tokens = at::empty({windows, kLength}, at::kLong);
    for (int64_t i = 0; i < windows; ++i) text_->Copy(first + i, tokens[i].mutable_data_ptr<int64_t>());
    Model model = *source_->Load(at::kFloat, at::kCPU);
    const auto branch_of = [&] {
      const at::NoGradGuard no_gradients;
      at::Tensor seen;
      RunHiddenStates(model, tokens, {.branch_observer = [&](int64_t layer, const at::Tensor& branch) {
                        if (layer == lesson_.layer) seen = branch.to(at::kDouble);
                      }});
      return seen;
    };
    const at::Tensor expected = branch_of();
    model.blocks[lesson_.layer] = block;
    return (branch_of() - expected).square().sum(-1).mean().item<double>() / lesson_.variance;
  }

  TemporaryFolder folder_;
  std::optional<SourceModel> source_;
  std::optional<SourcePass> pass_;
  std::optional<TokenWindows> text_;
  Conversion conversion_;
  std::optional<ResidualStreams> inputs_, targets_;
  Block source_block_, merged_;
  LayerLesson lesson_;
  std::vector<Figures> published_;
  std::function<void(const Figures&)> on_publish_;
};

struct FamilyCase {
  const char* name;
  const char* family;
  int64_t kv_heads = 2;
};

class LayerDistillerFamilyTest : public LayerDistillerTest, public testing::WithParamInterface<FamilyCase> {};

TEST_P(LayerDistillerFamilyTest, TrainingLowersTheErrorOfEveryLayer) {
  Open(GetParam().family, GetParam().kv_heads);
  for (int64_t layer = 0; layer < source_->config().layers; ++layer) {
    Prepare(layer);
    const std::unique_ptr<LayerDistiller> distiller = Make({.passes = 12, .learning_rate = 1e-2});
    const double before = *distiller->Error();
    ASSERT_TRUE(distiller->Run().ok());
    const double after = *distiller->Error();
    EXPECT_LT(after, 0.6 * before) << "layer " << layer;
    EXPECT_LT(published_.back().loss, published_.front().loss) << "layer " << layer;
    for (const Figures& figures : published_) EXPECT_TRUE(std::isfinite(figures.loss)) << figures.step;
    const int64_t measured = text_->windows() / 16, trained = text_->windows() - measured;
    // The streams are rounded to bfloat16 before and behind the layer.
    EXPECT_NEAR(before, ErrorByWholeModel(merged_, trained, measured), 2e-2 * before) << "layer " << layer;
    EXPECT_NEAR(after, ErrorByWholeModel(distiller->block(), trained, measured), 2e-2 * before) << "layer " << layer;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LayerDistillerFamilyTest,
                         testing::Values(FamilyCase{"Llama", "llama"}, FamilyCase{"LlamaToOneHead", "llama", 1},
                                         FamilyCase{"GroupedSource", "llama-grouped", 1},
                                         FamilyCase{"SlidingWindow", "mistral"}, FamilyCase{"NormOfHeads", "qwen3"},
                                         FamilyCase{"NormAfterAttention", "olmo2"}, FamilyCase{"Gpt2", "gpt2"},
                                         FamilyCase{"ParallelLayers", "gpt_neox"}, FamilyCase{"LinearBiases", "bloom"},
                                         FamilyCase{"EncoderDecoder", "t5"}, FamilyCase{"NormOnSum", "bart"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(LayerDistillerTest, LeavesTheMergedLayerAndTheRestOfTheBlockAsTheyAre) {
  Open("llama", 2);
  Prepare(1);
  const at::Tensor before = Weights(merged_);
  const std::unique_ptr<LayerDistiller> distiller = Train({.learning_rate = 1e-2});
  EXPECT_TRUE(at::equal(Weights(merged_), before));
  EXPECT_FALSE(at::equal(Weights(distiller->block()), before));
  EXPECT_TRUE(distiller->block().feed_forward.up.weight.is_same(merged_.feed_forward.up.weight));
  EXPECT_TRUE(distiller->block().attention_norm.weight.is_same(merged_.attention_norm.weight));
}

TEST_F(LayerDistillerTest, HeadsThatAreNotMergedHaveNoError) {
  for (const char* family : {"llama", "llama-grouped", "bloom", "t5", "bart"}) {
    Open(family, std::string_view(family) == "llama-grouped" ? 2 : 4);
    Prepare(1);
    // The rounding of the targets remains.
    EXPECT_LT(*Make({})->Error(), 1e-5) << family;
  }
}

TEST_F(LayerDistillerTest, ComparesEveryHeadWithTheSourcesOwn) {
  for (const char* family : {"llama", "llama-grouped", "qwen3", "bloom", "t5", "bart"}) {
    const bool grouped = std::string_view(family) == "llama-grouped";
    Open(family, grouped ? 2 : 4);
    // The source's layers with their KV heads in another order, none of them merged.
    std::vector<LayerAlignment> alignments = conversion_.alignments();
    for (LayerAlignment& alignment : alignments) {
      alignment.groups =
          grouped ? at::tensor({1, 0}, at::kLong).view({2, 1}) : at::tensor({2, 0, 3, 1}, at::kLong).view({4, 1});
    }
    conversion_ = Conversion(source_->config(), alignments);
    for (const int64_t layer : {0, 1}) {
      Prepare(layer);
      EXPECT_FALSE(at::equal(merged_.attention.query.weight, source_block_.attention.query.weight));
      Train({.passes = 1, .learning_rate = 1e-30, .map_weight = 100});
      EXPECT_LT(published_.front().loss, 1e-4) << family << ", layer " << layer;
    }
  }
}

/// Checkpoints of the training in all its steps, kept apart from the folder that removes old ones.
class LayerDistillerResumeTest : public LayerDistillerTest {
 protected:
  LayerSettings Settings() const { return {.passes = 2, .learning_rate = 1e-2, .seed = 3}; }

  /// Trains once and returns its checkpoints of these steps.
  std::vector<TrainingCheckpoint> Collect(const std::vector<int64_t>& steps) {
    LayerSettings settings = Settings();
    settings.checkpoints = folder_.path() / "checkpoints";
    settings.checkpoint_every_s = 0;
    std::vector<TrainingCheckpoint> collected;
    on_publish_ = [&](const Figures& figures) {
      const int64_t saved = figures.step - 1;
      if (std::find(steps.begin(), steps.end(), saved) == steps.end()) return;
      const fs::path kept = folder_.path() / "kept" / std::to_string(saved);
      fs::create_directories(kept.parent_path());
      fs::copy(TrainingCheckpointFolder(settings.checkpoints, saved), kept);
      collected.push_back({.folder = kept, .step = saved, .ranks = 1});
    };
    disturbed_ = Weights(Train(settings)->block());
    on_publish_ = nullptr;
    return collected;
  }

  at::Tensor disturbed_;
};

TEST_F(LayerDistillerResumeTest, ContinuesFromACheckpointWithTheSameBits) {
  Open("qwen3", 2);
  Prepare(0);
  const at::Tensor straight = Weights(Train(Settings())->block());
  const std::vector<Figures> figures = published_;
  const auto steps = static_cast<int64_t>(figures.size());
  // With the divergence of the probabilities in the loss, at the last such step, and without it.
  const int64_t last_with_map = static_cast<int64_t>(std::ceil(0.4 * static_cast<double>(steps)));
  const std::vector<TrainingCheckpoint> checkpoints = Collect({5, last_with_map, steps - 1});
  EXPECT_TRUE(at::equal(disturbed_, straight));
  ASSERT_EQ(checkpoints.size(), 3U);
  for (const TrainingCheckpoint& checkpoint : checkpoints) {
    EXPECT_TRUE(at::equal(Weights(Train(Settings(), checkpoint)->block()), straight)) << checkpoint.step;
    ASSERT_EQ(static_cast<int64_t>(published_.size()), steps - checkpoint.step);
    EXPECT_EQ(published_.front().step, checkpoint.step + 1);
    EXPECT_EQ(published_.front().loss, figures[checkpoint.step].loss);
    EXPECT_EQ(published_.front().learning_rate, figures[checkpoint.step].learning_rate);
  }
}

TEST_F(LayerDistillerResumeTest, SavesNothingWithoutAFolderAndNothingAfterTheLastStep) {
  Open("llama", 2);
  Prepare(0);
  LayerSettings settings = Settings();
  settings.checkpoint_every_s = 0;
  Train(settings);
  settings.checkpoints = folder_.path() / "checkpoints";
  Train(settings);
  const auto steps = static_cast<int64_t>(published_.size());
  EXPECT_FALSE(fs::exists(TrainingCheckpointFolder(settings.checkpoints, steps)));
  EXPECT_TRUE(fs::exists(TrainingCheckpointFolder(settings.checkpoints, steps - 1)));
  const auto found = *FindTrainingCheckpoint({settings.checkpoints}, *MakeSelfCommunicator());
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->step, steps - 1);
}

TEST_F(LayerDistillerResumeTest, ACheckpointOfAnotherLayerShapeIsRefused) {
  Open("llama", 1);
  Prepare(0);
  const std::vector<TrainingCheckpoint> checkpoints = Collect({5});
  Open("llama", 2);
  Prepare(0);
  ASSERT_EQ(checkpoints.size(), 1U);
  EXPECT_EQ(Make(Settings())->Resume(checkpoints[0]).code(), absl::StatusCode::kDataLoss);
}

TEST_F(LayerDistillerTest, TheSeedOrdersTheWindows) {
  Open("llama", 2);
  Prepare(0);
  const at::Tensor once = Weights(Train({.seed = 1})->block());
  EXPECT_TRUE(at::equal(Weights(Train({.seed = 1})->block()), once));
  EXPECT_FALSE(at::equal(Weights(Train({.seed = 2})->block()), once));
}

TEST_F(LayerDistillerTest, GradientsThatAreNotFiniteEndTheTrainingAndNameTheLayerAndTheKey) {
  Open("llama", 2);
  Prepare(1);
  const std::unique_ptr<LayerDistiller> distiller = Make({.passes = 4, .learning_rate = 1e30});
  const absl::Status status = distiller->Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("layer 1"), HasSubstr("layerwise.learning_rate")));
}

TEST_F(LayerDistillerTest, PublishesEveryStepWithItsRate) {
  Open("llama", 2);
  Prepare(0);
  const int64_t trained = text_->windows() - text_->windows() / 16;
  Train({.passes = 5, .batch_sequences = 4, .learning_rate = 8e-3});
  const int64_t steps = trained * 5 / 4;
  ASSERT_GE(steps, 40);
  ASSERT_EQ(static_cast<int64_t>(published_.size()), steps);
  for (int64_t step = 0; step < steps; ++step) {
    EXPECT_EQ(published_[step].step, step + 1);
    EXPECT_EQ(published_[step].steps, steps);
    EXPECT_EQ(published_[step].tokens, 4 * kLength);
    EXPECT_GT(published_[step].gradient_norm, 0);
    // A tenth more of the peak in each of the ten first steps, and then a straight line to nothing.
    const double share = step < 10 ? static_cast<double>(step + 1) / 10
                                   : static_cast<double>(steps - step) / static_cast<double>(steps - 10);
    EXPECT_NEAR(published_[step].learning_rate, 8e-3 * share, 1e-15) << step;
  }
}

TEST_F(LayerDistillerTest, TheMapsCountInTheFirstTwoFifthsOfTheSteps) {
  Open("llama", 2);
  Prepare(0);
  // At a rate of nothing every step has the loss of the merged layer, for its own windows.
  const LayerSettings still{.passes = 3, .batch_sequences = 4, .learning_rate = 1e-30, .map_weight = 0};
  Train(still);
  const std::vector<Figures> without = published_;
  LayerSettings with_map = still;
  with_map.map_weight = 2;
  Train(with_map);
  const std::vector<Figures> with = published_;
  with_map.map_weight = 4;
  Train(with_map);
  const auto steps = static_cast<int64_t>(without.size());
  for (int64_t step = 0; step < steps; ++step) {
    const double divergence = (with[step].loss - without[step].loss) / 2;
    if (5 * step < 2 * steps) {
      EXPECT_GT(divergence, 1e-3) << step;
    } else {
      EXPECT_NEAR(divergence, 0, 1e-6) << step;
    }
    EXPECT_NEAR(published_[step].loss - without[step].loss, 4 * divergence, 1e-4) << step;
  }
}

TEST_F(LayerDistillerTest, TheLossOfAStepIsTheErrorOfItsWindows) {
  Open("llama", 2, 10);
  Prepare(0);
  const int64_t trained = text_->windows() - 1;
  // One step with all windows, and one that asks for more windows than there are.
  for (const int64_t batch : {trained, 3 * trained}) {
    Train({.passes = 1, .batch_sequences = batch, .map_weight = 0});
    ASSERT_EQ(published_.size(), 1U);
    const double expected = ErrorByWholeModel(merged_, 0, trained);
    EXPECT_NEAR(published_[0].loss, expected, 2e-2 * expected) << batch;
  }
}

TEST_F(LayerDistillerTest, WindowsThatPassInPiecesGiveTheGradientOfAllTogether) {
  Open("llama", 2, 120);
  Prepare(0);
  ASSERT_GT(text_->windows(), WindowsAtOnce(kLength) + 1);
  const int64_t measured = text_->windows() / 16, trained = text_->windows() - measured;
  Train({.passes = 1, .batch_sequences = trained, .map_weight = 0});
  const double expected = ErrorByWholeModel(merged_, 0, trained);
  EXPECT_NEAR(published_[0].loss, expected, 2e-2 * expected);
}

TEST_F(LayerDistillerTest, ASingleWindowIsTrainedOnAndMeasured) {
  Open("llama", 2, 1);
  ASSERT_EQ(text_->windows(), 1);
  Prepare(0);
  const std::unique_ptr<LayerDistiller> distiller = Make({.passes = 40, .learning_rate = 1e-2});
  const double before = *distiller->Error();
  EXPECT_NEAR(before, ErrorByWholeModel(merged_, 0, 1), 2e-2 * before);
  ASSERT_TRUE(distiller->Run().ok());
  EXPECT_LT(*distiller->Error(), before);
}

TEST_F(LayerDistillerTest, MeasuresTheLastWindowsOnly) {
  Open("llama", 2);
  Prepare(0);
  const double before = *Make({})->Error();
  const int64_t measured = text_->windows() / 16, trained = text_->windows() - measured;
  ASSERT_GT(measured, 1);
  std::vector<int64_t> first, last;
  for (int64_t window = 0; window < text_->windows(); ++window) (window < trained ? first : last).push_back(window);
  const at::Tensor zeros = at::zeros({trained, kLength, source_->config().hidden_size});
  ASSERT_TRUE(targets_->Write(first, zeros).ok());
  EXPECT_EQ(*Make({})->Error(), before);
  ASSERT_TRUE(targets_->Write(last, zeros.narrow(0, 0, measured)).ok());
  EXPECT_NE(*Make({})->Error(), before);
}

TEST_F(LayerDistillerTest, AnInputFileThatBecomesShorterIsDataLoss) {
  Open("llama", 2);
  Prepare(0);
  fs::resize_file(folder_.path() / "inputs", 100);
  EXPECT_EQ(Make({})->Error().status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Make({})->Run().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace regroup
