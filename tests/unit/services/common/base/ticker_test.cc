// Tests that a ticker calls until it is stopped, and not afterwards.
#include "services/common/base/ticker.h"

#include <gtest/gtest.h>

#include <future>

namespace regroup {
namespace {

TEST(Ticker, CallsUntilItIsStopped) {
  std::promise<void> third;
  int calls = 0;
  Ticker ticker(std::chrono::milliseconds(1), [&] {
    if (++calls == 3) third.set_value();
  });
  ASSERT_EQ(third.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  ticker.Stop();
  const int before = calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(calls, before);
  ticker.Stop();
}

TEST(Ticker, DoesNotWaitForItsPauseWhenItEnds) {
  const auto start = std::chrono::steady_clock::now();
  {
    const Ticker ticker(std::chrono::hours(1), [] { FAIL() << "called at once"; });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(1));
}

}  // namespace
}  // namespace regroup
