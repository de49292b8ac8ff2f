// Tests which addresses are refused that gRPC would take for others.
#include "services/common/base/network_address.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(CheckAddress, AcceptsEveryForm) {
  for (const char* address : {"127.0.0.1:7447", "node-1:1", "[::1]:65535", "unix:/run/socket", "a:1,b:2", "a:1, b:2",
                              "dns:///name:7447", "0.0.0.0:7447"}) {
    EXPECT_TRUE(CheckAddress(address, 1).ok()) << address << ": " << CheckAddress(address, 1);
  }
  EXPECT_TRUE(CheckAddress("127.0.0.1:0", 0).ok());
}

TEST(CheckAddress, RefusesWhatIsNoPort) {
  for (const char* address : {"", "127.0.0.1", "127.0.0.1:", ":7447", "127.0.0.1:0", "127.0.0.1:65536",
                              "127.0.0.1:70000", "127.0.0.1:-1", "127.0.0.1:74 47", "127.0.0.1:http", "[::1]", "a:1,b",
                              "a:1,", "dns:///name", "127.0.0.1:99999999999999999999"}) {
    EXPECT_EQ(CheckAddress(address, 1).code(), absl::StatusCode::kInvalidArgument) << address;
  }
}

}  // namespace
}  // namespace regroup
