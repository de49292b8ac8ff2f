#include "trainer/event_files/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

TEST(Crc32cTest, GivesTheChecksumsOfRfc3720) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aa);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43);
  std::string rising, falling;
  for (int byte = 0; byte < 32; ++byte) rising.push_back(static_cast<char>(byte));
  for (int byte = 31; byte >= 0; --byte) falling.push_back(static_cast<char>(byte));
  EXPECT_EQ(Crc32c(rising), 0x46dd794e);
  EXPECT_EQ(Crc32c(falling), 0x113fdb5c);
}

TEST(Crc32cTest, GivesTheChecksumsOfShortTexts) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283);
}

}  // namespace
}  // namespace regroup
