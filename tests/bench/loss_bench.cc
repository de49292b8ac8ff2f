// Compares the distillation loss in chunks with the plain one, which keeps the logits of all tokens: value and
// gradients, peak memory and time. Memory is the bytes of tensors beyond the inputs, gradients included, as libtorch's
// own allocator reports them.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <vector>

#include "services/common/base/stopwatch.h"
#include "trainer/distill/kl_loss.h"

namespace regroup {
namespace {

/// Tracks the bytes that tensors of this thread take, and their maximum.
class MemoryMeter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t change, size_t, size_t, c10::Device) override {
    now_ += change;
    peak_ = std::max(peak_, now_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  double peak_megabytes() const { return static_cast<double>(peak_) / 1e6; }

 private:
  int64_t now_ = 0;
  int64_t peak_ = 0;
};

struct Inputs {
  at::Tensor student, teacher;
  Linear student_projection, teacher_projection;
  double weight = 0;
};

struct Result {
  double loss = 0;
  at::Tensor hidden_gradient, projection_gradient;
};

using Loss = std::function<at::Tensor(const Inputs& inputs)>;

at::Tensor PlainLoss(const Inputs& inputs) {
  at::Tensor log_p;
  {
    at::NoGradGuard no_gradients;
    log_p = at::log_softmax(at::linear(inputs.teacher, inputs.teacher_projection.weight).to(at::kFloat), -1);
  }
  const at::Tensor log_q =
      at::log_softmax(at::linear(inputs.student, inputs.student_projection.weight).to(at::kFloat), -1);
  return at::kl_div(log_q, log_p, at::Reduction::Sum, /*log_target=*/true) * inputs.weight;
}

at::Tensor OurLoss(const Inputs& inputs) {
  return ChunkedKlLoss(inputs.student, inputs.student_projection, inputs.teacher, inputs.teacher_projection,
                       inputs.weight);
}

/// Returns inputs like those after a forward pass, with a teacher close to the student.
Inputs MakeInputs(int64_t tokens, int64_t hidden, int64_t vocabulary, at::ScalarType dtype) {
  at::manual_seed(3);
  const at::Tensor states = at::randn({tokens, hidden});
  const at::Tensor projection = at::randn({vocabulary, hidden}) * 0.05;
  const auto near = [](const at::Tensor& tensor) { return tensor + 0.2 * tensor.std() * at::randn_like(tensor); };
  Inputs inputs{.student = near(states).to(dtype),
                .teacher = states.to(dtype),
                .student_projection = {near(projection).to(dtype)},
                .teacher_projection = {projection.to(dtype)},
                .weight = 1.0 / static_cast<double>(tokens)};
  inputs.student.requires_grad_();
  inputs.student_projection.weight.requires_grad_();
  return inputs;
}

Result Run(const Loss& loss, Inputs& inputs) {
  at::Tensor& weight = inputs.student_projection.weight;
  inputs.student.mutable_grad() = at::Tensor();
  weight.mutable_grad() = at::Tensor();
  const at::Tensor value = loss(inputs);
  value.backward();
  return {value.item<double>(), inputs.student.grad(), weight.grad()};
}

double PeakMegabytes(const Loss& loss, Inputs& inputs) {
  Run([](const Inputs& given) { return given.student.sum() + given.student_projection.weight.sum(); }, inputs);
  inputs.student.mutable_grad() = at::Tensor();
  inputs.student_projection.weight.mutable_grad() = at::Tensor();
  const auto meter = std::make_shared<MemoryMeter>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  Run(loss, inputs);
  return meter->peak_megabytes();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Returns the distance of two gradients relative to their length.
double Distance(const at::Tensor& value, const at::Tensor& expected) {
  return ((value.to(at::kFloat) - expected.to(at::kFloat)).norm() / expected.to(at::kFloat).norm()).item<double>();
}

void Compare(int64_t tokens, int64_t hidden, int64_t vocabulary, int rounds, at::ScalarType dtype) {
  Inputs inputs = MakeInputs(tokens, hidden, vocabulary, dtype);
  const Result plain = Run(PlainLoss, inputs), ours = Run(OurLoss, inputs);
  fmt::print(
      "{}: loss {:.7f} plain, {:.7f} ours, difference {:.1e}; gradients differ by {:.1e} (states), {:.1e} "
      "(projection)\n",
      c10::toString(dtype), plain.loss, ours.loss, std::abs(plain.loss - ours.loss),
      Distance(ours.hidden_gradient, plain.hidden_gradient),
      Distance(ours.projection_gradient, plain.projection_gradient));
  const double plain_peak = PeakMegabytes(PlainLoss, inputs), our_peak = PeakMegabytes(OurLoss, inputs);
  fmt::print("  peak memory  {:.0f} MB plain, {:.0f} MB ours, ratio {:.3f}\n", plain_peak, our_peak,
             our_peak / plain_peak);
  std::vector<double> plain_seconds, our_seconds, ratios;
  for (int round = 0; round < rounds; ++round) {
    for (const bool chunked : {false, true}) {
      const Stopwatch watch;
      Run(chunked ? OurLoss : PlainLoss, inputs);
      (chunked ? our_seconds : plain_seconds).push_back(watch.Seconds());
    }
    ratios.push_back(our_seconds.back() / plain_seconds.back());
  }
  fmt::print("  time         {:.3f} s plain, {:.3f} s ours, medians of {}; ratio {:.3f} (median of {:.3f} to {:.3f})\n",
             Median(plain_seconds), Median(our_seconds), rounds, Median(ratios), *std::ranges::min_element(ratios),
             *std::ranges::max_element(ratios));
}

int Main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  const auto number = [&](int index, int64_t otherwise) { return argc > index ? std::atoll(argv[index]) : otherwise; };
  const int64_t tokens = number(1, 2048), hidden = number(2, 1024), vocabulary = number(3, 32000);
  fmt::print("{} tokens, width {}, {} words, {} threads\n", tokens, hidden, vocabulary, at::get_num_threads());
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Compare(tokens, hidden, vocabulary, static_cast<int>(number(4, 5)), dtype);
  }
  return 0;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
