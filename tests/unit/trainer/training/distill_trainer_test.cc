// The training loop on a tiny model. Run alone, and by mpirun with two ranks.
#include "trainer/stages/distill_trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "letter_windows.h"
#include "tiny_llama.h"
#include "trainer/distill/kl_loss.h"
#include "trainer/eval/window_batch.h"
#include "trainer/nn/window_runner.h"
#include "trainer/stages/conversion.h"
#include "world.h"

namespace regroup {
namespace {

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
  /// Trains a new student; from the checkpoint, if there is one.
  Student Train(const DistillSettings& settings, Communicator& communicator,
                const std::optional<TrainingCheckpoint>& resumed = {}) const {
    Student student = MakeStudent();
    DistillTrainer trainer(settings, student, teacher_, *windows_, communicator, *link_, at::kCPU);
    if (resumed.has_value()) EXPECT_TRUE(trainer.Resume(*resumed).ok());
    const absl::Status status = trainer.Run();
    EXPECT_TRUE(status.ok()) << status;
    return student;
  }
  /// All weights of the model that would be written.
  static at::Tensor Weights(const Student& student) {
    Model model = student.Effective({});
    std::vector<at::Tensor> all;
    VisitParameters(model, [&](const std::string&, at::Tensor& tensor) {
      if (tensor.defined()) all.push_back(tensor.detach().flatten());
    });
    return at::cat(all).clone();
  }
  /// Mean divergence from the teacher over all windows.
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

INSTANTIATE_TEST_SUITE_P(Methods, DistillTrainerTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "L0" : "Direct"; });

}  // namespace
}  // namespace regroup
