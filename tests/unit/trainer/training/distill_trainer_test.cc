// Tests the training loop on a tiny model. Run alone, and by mpirun with two ranks.
#include "trainer/training/distill_trainer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include <nlohmann/json.hpp>

#include "tests/unit/trainer/fixtures/forwarding_communicator.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "tests/unit/trainer/fixtures/metric_recorder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "tests/unit/trainer/fixtures/world.h"
#include "trainer/distill/bild_loss.h"
#include "trainer/distill/branch_loss.h"
#include "trainer/distill/kl_loss.h"
#include "trainer/eval/window_batch.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/nn/window_runner.h"

namespace regroup {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Puts a NaN into this rank's gradients on request.
class FaultyCommunicator final : public ForwardingCommunicator {
 public:
  FaultyCommunicator(Communicator& real, std::function<bool()> is_ordered)
      : ForwardingCommunicator(real), is_ordered_(std::move(is_ordered)) {}

 private:
  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    at::Tensor given = input.clone();
    if (is_ordered_()) given.narrow(0, 0, 1).fill_(std::numeric_limits<double>::quiet_NaN());
    return ForwardingCommunicator::DoReduceScatterSum(given, output);
  }

  const std::function<bool()> is_ordered_;
};

class DistillTrainerTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (World().rank() == 0) TinyLlama{.biases = true}.Write(folder_ / "model");
    ASSERT_TRUE(World().Barrier().ok());
    source_ = std::make_unique<SourceModel>(*SourceModel::Open(folder_ / "model"));
    teacher_ = *source_->Load(at::kFloat, at::kCPU);
    link_ = *WorkerLink::Connect({}, World().rank(), World().size());
    windows_ = std::make_unique<TokenWindows>(
        LetterWindows(folder_ / ("data-" + std::to_string(World().rank()) + ".jsonl"), 30, 16));
  }

  Student MakeStudent() const {
    return *Student::Make(*source_, *Conversion::Average(source_->config(), 2), GetParam(), at::kFloat, at::kCPU);
  }
  DistillSettings Settings(int64_t steps) const {
    return {.steps = steps, .batch_sequences = 4, .micro_batch_sequences = 1, .learning_rate = 1e-3, .seed = 5};
  }
  /// Trains a new student, starting from the checkpoint if there is one.
  Student Train(const DistillSettings& settings, Communicator& communicator,
                const std::optional<TrainingCheckpoint>& resumed = {}) const {
    Student student = MakeStudent();
    DistillTrainer trainer(settings, student, teacher_, *windows_, communicator, *link_, at::kCPU);
    if (resumed.has_value()) EXPECT_TRUE(trainer.Resume(*resumed).ok());
    const absl::Status status = trainer.Run();
    EXPECT_TRUE(status.ok()) << status;
    return student;
  }
  /// Trains the student while `spoils` selects the steps at which the last rank's gradients become NaN.
  absl::Status TrainSpoilt(const DistillSettings& settings, Student& student, std::function<bool(int64_t)> spoils) {
    FaultyCommunicator faulty(
        World(), [&] { return spoils(link_->activity().Read().step) && World().rank() == World().size() - 1; });
    return DistillTrainer(settings, student, teacher_, *windows_, faulty, *link_, at::kCPU).Run();
  }
  /// Sets a checkpoint every five of thirty steps.
  DistillSettings WithCheckpoints(const char* folder) const {
    DistillSettings settings = Settings(30);
    settings.checkpoint_every_steps = 5;
    settings.checkpoints = folder_ / folder;
    return settings;
  }
  /// Returns all weights of the model that would be written.
  static at::Tensor Weights(const Student& student) {
    Model model = student.Effective({});
    std::vector<at::Tensor> all;
    VisitParameters(model, [&](const std::string&, at::Tensor& tensor) {
      if (tensor.defined()) all.push_back(tensor.detach().flatten());
    });
    return at::cat(all).clone();
  }
  /// Returns the mean divergence from the teacher over all windows.
  double Loss(const Student& student) const {
    at::NoGradGuard no_gradients;
    std::vector<int64_t> all(windows_->windows());
    std::iota(all.begin(), all.end(), 0);
    const at::Tensor tokens = WindowBatch(*windows_, all, at::kCPU);
    const Model model = student.Effective({});
    return ChunkedKlLoss(RunHiddenStates(model, tokens).flatten(0, 1), model.OutputProjection(),
                         RunHiddenStates(teacher_, tokens).flatten(0, 1), teacher_.OutputProjection(),
                         1.0 / static_cast<double>(tokens.numel()))
        .item<double>();
  }
  /// Returns the mean over windows of BranchLoss, each model on its own stream.
  double BranchError(const Student& student) const {
    at::NoGradGuard no_gradients;
    std::vector<int64_t> all(windows_->windows());
    std::iota(all.begin(), all.end(), 0);
    const at::Tensor tokens = WindowBatch(*windows_, all, at::kCPU);
    const auto branches_of = [&](const Model& model) {
      std::vector<at::Tensor> branches;
      RunHiddenStates(model, tokens,
                      {.branch_observer = [&](int64_t, const at::Tensor& branch) { branches.push_back(branch); }});
      return branches;
    };
    return BranchLoss(branches_of(student.Effective({})), branches_of(teacher_), 1.0 / static_cast<double>(all.size()))
        .item<double>();
  }

  TokenWindows MeasuredText() const {
    return LetterWindows(folder_ / ("valid-" + std::to_string(World().rank()) + ".jsonl"), 9, 24);
  }

  struct Measured {
    Model model;
    at::Tensor weights;
    /// By step, on rank 0.
    std::map<int64_t, double> perplexities;
  };
  /// Trains a new student with measurements on three windows, which two ranks share unequally.
  Measured TrainMeasured(DistillSettings settings, int64_t every,
                         const std::optional<TrainingCheckpoint>& resumed = {}) const {
    settings.measure_every_steps = every;
    const TokenWindows text = MeasuredText();
    RecordedMetrics metrics;
    link_->ObserveMetrics(std::make_unique<MetricRecorder>(metrics));
    Student student = MakeStudent();
    DistillTrainer trainer(settings, student, teacher_, *windows_, World(), *link_, at::kCPU);
    trainer.MeasureOn(text, 3);
    if (resumed.has_value()) EXPECT_TRUE(trainer.Resume(*resumed).ok());
    const absl::Status status = trainer.Run();
    EXPECT_TRUE(status.ok()) << status;
    link_->ObserveMetrics(nullptr);
    EXPECT_TRUE(World().Barrier().ok());
    Measured measured{.model = student.Effective({}), .weights = Weights(student)};
    if (World().rank() == 0) measured.perplexities = metrics.values[kValidationPerplexity];
    return measured;
  }
  /// Returns what the last checkpoint knows of measurements, and its step.
  static std::pair<EarlyStopping, int64_t> EarlyStoppingOf(const std::filesystem::path& checkpoints) {
    const TrainingCheckpoint last = ListTrainingCheckpoints({checkpoints}).front();
    EarlyStopping state(1);
    EXPECT_TRUE(state.Load(LoadCheckpointTensor(last, "early_stopping")->value()).ok());
    return {state, last.step};
  }

  const std::filesystem::path folder_ = SharedFolder("distill");
  const std::unique_ptr<Communicator> self_ = MakeSelfCommunicator();
  std::unique_ptr<SourceModel> source_;
  Model teacher_;
  std::unique_ptr<WorkerLink> link_;
  std::unique_ptr<TokenWindows> windows_;
};

TEST_P(DistillTrainerTest, TrainingBringsTheMergedModelCloserToItsSource) {
  const double before = Loss(MakeStudent());
  const double after = Loss(Train(Settings(60), World()));
  EXPECT_LT(after, 0.7 * before) << "before " << before;
}

TEST_P(DistillTrainerTest, TheNumberOfRanksDoesNotChangeWhatIsLearned) {
  const Student alone = Train(Settings(50), *self_);
  const Student together = Train(Settings(50), World());
  EXPECT_NEAR(Loss(together), Loss(alone), 1e-4 * Loss(alone));
  EXPECT_LT((Weights(together) - Weights(alone)).abs().max().item<double>(), 1e-4);
  EXPECT_GT((Weights(together) - Weights(MakeStudent())).abs().max().item<double>(), 1e-2);
}

TEST_P(DistillTrainerTest, MicroBatchesDoNotChangeWhatIsLearned) {
  DistillSettings large = Settings(10);
  large.micro_batch_sequences = 2;
  const at::Tensor expected = Weights(Train(Settings(10), World()));
  EXPECT_LT((Weights(Train(large, World())) - expected).abs().max().item<double>(), 1e-5);
}

TEST_P(DistillTrainerTest, TheAttentionLossBringsTheLayersCloserThanThePredictionsAlone) {
  DistillSettings settings = Settings(60);
  const double without = BranchError(Train(settings, World()));
  settings.attention_weight = 3;
  const Student student = Train(settings, World());
  EXPECT_LT(BranchError(student), 0.8 * without) << "without " << without;
  EXPECT_LT(Loss(student), 0.8 * Loss(MakeStudent()));
}

TEST_P(DistillTrainerTest, MicroBatchesDoNotChangeWhatTheAttentionLossTeaches) {
  DistillSettings settings = Settings(10);
  settings.attention_weight = 1;
  const at::Tensor expected = Weights(Train(settings, World()));
  settings.micro_batch_sequences = 2;
  EXPECT_LT((Weights(Train(settings, World())) - expected).abs().max().item<double>(), 1e-5);
  EXPECT_GT((Weights(Train(Settings(10), World())) - expected).abs().max().item<double>(), 1e-4);
}

TEST_P(DistillTrainerTest, TheSameSeedGivesTheSameBits) {
  const at::Tensor once = Weights(Train(Settings(6), World()));
  EXPECT_TRUE(at::equal(Weights(Train(Settings(6), World())), once));
  DistillSettings other = Settings(6);
  other.seed = 6;
  EXPECT_FALSE(at::equal(Weights(Train(other, World())), once));
}

TEST_P(DistillTrainerTest, AnInterruptedTrainingContinuesAsIfItHadNeverStopped) {
  DistillSettings settings = Settings(10);
  settings.checkpoint_every_steps = 5;
  settings.checkpoints = folder_ / "checkpoints";
  const at::Tensor straight = Weights(Train(settings, World()));
  const TrainingCheckpoint middle{folder_ / "checkpoints" / "step-00000005", 5, World().size()};
  ASSERT_TRUE(World().Barrier().ok());
  settings.checkpoints = folder_ / "later";
  EXPECT_TRUE(at::equal(Weights(Train(settings, World(), middle)), straight));
}

TEST_P(DistillTrainerTest, SummingGradientsBesideTheBackwardPassGivesTheSameBits) {
  DistillSettings settings = Settings(20);
  const at::Tensor beside = Weights(Train(settings, World()));
  settings.overlap = false;
  EXPECT_TRUE(at::equal(Weights(Train(settings, World())), beside));
}

TEST_P(DistillTrainerTest, RecomputingGivesTheSameBits) {
  DistillSettings settings = Settings(4);
  const at::Tensor expected = Weights(Train(settings, World()));
  for (const Recompute recompute : {Recompute::kFeedForward, Recompute::kBlock}) {
    settings.recompute = recompute;
    EXPECT_TRUE(at::equal(Weights(Train(settings, World())), expected));
  }
}

TEST_P(DistillTrainerTest, TheTeachersStatesOnDiskGiveTheSameBits) {
  // 20 steps of 4 windows are several passes over the data.
  const int64_t steps = 20;
  ASSERT_GT(4 * steps, 2 * windows_->windows());
  const at::Tensor expected = Weights(Train(Settings(steps), World()));
  TeacherStates states =
      *TeacherStates::Open(folder_ / "states", {.positions = 16, .hidden_size = teacher_.config.hidden_size});
  Student student = MakeStudent();
  DistillTrainer trainer(Settings(steps), student, teacher_, *windows_, World(), *link_, at::kCPU);
  trainer.KeepTeacherStates(states);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_TRUE(at::equal(Weights(student), expected));
  EXPECT_GE(states.hits(), 4 * steps / World().size() - windows_->windows());
}

TEST_P(DistillTrainerTest, DocumentsKeptApartTrainToo) {
  DistillSettings settings = Settings(6);
  const at::Tensor across = Weights(Train(settings, World()));
  settings.across_documents = false;
  const at::Tensor apart = Weights(Train(settings, World()));
  EXPECT_FALSE(at::equal(apart, across));
  EXPECT_TRUE(apart.isfinite().all().item<bool>());
}

TEST_P(DistillTrainerTest, AttentionAloneIsTrainedWhereNothingElseIsAskedFor) {
  Student student = MakeStudent();
  student.TrainAttentionOnly(teacher_);
  const double before = Loss(student);
  DistillTrainer trainer(Settings(60), student, teacher_, *windows_, World(), *link_, at::kCPU);
  ASSERT_TRUE(trainer.Run().ok());
  EXPECT_LT(Loss(student), 0.8 * before);
  Model trained = student.Effective({});
  std::map<std::string, at::Tensor> originals;
  VisitParameters(teacher_, [&](const std::string& name, at::Tensor& tensor) { originals[name] = tensor; });
  VisitParameters(trained, [&](const std::string& name, at::Tensor& tensor) {
    if (!tensor.defined()) return;
    EXPECT_EQ(tensor.is_alias_of(originals[name]), name.find(".attention.") == std::string::npos) << name;
  });
}

TEST_P(DistillTrainerTest, AdaptersLearnAndContinueBitByBit) {
  const auto adapted = [&] {
    Student student = MakeStudent();
    EXPECT_TRUE(student.TrainAdapters(teacher_, {.rank = 4, .alpha = 8, .seed = 3}).ok());
    return student;
  };
  DistillSettings settings = Settings(40);
  settings.checkpoint_every_steps = 15;
  settings.checkpoints = folder_ / "adapters";
  Student straight = adapted(), restored = adapted();
  const double before = Loss(straight);
  DistillTrainer first(settings, straight, teacher_, *windows_, World(), *link_, at::kCPU);
  ASSERT_TRUE(first.Run().ok());
  EXPECT_LT(Loss(straight), 0.85 * before);
  ASSERT_TRUE(World().Barrier().ok());
  DistillTrainer second(settings, restored, teacher_, *windows_, World(), *link_, at::kCPU);
  ASSERT_TRUE(second.Resume({settings.checkpoints / "step-00000030", 30, World().size()}).ok());
  ASSERT_TRUE(second.Run().ok());
  EXPECT_TRUE(at::equal(Weights(restored), Weights(straight)));
}

TEST_P(DistillTrainerTest, MeasurementsLeaveTheTrainingAsItIs) {
  const at::Tensor expected = Weights(Train(Settings(10), World()));
  const Measured measured = TrainMeasured(Settings(10), 3);
  EXPECT_TRUE(at::equal(measured.weights, expected));
  if (World().rank() > 0) return;
  std::vector<int64_t> steps;
  for (const auto& [step, perplexity] : measured.perplexities) steps.push_back(step);
  EXPECT_EQ(steps, (std::vector<int64_t>{3, 6, 9, 10}));
}

TEST_P(DistillTrainerTest, TheLastMeasurementIsThatOfTheModelThatIsWritten) {
  const TokenWindows text = MeasuredText();
  const Measured measured = TrainMeasured(Settings(10), 5);
  if (World().rank() > 0) return;
  // Token by token, from logits of the whole window.
  at::NoGradGuard no_gradients;
  double sum = 0;
  const at::Tensor tokens = WindowBatch(text, {0, 1, 2}, at::kCPU);
  const at::Tensor logits = RunOutputProjection(measured.model, RunHiddenStates(measured.model, tokens));
  for (int64_t window = 0; window < 3; ++window) {
    for (int64_t place = 0; place + 1 < tokens.size(1); ++place) {
      const at::Tensor row = logits[window][place].to(at::kDouble);
      sum += (row.exp().sum().log() - row[tokens[window][place + 1].item<int64_t>()]).item<double>();
    }
  }
  const double expected = std::exp(sum / static_cast<double>(3 * (tokens.size(1) - 1)));
  EXPECT_NEAR(measured.perplexities.at(10), expected, 1e-4 * expected);
}

TEST_P(DistillTrainerTest, EndsWhenMeasurementsDoNotImproveAnyMore) {
  // At this rate the student only gets worse. Gates are closed from step 32 on, and only then measurements decide.
  DistillSettings settings = Settings(40);
  settings.learning_rate = 0.5;
  settings.stop_when_no_better = 2;
  settings.checkpoint_every_steps = 100;
  settings.checkpoints = folder_ / "stopped";
  const Measured measured = TrainMeasured(settings, 1);
  const auto [state, step] = EarlyStoppingOf(settings.checkpoints);
  EXPECT_EQ(state.best_step() + 2, step) << "the last step has a checkpoint";
  EXPECT_GE(state.best_step(), GetParam() ? 32 : 1);
  EXPECT_LT(step, 40);
  // Resumed after its end, it does nothing.
  const Measured again = TrainMeasured(
      settings, 1, TrainingCheckpoint{settings.checkpoints / fmt::format("step-{:08}", step), step, World().size()});
  EXPECT_TRUE(at::equal(again.weights, measured.weights));
  if (World().rank() > 0) return;
  EXPECT_EQ(measured.perplexities.rbegin()->first, step);
  EXPECT_TRUE(again.perplexities.empty());
}

TEST_P(DistillTrainerTest, AnInterruptedTrainingEndsAtTheSameMeasurement) {
  DistillSettings settings = Settings(40);
  settings.learning_rate = 0.5;
  settings.stop_when_no_better = 3;
  settings.checkpoint_every_steps = 1;
  settings.checkpoints = folder_ / "straight";
  const Measured straight = TrainMeasured(settings, 1);
  const auto [state, step] = EarlyStoppingOf(settings.checkpoints);
  settings.checkpoints = folder_ / "resumed";
  const Measured resumed = TrainMeasured(
      settings, 1,
      TrainingCheckpoint{folder_ / "straight" / fmt::format("step-{:08}", step - 1), step - 1, World().size()});
  EXPECT_TRUE(at::equal(resumed.weights, straight.weights));
  const auto [again, step_again] = EarlyStoppingOf(settings.checkpoints);
  EXPECT_EQ(step_again, step);
  EXPECT_EQ(again.best(), state.best());
  if (World().rank() > 0) return;
  EXPECT_EQ(resumed.perplexities.size(), 1u);
  EXPECT_EQ(resumed.perplexities.at(step), straight.perplexities.at(step));
}

TEST_P(DistillTrainerTest, PublishesTheValuesOfAllGates) {
  RecordedMetrics metrics;
  link_->ObserveMetrics(std::make_unique<MetricRecorder>(metrics));
  // The last of four steps still has open gates, the last of five has not.
  Student open = MakeStudent();
  ASSERT_TRUE(DistillTrainer(Settings(4), open, teacher_, *windows_, World(), *link_, at::kCPU).Run().ok());
  const std::map<int64_t, std::vector<double>> values = metrics.histograms["gates"];
  Train(Settings(5), World());
  link_->ObserveMetrics(nullptr);
  if (World().rank() > 0) return;
  ASSERT_EQ(values.size(), GetParam() ? 4u : 0u);
  if (!GetParam()) return;
  ASSERT_EQ(std::ssize(values.at(4)), open.gates());
  for (int64_t gate = 0; gate < open.gates(); ++gate) {
    const double sigmoid = 1 / (1 + std::exp(-3 * open.scores()[gate].item<double>()));
    EXPECT_NEAR(values.at(4)[gate], std::clamp(0.5 + 1.005 * (sigmoid - 0.5), 0.0, 1.0), 1e-6) << gate;
  }
  EXPECT_EQ(metrics.histograms["gates"].at(5), std::vector<double>(open.gates(), 0.0));
}

TEST_P(DistillTrainerTest, CountsTheSecondsOfEarlierAttemptsUpToItsCheckpoint) {
  DistillSettings settings = Settings(10);
  settings.checkpoint_every_steps = 5;
  settings.checkpoints = folder_ / "useful";
  Train(settings, World());
  ASSERT_TRUE(World().Barrier().ok());
  const std::filesystem::path file = folder_ / ("curves-" + std::to_string(World().rank()) + ".jsonl");
  link_->RecordMetrics(file);
  Student student = MakeStudent();
  DistillTrainer trainer(settings, student, teacher_, *windows_, World(), *link_, at::kCPU);
  trainer.CountEarlierSteps(5, 100);
  ASSERT_TRUE(trainer.Resume({settings.checkpoints / "step-00000005", 5, World().size()}).ok());
  ASSERT_TRUE(trainer.Run().ok());
  if (World().rank() > 0) return;
  std::ifstream lines(file);
  double sum = 100, useful = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto values = nlohmann::json::parse(line);
    if (!values.contains("step_seconds")) continue;
    sum += values["step_seconds"].get<double>();
    useful = values[kUsefulSeconds].get<double>();
    EXPECT_NEAR(useful, sum, 1e-3) << values["step"];
  }
  EXPECT_GT(useful, 100);
}

TEST_P(DistillTrainerTest, BildBringsTheLargestLogitsOfAnswersCloser) {
  const TokenWindows instructions =
      LetterInstructions(folder_ / ("instructions-" + std::to_string(World().rank()) + ".jsonl"), 40, 32);
  const auto loss = [&](const Student& student) {
    at::NoGradGuard no_gradients;
    std::vector<int64_t> all(instructions.windows());
    std::iota(all.begin(), all.end(), 0);
    const at::Tensor tokens = WindowBatch(instructions, all, at::kCPU);
    const WindowOptions options{.documents = DocumentsOfWindows(instructions, all, at::kCPU)};
    std::vector<int64_t> places;
    for (const int64_t window : all) {
      for (const int64_t place : instructions.AnswerPlaces(window)) places.push_back(window * 32 + place);
    }
    const Model model = student.Effective({});
    const auto answers = [&](const Model& of) {
      return RunHiddenStates(of, tokens, options).flatten(0, 1).index_select(0, at::tensor(places, at::kLong));
    };
    return ChunkedBildLoss(answers(model), model.OutputProjection(), answers(teacher_), teacher_.OutputProjection(),
                           1.0 / static_cast<double>(places.size()))
        .item<double>();
  };
  DistillSettings settings = Settings(60);
  settings.loss = DistillLoss::kBild;
  settings.across_documents = false;
  const auto train = [&](Communicator& communicator) {
    Student student = MakeStudent();
    DistillTrainer trainer(settings, student, teacher_, instructions, communicator, *link_, at::kCPU);
    EXPECT_TRUE(trainer.Run().ok());
    return student;
  };
  const Student together = train(World()), alone = train(*self_);
  EXPECT_LT(loss(together), 0.7 * loss(MakeStudent()));
  EXPECT_NEAR(loss(together), loss(alone), 1e-3 * loss(alone));
}

TEST_P(DistillTrainerTest, AStepThatOneRankSpoilsIsSkippedByAll) {
  DistillSettings settings = Settings(6);
  settings.checkpoint_every_steps = 5;
  settings.checkpoints = folder_ / "five";
  Train(settings, World());
  ASSERT_TRUE(World().Barrier().ok());
  Student five = MakeStudent(), spoilt = MakeStudent();
  DistillTrainer restored(settings, five, teacher_, *windows_, World(), *link_, at::kCPU);
  ASSERT_TRUE(restored.Resume({folder_ / "five" / "step-00000005", 5, World().size()}).ok());

  ASSERT_TRUE(TrainSpoilt(Settings(6), spoilt, [](int64_t step) { return step == 5; }).ok());
  EXPECT_TRUE(at::equal(Weights(spoilt), Weights(five)));
}

TEST_P(DistillTrainerTest, AFaultThatPassesLeavesNoTraceAfterGoingBackToTheCheckpoint) {
  const at::Tensor undisturbed = Weights(Train(WithCheckpoints("undisturbed"), World()));
  Student student = MakeStudent();
  int64_t latest = 0;
  const auto until_it_went_back = [&](int64_t step) {
    if (step < latest) latest = std::numeric_limits<int64_t>::max();
    if (step > latest) latest = step;
    return step >= 7 && latest == step;
  };
  RecordedMetrics metrics;
  link_->ObserveMetrics(std::make_unique<MetricRecorder>(metrics));
  ASSERT_TRUE(TrainSpoilt(WithCheckpoints("spoilt"), student, until_it_went_back).ok());
  link_->ObserveMetrics(nullptr);
  EXPECT_THAT(metrics.continued_after, testing::ElementsAre(5));
  EXPECT_EQ(latest, std::numeric_limits<int64_t>::max()) << "it did not go back";
  EXPECT_TRUE(at::equal(Weights(student), undisturbed));
}

TEST_P(DistillTrainerTest, AFaultThatStaysEndsTheTaskWithAdvice) {
  Student student = MakeStudent();
  const absl::Status status = TrainSpoilt(WithCheckpoints("spoilt"), student, [](int64_t step) { return step >= 7; });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("up to step 17, for the second time"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a smaller finetune.learning_rate"));
}

TEST_P(DistillTrainerTest, StepsThatAreSkippedDoNotEndTrainingEarly) {
  Student student = MakeStudent();
  DistillSettings settings = Settings(30);
  settings.measure_every_steps = 2;
  settings.stop_when_no_better = 2;
  FaultyCommunicator faulty(World(), [] { return World().rank() == World().size() - 1; });
  DistillTrainer spoilt(settings, student, teacher_, *windows_, faulty, *link_, at::kCPU);
  spoilt.MeasureOn(*windows_, 2);
  const absl::Status status = spoilt.Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << "ten steps in a row without finite gradients";
}

TEST_P(DistillTrainerTest, AFaultBeforeTheFirstCheckpointEndsTheTaskWithAdvice) {
  Student student = MakeStudent();
  const absl::Status status = TrainSpoilt(Settings(30), student, [](int64_t) { return true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("up to step 10; a smaller finetune.learning_rate"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("second time")));
}

INSTANTIATE_TEST_SUITE_P(Methods, DistillTrainerTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "L0" : "Direct"; });

}  // namespace
}  // namespace regroup
