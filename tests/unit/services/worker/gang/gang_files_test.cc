#include "services/worker/gang/gang_files.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(GangFiles, NamesOfNodesStandForMembers) {
  EXPECT_EQ(MemberOfNode(NodeName(3)), 3);
  EXPECT_EQ(MemberOfNode("regroup-node-"), std::nullopt);
  EXPECT_EQ(MemberOfNode("regroup-node-1x"), std::nullopt);
  EXPECT_EQ(MemberOfNode("localhost"), std::nullopt);
}

TEST(GangFiles, TheHostFileGivesEachMemberItsRanks) {
  v1::Gang gang;
  gang.add_members()->set_ranks(2);
  gang.add_members()->set_ranks(2);
  EXPECT_EQ(HostFileText(gang), "localhost slots=2\nregroup-node-1 slots=2\n");
}

}  // namespace
}  // namespace regroup
