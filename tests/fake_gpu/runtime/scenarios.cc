// Scenarios for the ranks of fake_runtime_test.py: each uses the real plug-in, over pretended libraries.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "services/common/base/parent_death.h"
#include "trainer/parallel/activity.h"
#include "trainer/parallel/device.h"

namespace regroup {
namespace {

constexpr int kLost = 3;

int g_rank = 0;
int g_failures = 0;

void Say(const std::string& text) {
  fmt::print("[{}] {}\n", g_rank, text);
  std::fflush(stdout);
}

void Expect(bool holds, const std::string& what) {
  if (holds) return;
  ++g_failures;
  Say("WRONG: " + what);
}

/// Small whole numbers, which every type holds exactly, also their sums.
at::Tensor Numbers(int64_t count, int64_t rank, at::ScalarType type) {
  return (at::arange(count, at::kLong).remainder(7) + rank).to(type);
}

at::Tensor Pinned(at::Tensor tensor) {
  at::Tensor pinned = at::empty(tensor.sizes(), tensor.options().pinned_memory(true));
  pinned.copy_(tensor);
  return pinned;
}

void CheckCollectives(Communicator& gang, at::Device device) {
  const int64_t ranks = gang.size();
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong, at::kInt, at::kByte}) {
    const std::string name = c10::toString(type);
    const at::Tensor sum = Numbers(65 * ranks, 0, at::kLong) * ranks + ranks * (ranks - 1) / 2;
    at::Tensor own = Numbers(65 * ranks, g_rank, type).to(device);
    at::Tensor slice = at::empty({65}, own.options());
    Expect(gang.ReduceScatterSum(own, slice).ok(), "call");
    Expect(at::equal(slice.cpu().to(at::kLong), sum.narrow(0, 65 * g_rank, 65)), "reduce_scatter of " + name);
    Expect(gang.AllReduceSum(own).ok(), "call");
    Expect(at::equal(own.cpu().to(at::kLong), sum), "all_reduce of " + name);
    at::Tensor whole = at::empty({64 * ranks}, own.options());
    at::Tensor in_place = whole.narrow(0, 64 * g_rank, 64);
    in_place.copy_(Numbers(64, 10 * g_rank, type));
    Expect(gang.AllGather(in_place, whole).ok(), "call");
    for (int64_t rank = 0; rank < ranks; ++rank) {
      Expect(at::equal(whole.cpu().narrow(0, 64 * rank, 64), Numbers(64, 10 * rank, type)), "all_gather of " + name);
      at::Tensor sent = Numbers(33, g_rank, type).to(device);
      Expect(gang.Broadcast(sent, static_cast<int>(rank)).ok(), "call");
      Expect(at::equal(sent.cpu(), Numbers(33, rank, type)), "broadcast of " + name);
    }
  }
  at::Tensor flags = at::empty({4}, at::TensorOptions(device).dtype(at::kBool));
  const absl::Status refused = gang.AllReduceSum(flags);
  Expect(refused.code() == absl::StatusCode::kInternal, "a type that NCCL does not have is refused");
  at::Tensor on_host = at::tensor({int64_t{g_rank}, int64_t{7}});
  Expect(gang.Broadcast(on_host, 0).ok() && on_host[0].item<int64_t>() == 0, "broadcast of a CPU tensor");
  Expect(gang.Barrier().ok() && gang.RestingBarrier().ok(), "barriers");
}

/// Gradients come on the computing stream while earlier ones are summed on the lane; then the sums are read, and the
/// gradients are overwritten.
void CheckOverlap(Communicator& gang, at::Device device) {
  constexpr int64_t kEntries = 1 << 14, kBuckets = 6, kSteps = 20;
  const int64_t ranks = gang.size();
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  std::vector<at::Tensor> gradients, sums;
  for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
    gradients.push_back(at::empty({kEntries * ranks}, options));
    sums.push_back(at::empty({kEntries}, options));
  }
  const std::unique_ptr<SideLane> lane = gang.MakeSideLane();
  for (int64_t step = 0; step < kSteps; ++step) {
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
      const double value = static_cast<double>(100 * step + 10 * bucket + g_rank);
      gradients[bucket].copy_(Pinned(at::full({kEntries * ranks}, value, at::kFloat)), /*non_blocking=*/true);
      lane->Launch([&, bucket] { return gang.ReduceScatterSum(gradients[bucket], sums[bucket]); });
    }
    Expect(lane->Finish().ok(), "lane");
    for (int64_t bucket = 0; bucket < kBuckets; ++bucket) {
      const double value = static_cast<double>(ranks * (100 * step + 10 * bucket) + ranks * (ranks - 1) / 2);
      const at::Tensor got = sums[bucket].cpu();
      Expect(got.eq(value).all().item<bool>(), fmt::format("sum of bucket {} in step {}", bucket, step));
    }
  }
}

/// Fetches the weights of layers ahead on the lane, as shard: all does: those of the next layer while one is used, into
/// memory that is allocated and released on the computing stream, beside sums of gradients. After Finish, which follows
/// the last layer of a pass, the next pass fetches what the computing stream has changed.
void CheckPrefetch(Communicator& gang, at::Device device) {
  constexpr int64_t kEntries = 1 << 14, kLayers = 6, kSteps = 10;
  const int64_t ranks = gang.size();
  const at::TensorOptions options = at::TensorOptions(device).dtype(at::kFloat);
  std::vector<at::Tensor> slices;
  for (int64_t layer = 0; layer < kLayers; ++layer) slices.push_back(at::empty({kEntries}, options));
  const std::unique_ptr<SideLane> lane = gang.MakeSideLane();
  at::Tensor gradients = at::zeros({kEntries * ranks}, at::kFloat).to(device), sum = at::empty({kEntries}, options);
  for (int64_t step = 0; step < kSteps; ++step) {
    struct Fetched {
      at::Tensor whole;
      int64_t mark = 0;
    };
    const auto fetch = [&](int64_t layer) {
      Fetched fetched{.whole = at::empty({kEntries * ranks}, options)};
      lane->Launch(
          [&gang, slice = slices[layer], whole = fetched.whole]() mutable { return gang.AllGather(slice, whole); });
      fetched.mark = lane->Mark();
      return fetched;
    };
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const double value = static_cast<double>(100 * step + 10 * layer + g_rank);
      slices[layer].copy_(Pinned(at::full({kEntries}, value, at::kFloat)), /*non_blocking=*/true);
    }
    std::vector<at::Tensor> used;
    Fetched next = fetch(0);
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const Fetched fetched = std::exchange(next, {});
      if (layer + 1 < kLayers) next = fetch(layer + 1);
      lane->WaitFor(fetched.mark);
      used.push_back(fetched.whole.clone());
      lane->Launch([&] { return gang.ReduceScatterSum(gradients, sum); });
    }
    Expect(lane->Finish().ok(), "lane");
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      const at::Tensor expected = at::arange(ranks, at::kFloat) + static_cast<double>(100 * step + 10 * layer);
      const at::Tensor got = used[layer].cpu().view({ranks, kEntries});
      Expect(got.eq(expected.unsqueeze(1)).all().item<bool>(),
             fmt::format("weights of layer {} in step {}", layer, step));
    }
  }
}

/// Rank 1 calls something else than the others.
void Differ(Communicator& gang, at::Device device) {
  at::Tensor tensor = at::empty({64 * gang.size()}, at::TensorOptions(device).dtype(at::kFloat));
  if (g_rank == 1) {
    gang.Broadcast(tensor, 0).IgnoreError();
  } else {
    gang.AllReduceSum(tensor).IgnoreError();
  }
  gang.Barrier().IgnoreError();
}

/// The GPU is lost while a lane exists.
void LoseGpu(Communicator& gang, at::Device device) {
  try {
    const std::unique_ptr<SideLane> lane = gang.MakeSideLane();
    const at::Tensor tensor = at::empty({64}, at::TensorOptions(device).dtype(at::kFloat));
    std::ofstream(std::getenv("FAKE_CUDA_LOST_FILE")) << "lost";
    tensor.cpu();
    Expect(false, "the copy succeeded");
  } catch (const std::exception& error) {
    Say("caught: " + std::string(error.what()).substr(0, 80));
  }
}

/// Rank 0 waits on its GPU for a collective that the others never call.
void WaitForever(Communicator& gang, at::Device device) {
  at::Tensor tensor = at::zeros({64}, at::kFloat).to(device);
  if (g_rank == 0) {
    gang.AllReduceSum(tensor).IgnoreError();
    tensor.cpu();
  }
  // The connection breaks while rank 0 waits.
  sleep(1);
  std::ofstream(std::getenv("FAKE_NCCL_BROKEN_FILE")) << "broken";
  sleep(60);
}

/// The same, but rank 0 ends once the board shows where it is.
void ShowCollective(Communicator& gang, at::Device device) {
  ActivityBoard board;
  gang.set_activity(&board);
  at::Tensor tensor = at::zeros({64}, at::kFloat).to(device);
  if (g_rank != 0) sleep(60);
  gang.AllReduceSum(tensor).IgnoreError();
  for (int i = 0; i < 100 && board.Read().gpu_collective.empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  Say("in flight: " + board.Read().gpu_collective);
  _exit(kLost);
}

/// After a slow collective on their GPUs the ranks wait for rank 1 on their hosts: the board goes on to name that wait.
void WaitOnTheHost(Communicator& gang, at::Device device) {
  ActivityBoard board;
  gang.set_activity(&board);
  at::Tensor tensor = at::zeros({64}, at::kFloat).to(device);
  if (g_rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(500));
  gang.AllReduceSum(tensor).IgnoreError();
  tensor.cpu();
  if (g_rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  std::thread reader([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    const ActivityBoard::Snapshot now = board.Read();
    if (g_rank != 0) return;
    Expect(now.collective == "resting barrier #1", "the board names '" + now.collective + "'");
    Expect(now.gpu_collective.empty(), "it still names '" + now.gpu_collective + "'");
  });
  Expect(gang.RestingBarrier().ok(), "call");
  reader.join();
  gang.set_activity(nullptr);
}

void CountSeconds(Communicator& gang, at::Device device) {
  at::Tensor tensor = at::zeros({64}, at::kFloat).to(device);
  // All wait for the last rank, on their GPUs.
  if (g_rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(500));
  Expect(gang.AllReduceSum(tensor).ok() && gang.Barrier().ok(), "call");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  if (g_rank == 0) Expect(gang.seconds() > 0.4 && gang.seconds() < 5, fmt::format("{} seconds", gang.seconds()));
}

using Scenario = void (*)(Communicator&, at::Device);

int Run(const std::string& name) {
  const std::map<std::string, Scenario> scenarios = {{"collectives", CheckCollectives},
                                                     {"overlap", CheckOverlap},
                                                     {"prefetch", CheckPrefetch},
                                                     {"differ", Differ},
                                                     {"lose", LoseGpu},
                                                     {"wait", WaitForever},
                                                     {"show", ShowCollective},
                                                     {"host", WaitOnTheHost},
                                                     {"seconds", CountSeconds},
                                                     {"join", [](Communicator&, at::Device) {}}};
  g_rank = PlaceInGang().rank;
  const auto device = ChooseDevice("cuda");
  if (!device.ok()) {
    Say(device.status().ToString());
    return 1;
  }
  const auto lost = [&name](const absl::Status& status) {
    Say("lost: " + std::string(status.message()).substr(0, 200));
    // The scenario that loses its GPU sees the exception too; of a broken connection, rank 0 has to learn by itself.
    if (name != "lose" && g_rank == 0) _exit(kLost);
  };
  auto gang = JoinGang(*device, lost);
  if (!gang.ok()) {
    Say(gang.status().ToString());
    _exit(1);
  }
  scenarios.at(name)(**gang, *device);
  gang->reset();
  Say(fmt::format("{} failures", g_failures));
  return g_failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  // mpirun is killed if the test's patience ends.
  if (argc != 2 || !regroup::DieWithParent(SIGKILL)) return 2;
  return regroup::Run(argv[1]);
}
