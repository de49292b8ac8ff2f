// The training loop on a tiny model. Run alone, and by mpirun with two ranks.
#include "trainer/stages/distill_trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

INSTANTIATE_TEST_SUITE_P(Methods, DistillTrainerTest, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "L0" : "Direct"; });

}  // namespace
}  // namespace regroup
