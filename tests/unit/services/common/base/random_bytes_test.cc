#include "services/common/base/random_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace regroup {
namespace {

TEST(RandomBytes, AreAsManyAsAsked) {
  // The kernel may return only 256 bytes if a signal interrupts it.
  for (const size_t count : {0u, 1u, 32u, 1000u}) EXPECT_EQ(RandomBytes(count)->size(), count);
}

TEST(RandomBytes, DifferEachTime) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) seen.insert(*RandomBytes(16));
  EXPECT_EQ(seen.size(), 100u);
}

TEST(RandomHex, HasTwoDigitsAByte) {
  EXPECT_THAT(*RandomHex(16), testing::MatchesRegex("[0-9a-f]+"));
  EXPECT_EQ(RandomHex(16)->size(), 32u);
}

}  // namespace
}  // namespace regroup
