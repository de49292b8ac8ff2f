#include "services/common/base/change_signal.h"

#include <gtest/gtest.h>

#include <thread>

namespace regroup {
namespace {

TEST(ChangeSignal, AChangeSinceTheCountWasTakenIsNotMissed) {
  ChangeSignal signal;
  const uint64_t seen = signal.count();
  signal.Announce();
  signal.Wait(seen);
  EXPECT_NE(signal.count(), seen);
}

TEST(ChangeSignal, WakesWhoWaits) {
  ChangeSignal signal;
  const uint64_t seen = signal.count();
  std::thread waiting([&] { signal.Wait(seen); });
  signal.Announce();
  waiting.join();
}

TEST(ChangeSignal, WaitsNoLongerThanToTheDeadline) {
  ChangeSignal signal;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  signal.WaitUntil(signal.count(), deadline);
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
}

}  // namespace
}  // namespace regroup
