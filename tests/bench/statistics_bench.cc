// Compares the tokens per second of calibration (forward passes with statistics, as the calibrate stage makes them)
// with those of the bare forward pass, in turns.
// usage: statistics_bench [model folder or -] [tokens per window] [batches] [turns]      (-, 512, 2 and 3 by default)
//
// Without a folder the model is a random LLaMA of width 1024 with 4 layers. Before anything is timed, the hidden states
// with and without statistics must be equal, and the sums must be those of the inputs in float64.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench_parts.h"
#include "services/common/base/stopwatch.h"
#include "trainer/alignment/layer_statistics.h"
#include "trainer/model_folder/convert_block.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/window_runner.h"
#include "trainer/nn/windows_at_once.h"

namespace regroup {
namespace {

enum class Kept { kNothing, kMoments, kMomentsAndUnitGrams };

struct Pass {
  std::vector<at::Tensor> hidden;
  std::vector<LayerStatistics> statistics;
  double seconds = 0;
  double processor_seconds = 0;
};

Pass Run(const Model& model, const std::vector<at::Tensor>& windows, Kept kept) {
  Pass pass;
  for (int64_t layer = 0; layer < model.config.layers; ++layer) {
    pass.statistics.emplace_back(AttentionShapeOf(model.config, layer), kept == Kept::kMomentsAndUnitGrams);
  }
  const auto observe = [&](int64_t layer, const AttentionRows& rows) {
    pass.statistics[layer].Accumulate(ActivationsOf(rows));
  };
  const Stopwatch watch;
  const double before = ProcessorSeconds();
  for (const at::Tensor& window : windows) {
    pass.hidden.push_back(kept == Kept::kNothing ? RunHiddenStates(model, window)
                                                 : RunHiddenStates(model, window, {.observer = observe}));
  }
  pass.seconds = watch.Seconds();
  pass.processor_seconds = ProcessorSeconds() - before;
  return pass;
}

/// Checks the sums of the first layer against the inputs themselves.
bool SumsAreThoseOfTheInputs(const Model& model, const std::vector<at::Tensor>& windows, const Pass& pass) {
  at::Tensor moment;
  for (const at::Tensor& window : windows) {
    const auto observe = [&](int64_t layer, const AttentionInputs& inputs) {
      if (layer != 0) return;
      const at::Tensor rows = inputs.memory.flatten(0, 1).to(at::kDouble);
      const at::Tensor product = rows.t().mm(rows);
      moment = moment.defined() ? moment + product : product;
    };
    RunHiddenStates(model, window, {.observer = observe});
  }
  const at::Tensor error = (pass.statistics.front().InputMoment() - moment).abs().max() / moment.abs().max();
  return error.item<double>() < 1e-5;
}

bool Check(const Model& model, const std::vector<at::Tensor>& windows) {
  const Pass bare = Run(model, windows, Kept::kNothing);
  const Pass kept = Run(model, windows, Kept::kMomentsAndUnitGrams);
  for (size_t window = 0; window < windows.size(); ++window) {
    if (!bare.hidden[window].equal(kept.hidden[window])) return false;
  }
  return SumsAreThoseOfTheInputs(model, windows, kept);
}

void Print(const char* name, const Pass& pass, const Pass& bare, int64_t tokens) {
  fmt::print("{:<38} {:>10.0f} {:>10.3f} {:>26.3f}\n", name, static_cast<double>(tokens) / pass.seconds,
             bare.seconds / pass.seconds, bare.processor_seconds / pass.processor_seconds);
}

int Main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  const at::NoGradGuard no_gradients;
  const auto number = [&](int index, int64_t otherwise) { return argc > index ? std::atoll(argv[index]) : otherwise; };
  at::manual_seed(1);
  const std::string folder = argc > 1 ? argv[1] : "-";
  const Model model =
      folder == "-" ? RandomLlama(4, 16) : SourceModel::Open(folder)->Load(at::kFloat, at::kCPU).value();
  const int64_t length = number(2, 512), batches = number(3, 2), turns = number(4, 3);
  const int64_t at_once = WindowsAtOnce(length), tokens = batches * at_once * length;
  std::vector<at::Tensor> windows;
  for (int64_t i = 0; i < batches; ++i) {
    windows.push_back(at::randint(model.config.vocabulary, {at_once, length}, at::kLong));
  }
  if (!Check(model, windows)) {
    fmt::print("error: statistics change the forward pass or are not the sums of its inputs\n");
    return 1;
  }
  Pass best[3];
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (const Kept kept : {Kept::kNothing, Kept::kMoments, Kept::kMomentsAndUnitGrams}) {
      Pass& fastest = best[static_cast<int>(kept)];
      const Pass pass = Run(model, windows, kept);
      fastest.seconds = turn == 0 ? pass.seconds : std::min(fastest.seconds, pass.seconds);
      fastest.processor_seconds =
          turn == 0 ? pass.processor_seconds : std::min(fastest.processor_seconds, pass.processor_seconds);
    }
  }
  fmt::print("{} layers of width {}, {} windows of {} tokens at once, {} threads, best of {}\n\n", model.config.layers,
             model.config.hidden_size, at_once, length, at::get_num_threads(), turns);
  fmt::print("{:<38} {:>10} {:>10} {:>26}\n", "", "tokens/s", "of bare", "of bare, CPU time");
  Print("bare forward pass", best[0], best[0], tokens);
  Print("with moments (distance, residual)", best[1], best[0], tokens);
  Print("with unit-length Grams too (cosine)", best[2], best[0], tokens);
  return 0;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
