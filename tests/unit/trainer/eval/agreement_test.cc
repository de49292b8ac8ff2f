#include "trainer/eval/agreement.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/letter_windows.h"
#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "trainer/eval/window_batch.h"

namespace regroup {
namespace {

Agreement AgreementOf(
    const Model& reference, const Model& model, const TokenWindows& windows, int64_t max_windows,
    const std::function<void(int64_t)>& progress = [](int64_t) {}) {
  const std::unique_ptr<Communicator> alone = MakeSelfCommunicator();
  const ReferencePredictions predictions(reference, windows, max_windows, at::kCPU, *alone, progress);
  return *MeasureAgreement(predictions, model, windows, at::kCPU, *alone, progress);
}

TEST(AgreementTest, IsTheMeanDivergenceAndTheShareOfEqualTopTokens) {
  TemporaryFolder folder;
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 5, 10);
  const Model reference = RandomModel(SmallConfig(4), true, 6);
  const Model model = RandomModel(SmallConfig(2), true, 7);
  double divergence = 0;
  int64_t same = 0;
  for (int64_t window = 0; window < 4; ++window) {
    const at::Tensor tokens = WindowBatch(windows, {window}, at::kCPU);
    const at::Tensor log_p = at::log_softmax(SlowLogits(reference, tokens)[0], -1);
    const at::Tensor log_q = at::log_softmax(SlowLogits(model, tokens)[0], -1);
    for (int64_t position = 0; position < 10; ++position) {
      int64_t best_p = 0, best_q = 0;
      for (int64_t word = 0; word < 23; ++word) {
        const double p = log_p[position][word].item<double>(), q = log_q[position][word].item<double>();
        divergence += std::exp(p) * (p - q);
        if (p > log_p[position][best_p].item<double>()) best_p = word;
        if (q > log_q[position][best_q].item<double>()) best_q = word;
      }
      same += best_p == best_q;
    }
  }
  const Agreement agreement = AgreementOf(reference, model, windows, 4);
  EXPECT_EQ(agreement.positions, 40);
  EXPECT_NEAR(agreement.mean_kl, divergence / 40, 1e-5);
  EXPECT_NEAR(agreement.same_top_token, static_cast<double>(same) / 40, 1e-12);
}

TEST(AgreementTest, IsPerfectBetweenAModelAndItself) {
  TemporaryFolder folder;
  const TokenWindows windows = LetterWindows(folder.path() / "data.jsonl", 5, 10);
  const Model model = RandomModel(SmallConfig(4), false, 6);
  int64_t last = 0;
  const Agreement agreement = AgreementOf(model, model, windows, 0, [&](int64_t done) { last = done; });
  EXPECT_EQ(last, windows.windows());
  EXPECT_EQ(agreement.mean_kl, 0);
  EXPECT_EQ(agreement.same_top_token, 1);
}

}  // namespace
}  // namespace regroup
