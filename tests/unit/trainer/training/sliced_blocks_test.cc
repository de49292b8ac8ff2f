// Tests training with sliced blocks (ZeRO stage 3) against training with whole ones. Run alone, and by mpirun with two
// and four ranks.
//
// By the ring model of communicator.h, one rank of n sends in a step with one micro-batch, for S entries of the
// student's blocks, T of the teacher's and O of the rest, of 4 bytes:
//
//   (n-1)/n (4 T (teacher's pass) + 8 S (forward and backward pass) + 4 S (gradients) + 8 O) + sums of a few numbers
//
// and keeps 4 S / n of weights, 4 S / n of gradients and 8 S / n of moments for the student, and 4 T / n of weights for
// the teacher. Each part of a layer is padded to a multiple of 64 n entries.
#include "trainer/training/sliced_blocks.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "tests/unit/trainer/fixtures/family_folder.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "tests/unit/trainer/fixtures/metric_recorder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "tests/unit/trainer/fixtures/world.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/training/distill_trainer.h"
#include "trainer/training/student_lender.h"
#include "trainer/training/teacher.h"

namespace regroup {
namespace {

enum class Trained { kAll, kAttention, kAdapters };

struct Case {
  std::string name;
  bool gated = false;
  Trained trained = Trained::kAll;

  friend void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }
};

constexpr int64_t kTokens = 16;

class SlicedTrainingTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (World().rank() == 0) TinyLlama{.biases = true}.Write(folder_ / "model");
    ASSERT_TRUE(World().Barrier().ok());
    Open();
  }
  void Open() {
    source_ = std::make_unique<SourceModel>(*SourceModel::Open(folder_ / "model"));
    link_ = *WorkerLink::Connect({}, World().rank(), World().size());
    windows_ = std::make_unique<TokenWindows>(
        LetterWindows(folder_ / ("data-" + std::to_string(World().rank()) + ".jsonl"), 30, kTokens));
  }

  static std::optional<GangPlace> PlaceIn(const Communicator& gang, bool sliced) {
    if (!sliced) return std::nullopt;
    return GangPlace{gang.rank(), gang.size()};
  }

  Student MakeStudent(const Teacher& teacher, std::optional<GangPlace> place) const {
    Student student = *Student::Make(*source_, *Conversion::Average(source_->config(), 2), GetParam().gated, at::kFloat,
                                     at::kCPU, place, GetParam().trained == Trained::kAll ? nullptr : &teacher);
    if (GetParam().trained == Trained::kAttention) student.TrainAttentionOnly(teacher.model, teacher.slices.get());
    if (GetParam().trained == Trained::kAdapters) {
      EXPECT_TRUE(student.TrainAdapters(teacher.model, {.rank = 4, .alpha = 8, .seed = 3}, teacher.slices.get()).ok());
    }
    return student;
  }

  /// Returns all weights of the model that would be written, except the biases of keys where keys are not rotated: they
  /// change no attention probability, so that their gradients are rounding errors.
  static at::Tensor Weights(Student& student) {
    Model model = student.Effective({});
    std::vector<at::Tensor> all;
    const auto add = [&](const std::string& name, at::Tensor& tensor) {
      if (model.config.kinds[0].rotary.width == 0 && name.ends_with("attention.key.bias")) return;
      if (tensor.defined()) all.push_back(tensor.detach().flatten().clone());
    };
    VisitOuter(model, add);
    for (int64_t layer = 0; layer < static_cast<int64_t>(model.blocks.size()); ++layer) {
      Block block = student.slices() == nullptr ? model.blocks[layer] : *FetchBlock(student, layer);
      VisitBlock(block, layer, add);
    }
    return at::cat(all);
  }

  static DistillSettings Settings(int64_t steps) {
    return {.steps = steps,
            .batch_sequences = 8,
            .micro_batch_sequences = 1,
            .learning_rate = 1e-3,
            .seed = 5,
            .shard_gradients = true};
  }

  /// With `text`, measures the student on three of its windows; `metrics` takes what rank 0 publishes.
  at::Tensor Train(DistillSettings settings, Communicator& gang, bool sliced,
                   const std::optional<TrainingCheckpoint>& resumed = {}, const TokenWindows* text = nullptr,
                   RecordedMetrics* metrics = nullptr) const {
    const auto place = PlaceIn(gang, sliced);
    const Teacher teacher = *LoadTeacher(*source_, at::kFloat, at::kCPU, place);
    Student student = MakeStudent(teacher, place);
    DistillTrainer trainer(std::move(settings), student, teacher.model, *windows_, gang, *link_, at::kCPU);
    if (sliced) trainer.FetchTeacher(*teacher.slices);
    if (resumed.has_value()) {
      EXPECT_TRUE(trainer.Resume(*resumed).ok());
    }
    if (text != nullptr) {
      trainer.MeasureOn(*text, 3);
      if (gang.rank() == 0) link_->ObserveMetrics(std::make_unique<MetricRecorder>(*metrics));
    }
    const absl::Status status = trainer.Run();
    EXPECT_TRUE(status.ok()) << status;
    link_->ObserveMetrics(nullptr);
    return Weights(student);
  }

  /// Trains whole blocks for four steps. In the first ones the gradients of gated students are rounding errors, since
  /// student and teacher are equal, and the optimizer makes large steps of them.
  TrainingCheckpoint Begin() const {
    DistillSettings settings = Settings(4);
    settings.checkpoint_every_steps = 4;
    settings.checkpoints = folder_ / "begun";
    Train(settings, World(), false);
    EXPECT_TRUE(World().Barrier().ok());
    return {settings.checkpoints / "step-00000004", 4, World().size()};
  }

  const std::filesystem::path folder_ = SharedFolder("sliced");
  const std::unique_ptr<Communicator> self_ = MakeSelfCommunicator();
  std::unique_ptr<SourceModel> source_;
  std::unique_ptr<WorkerLink> link_;
  std::unique_ptr<TokenWindows> windows_;
};

INSTANTIATE_TEST_SUITE_P(Trainings, SlicedTrainingTest,
                         testing::Values(Case{"Direct"}, Case{"L0", true},
                                         Case{"Attention", false, Trained::kAttention},
                                         Case{"L0Attention", true, Trained::kAttention},
                                         Case{"Adapters", false, Trained::kAdapters},
                                         Case{"L0Adapters", true, Trained::kAdapters}),
                         [](const auto& info) { return info.param.name; });

double Difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST_P(SlicedTrainingTest, LearnsWhatWholeBlocksLearn) {
  const TrainingCheckpoint begun = Begin();
  const at::Tensor whole = Train(Settings(12), World(), false, begun);
  EXPECT_LT(Difference(Train(Settings(12), World(), true, begun), whole), 1e-6);
  EXPECT_GT(Difference(whole, Train(Settings(4), World(), false, begun)), 5e-3);
}

TEST_P(SlicedTrainingTest, LearnsTheSameOnOneRank) {
  const TrainingCheckpoint begun = Begin();
  const at::Tensor alone = Train(Settings(8), *self_, false, begun);
  EXPECT_LT(Difference(Train(Settings(8), World(), true, begun), alone), 1e-4);
  EXPECT_LT(Difference(Train(Settings(8), *self_, true, begun), alone), 1e-6);
}

TEST_P(SlicedTrainingTest, KeepingActivationsGivesTheSameBitsAsRecomputingThem) {
  DistillSettings settings = Settings(8);
  const at::Tensor kept = Train(settings, World(), true);
  for (const Recompute recompute : {Recompute::kFeedForward, Recompute::kBlock}) {
    settings.recompute = recompute;
    EXPECT_TRUE(at::equal(Train(settings, World(), true), kept));
  }
}

TEST_P(SlicedTrainingTest, MeasuresTheStudentOfWholeBlocksAndLeavesTheTrainingAsItIs) {
  // Two and four ranks share three windows unequally; with eight steps, gates are open at first and closed at the end.
  const TokenWindows text = LetterWindows(folder_ / ("valid-" + std::to_string(World().rank()) + ".jsonl"), 9, kTokens);
  DistillSettings settings = Settings(8);
  const at::Tensor expected = Train(settings, World(), true);
  settings.measure_every_steps = 3;
  RecordedMetrics whole, sliced;
  Train(settings, World(), false, {}, &text, &whole);
  EXPECT_TRUE(at::equal(Train(settings, World(), true, {}, &text, &sliced), expected));
  const std::map<int64_t, double>& measured = sliced.values[kValidationPerplexity];
  ASSERT_EQ(measured.size(), World().rank() == 0 ? 3u : 0u);
  for (const auto& [step, perplexity] : measured) {
    EXPECT_NEAR(perplexity, whole.values[kValidationPerplexity].at(step), 1e-4 * perplexity) << "step " << step;
  }
}

TEST_P(SlicedTrainingTest, FetchingAheadGivesTheSameBits) {
  DistillSettings settings = Settings(8);
  const at::Tensor ahead = Train(settings, World(), true);
  settings.overlap = false;
  EXPECT_TRUE(at::equal(Train(settings, World(), true), ahead));
}

TEST_P(SlicedTrainingTest, ContinuesBitByBitAndFromACheckpointOfWholeBlocks) {
  const std::string name = GetParam().name;
  for (const bool saved_sliced : {true, false}) {
    DistillSettings settings = Settings(6);
    settings.checkpoint_every_steps = 3;
    settings.checkpoints = folder_ / (name + (saved_sliced ? "-sliced" : "-whole"));
    const at::Tensor straight = Train(settings, World(), saved_sliced);
    const TrainingCheckpoint middle{settings.checkpoints / "step-00000003", 3, World().size()};
    ASSERT_TRUE(World().Barrier().ok());
    settings.checkpoint_every_steps = 0;
    const at::Tensor resumed = Train(settings, World(), true, middle);
    if (saved_sliced) {
      EXPECT_TRUE(at::equal(resumed, straight));
    } else {
      EXPECT_LT(Difference(resumed, straight), 1e-6);
    }
    EXPECT_LT(Difference(Train(settings, *self_, true, middle), straight), 1e-4) << "on another number of ranks";
  }
}

/// Trains families with norms of queries and keys, learned positions, biases of positions, parallel blocks and cross
/// attention.
class SlicedFamilyTest : public SlicedTrainingTest {
 protected:
  void SetUp() override {
    if (World().rank() == 0) WriteFamilyFolder(folder_ / "model", FamilyConfig(GetParam().name), 7);
    ASSERT_TRUE(World().Barrier().ok());
    Open();
  }
};

INSTANTIATE_TEST_SUITE_P(
    Families, SlicedFamilyTest,
    testing::Values(Case{"mistral", true}, Case{"qwen3", true}, Case{"olmo2", true}, Case{"gpt2", true},
                    Case{"gpt_neox", true}, Case{"bloom", true}, Case{"t5", true},
                    Case{"t5", false, Trained::kAdapters}, Case{"t5"}, Case{"bart"}, Case{"bart", true},
                    Case{"mistral"}, Case{"olmo2"}, Case{"bloom"}, Case{"qwen2_moe"},
                    Case{"qwen2_moe", false, Trained::kAttention}),
    [](const auto& info) {
      const bool adapts = info.param.trained == Trained::kAdapters;
      const bool attends = info.param.trained == Trained::kAttention;
      return info.param.name + (info.param.gated ? "Gated" : adapts ? "Adapters" : attends ? "Attention" : "");
    });

TEST_P(SlicedFamilyTest, LearnsWhatWholeBlocksLearn) {
  const TrainingCheckpoint begun = Begin();
  EXPECT_LT(Difference(Train(Settings(8), World(), true, begun), Train(Settings(8), World(), false, begun)), 1e-6);
}

/// Counts entries with the padding of slices.
class Padded {
 public:
  void Add(SlicedTensors* part) {
    if (part != nullptr) entries_ += part->slice().numel() * World().size();
  }
  double entries() const { return static_cast<double>(entries_); }

 private:
  int64_t entries_ = 0;
};

class SlicedBytesTest : public SlicedTrainingTest {};

INSTANTIATE_TEST_SUITE_P(Direct, SlicedBytesTest, testing::Values(Case{"Direct"}),
                         [](const auto& info) { return info.param.name; });

TEST_P(SlicedBytesTest, KeepsAndSendsTheBytesOfTheModelAbove) {
  // Large enough that padding and sums of single numbers count for little.
  if (World().rank() == 0) {
    nlohmann::json config = FamilyConfig("llama");
    config["hidden_size"] = 64;
    config["intermediate_size"] = 160;
    config["head_dim"] = 16;
    WriteFamilyFolder(folder_ / "larger", config, 3);
  }
  ASSERT_TRUE(World().Barrier().ok());
  const SourceModel source = *SourceModel::Open(folder_ / "larger");
  const auto place = PlaceIn(World(), true);
  const Teacher teacher = *LoadTeacher(source, at::kFloat, at::kCPU, place);
  Student student =
      *Student::Make(source, *Conversion::Average(source.config(), 2), /*gated=*/false, at::kFloat, at::kCPU, place);
  int64_t rest = 0;
  Model handles = student.Effective({});
  VisitOuter(handles, [&](const std::string&, at::Tensor& tensor) { rest += tensor.defined() ? tensor.numel() : 0; });
  Padded of_student, of_teacher;
  for (int64_t layer = 0; layer < source.config().layers; ++layer) {
    for (const BlockPart part : {BlockPart::kSharedHeads, BlockPart::kAttention, BlockPart::kRest}) {
      of_student.Add(student.slices()->Find(layer, part));
      of_teacher.Add(teacher.slices->Find(layer, part));
    }
  }
  DistillSettings settings = Settings(3);
  settings.batch_sequences = World().size();
  DistillTrainer trainer(settings, student, teacher.model, *windows_, World(), *link_, at::kCPU);
  trainer.FetchTeacher(*teacher.slices);
  const int64_t before = World().bytes_sent();
  ASSERT_TRUE(trainer.Run().ok());
  const double ranks = World().size(), share = (ranks - 1) / ranks;
  const double sent = static_cast<double>(World().bytes_sent() - before) / 3;
  const double model = share * (4 * of_teacher.entries() + 12 * of_student.entries() + 8 * static_cast<double>(rest));
  EXPECT_NEAR(sent, model, 0.02 * model);

  const double entries = of_student.entries() + static_cast<double>(rest);
  EXPECT_NEAR(static_cast<double>(trainer.GradientBytes()), 4 * entries / ranks, 0.02 * 4 * entries / ranks);
  // The master weights of float32 are the slices of the weights themselves.
  EXPECT_NEAR(static_cast<double>(trainer.StateBytes()), 12 * entries / ranks, 0.02 * 12 * entries / ranks);
  const double unpadded = static_cast<double>(source.ParameterCount() - rest);
  EXPECT_NEAR(static_cast<double>(teacher.slices->Bytes()), 4 * unpadded / ranks, 0.02 * 4 * unpadded / ranks);
  EXPECT_NEAR(static_cast<double>(student.slices()->Bytes()), 4 * of_student.entries() / ranks,
              0.02 * 4 * of_student.entries() / ranks);
}

TEST_P(SlicedBytesTest, WeightsThatArePutAsideTakeNoMemoryUntilTheyAreRestored) {
  const auto place = PlaceIn(World(), true);
  Student student = *Student::Make(*source_, *Conversion::Average(source_->config(), 2), /*gated=*/false, at::kFloat,
                                   at::kCPU, place);
  const std::unique_ptr<SideLane> lane = World().MakeSideLane();
  SlicedBlocks& slices = *student.slices();
  slices.FetchOn(World(), *lane, /*overlaps=*/false);
  StudentLender lender(student, at::Tensor(), nullptr);
  const at::Tensor weight = lender.Lend(1, {}, Pass::kForward).block.attention.query.weight;
  const at::Tensor before = weight.detach().clone();
  const int64_t version = weight._version();
  lender.PutAside(1);
  if (World().size() > 1) EXPECT_EQ(weight.storage().nbytes(), 0u);
  lender.Restore(1);
  EXPECT_TRUE(at::equal(weight, before));
  EXPECT_EQ(weight._version(), version) << "autograd would refuse it";
  lender.TakeBack(1, {});
  ASSERT_TRUE(slices.Finish().ok());
}

TEST_P(SlicedBytesTest, SlotsThatWereNotFetchedAreNotNumbers) {
  const auto place = PlaceIn(World(), true);
  const Teacher teacher = *LoadTeacher(*source_, at::kFloat, at::kCPU, place);
  EXPECT_TRUE(teacher.model.blocks[0].attention.query.weight.isnan().all().item<bool>());
  EXPECT_EQ(teacher.model.blocks[0].attention.query.weight.storage().nbytes(), sizeof(float));
}

TEST_P(SlicedBytesTest, AdaptersTakeFromTheTeacherWhatTheConversionDidNotTouch) {
  const auto place = PlaceIn(World(), true);
  const Teacher teacher = *LoadTeacher(*source_, at::kFloat, at::kCPU, place);
  Student student = *Student::Make(*source_, *Conversion::Average(source_->config(), 2), /*gated=*/false, at::kFloat,
                                   at::kCPU, place);
  ASSERT_TRUE(student.TrainAdapters(teacher.model, {.rank = 4, .alpha = 8}, teacher.slices.get()).ok());
  const auto alias = [&](BlockPart part) {
    return student.slices()->Find(0, part)->slice().is_alias_of(teacher.slices->Find(0, part)->slice());
  };
  EXPECT_TRUE(alias(BlockPart::kRest));
  EXPECT_FALSE(alias(BlockPart::kSharedHeads));
}

}  // namespace
}  // namespace regroup
