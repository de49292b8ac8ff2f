// Measures how long a checkpoint written in the background blocks training, compared with one that training waits for.
// usage: checkpoint_bench [megabytes of state] [saves] [steps between] [folder]      (200, 6, 40 and . by default)
//
// Both sides save in turns, with the same number of steps after each save: matrix products and an update of the whole
// state. The time that those steps lose to the writing thread is reported separately. Both must write equal bytes,
// which is checked.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <numeric>

#include "services/common/base/file_digest.h"
#include "services/common/base/stopwatch.h"
#include "trainer/training/checkpoint_saver.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

struct Setting {
  int64_t megabytes = 200;
  int64_t saves = 6;
  int64_t steps_between = 40;
  fs::path folder;
};

/// Seconds, one entry per save.
struct Times {
  std::vector<double> stall;
  std::vector<double> steps_after;
};

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double Seconds(const std::function<void()>& call) {
  const Stopwatch watch;
  call();
  return watch.Seconds();
}

template <typename Result>
void Check(const Result& result) {
  if (result.ok()) return;
  fmt::print(stderr, "{}\n", result.status().ToString());
  std::exit(1);
}

void Check(const absl::Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "{}\n", status.ToString());
  std::exit(1);
}

class CheckpointBench {
 public:
  explicit CheckpointBench(Setting setting)
      : setting_(std::move(setting)),
        weights_(at::randn({setting_.megabytes * 1000000 / 12})),
        optimizer_({{.name = "base", .parameters = {&weights_}}}, {}, *communicator_),
        saver_(setting_.folder / "background", *communicator_) {}

  void Run() {
    Steps();
    for (int64_t save = 1; save <= setting_.saves; ++save) {
      waited_.stall.push_back(Seconds(
          [&] { Check(SaveTrainingCheckpoint(setting_.folder / "waited", save, optimizer_, *communicator_)); }));
      waited_.steps_after.push_back(Seconds([&] { Steps(); }));
      // Wait for the previous save, as training does; a long enough interval has completed it.
      continuing_ = 0;
      const double begin = Seconds([&] { saver_.Begin(save, optimizer_); });
      const double steps = Seconds([&] { Steps(); });
      const double finish = Seconds([&] { Check(saver_.Finish()); });
      background_.stall.push_back(begin + continuing_ + finish);
      background_.steps_after.push_back(steps - continuing_);
    }
  }

  void CompareFiles() {
    Check(SaveTrainingCheckpoint(setting_.folder / "waited", setting_.saves + 1, optimizer_, *communicator_));
    saver_.Begin(setting_.saves + 1, optimizer_);
    Check(saver_.Finish());
    if (LastDigest("waited") == LastDigest("background")) return;
    fmt::print(stderr, "the two checkpoints differ\n");
    std::exit(1);
  }

  void Print() const {
    const double waited = Mean(waited_.stall), background = Mean(background_.stall);
    fmt::print("{} MB of state, {} saves, {} steps of {:.0f} ms between them, {} threads\n", setting_.megabytes,
               setting_.saves, setting_.steps_between,
               Mean(waited_.steps_after) / static_cast<double>(setting_.steps_between) * 1e3, at::get_num_threads());
    fmt::print("waited for:        training is blocked for {:.3f} s per save\n", waited);
    fmt::print("in the background: training is blocked for {:.3f} s per save, the first {:.3f} s\n", background,
               background_.stall.front());
    fmt::print("ratio {:.3f}\n", background / waited);
    fmt::print("the steps after a save took {:.3f} s and {:.3f} s\n", Mean(waited_.steps_after),
               Mean(background_.steps_after));
  }

 private:
  void Steps() {
    for (int64_t step = 0; step < setting_.steps_between; ++step) {
      for (int i = 0; i < 4; ++i) product_ = at::mm(product_, factor_).clamp(-1, 1);
      optimizer_.ZeroGradients();
      weights_.mutable_grad().narrow(0, 0, product_.numel()).copy_(product_.flatten());
      Check(optimizer_.Step(1e-3));
      continuing_ += Seconds([&] { Check(saver_.Continue()); });
    }
  }

  std::string LastDigest(const char* side) const {
    const auto digest = FileDigest(TrainingCheckpointFolder(setting_.folder / side, setting_.saves + 1) /
                                   "rank-00000-of-00001.safetensors");
    Check(digest);
    return *digest;
  }

  const Setting setting_;
  const std::unique_ptr<Communicator> communicator_ = MakeSelfCommunicator();
  at::Tensor weights_;
  at::Tensor product_ = at::randn({512, 512}), factor_ = at::randn({512, 512});
  ShardedAdamW optimizer_;
  CheckpointSaver saver_;
  double continuing_ = 0;
  Times waited_, background_;
};

int Main(int argc, char** argv) {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  const auto number = [&](int index, int64_t otherwise) { return argc > index ? std::atoll(argv[index]) : otherwise; };
  const fs::path parent = argc > 4 ? argv[4] : ".";
  const Setting setting{.megabytes = number(1, 200),
                        .saves = number(2, 6),
                        .steps_between = number(3, 40),
                        .folder = parent / fmt::format("checkpoint_bench_{}", getpid())};
  at::manual_seed(1);
  {
    CheckpointBench bench(setting);
    bench.Run();
    bench.CompareFiles();
    bench.Print();
  }
  fs::remove_all(setting.folder);
  return 0;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
