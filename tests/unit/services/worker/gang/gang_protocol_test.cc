#include "services/worker/gang/gang_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/common/base/error.h"
#include "services/worker/gang/remote_shell.h"

namespace regroup {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kLogs[] = "/work/jobs/j/t/1/logs";

/// The command that Open MPI 4.1.4 gives to a remote shell.
constexpr char kCommand[] =
    R"x( orted -mca orte_leave_session_attached "1" -mca ess "env" -mca ess_base_jobid "1068630016" -mca ess_base_vpid 1)x"
    R"x( -mca ess_base_num_procs "2" -mca orte_node_regex "vm,regroup-node-[1:1]@0(2)" -mca orte_hnp_uri)x"
    R"x( "1068630016.0;tcp://192.0.2.2:46863;tcp6://[fd00::2]:34059" -mca plm_rsh_agent "/opt/regroup-rsh")x"
    R"x( -mca plm_rsh_no_tree_spawn "1" -mca btl "^openib" -mca plm "rsh" -mca rmaps_base_mapping_policy "slot")x"
    R"x( -mca orte_output_filename "/work/jobs/j/t/1/logs:nojobid,nocopy" -mca pmix "^s1,s2,cray,isolated")x";

google::protobuf::RepeatedPtrField<v1::DaemonSetting> GoodSettings() {
  const auto settings = SettingsOf(SplitCommand(kCommand)).value();
  return {settings.begin(), settings.end()};
}

absl::Status Try(const google::protobuf::RepeatedPtrField<v1::DaemonSetting>& settings) {
  return DaemonArguments(settings, kLogs, "/opt/regroup-rsh").status();
}

absl::Status TryWith(const std::string& name, const std::string& value) {
  auto settings = GoodSettings();
  for (v1::DaemonSetting& setting : settings) {
    if (setting.name() != name) continue;
    setting.set_value(value);
    return Try(settings);
  }
  settings.Add()->set_name(name);
  settings.rbegin()->set_value(value);
  return Try(settings);
}

TEST(DaemonSettings, TakesWhatMpirunGives) {
  const auto arguments = DaemonArguments(GoodSettings(), kLogs, "/usr/bin/regroup-rsh");
  ASSERT_TRUE(arguments.ok()) << arguments.status();
  EXPECT_THAT(*arguments, Contains("1068630016.0;tcp://192.0.2.2:46863;tcp6://[fd00::2]:34059"));
  EXPECT_THAT(*arguments, Contains("/usr/bin/regroup-rsh"));
  EXPECT_THAT(*arguments, Not(Contains("/opt/regroup-rsh"))) << "the lead names no program";
}

TEST(DaemonSettings, RefusesEverythingElse) {
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"plm_rsh_agent", "/bin/sh"},
           {"orte_launch_agent", "/bin/sh"},
           {"mca_component_path", "/tmp"},
           {"--prefix", "/tmp"},
           {"", ""},
           {"ess", "env;id"},
           {"ess_base_jobid", "$(id)"},
           {"ess_base_vpid", "1 -x"},
           {"plm", "ssh"},
           {"plm_rsh_no_tree_spawn", "0"},
           {"orte_hnp_uri", "1.0;tcp://a|b"},
           {"orte_node_regex", "a b"},
           {"orte_output_filename", "/etc:nojobid,nocopy"},
           {"btl_tcp_if_include", "eth0\n"},
           {"pmix", std::string("^a\0b", 4)},
           {"orte_node_regex", std::string(5000, 'a')},
       }) {
    const absl::Status status = TryWith(name, value);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name << "=" << value.substr(0, 50) << ": " << status;
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  }
}

TEST(DaemonSettings, RefusesASettingTwiceAndACommandThatLacksOne) {
  auto twice = GoodSettings();
  *twice.Add() = twice[1];
  EXPECT_THAT(std::string(Try(twice).message()), HasSubstr("twice"));
  auto incomplete = GoodSettings();
  for (int i = 0; i < incomplete.size(); ++i) {
    if (incomplete[i].name() == "orte_hnp_uri") incomplete.DeleteSubrange(i, 1);
  }
  EXPECT_THAT(std::string(Try(incomplete).message()), HasSubstr("orte_hnp_uri is missing"));
}

TEST(RemoteShell, SplitsAtSpacesOutsideOfQuotationMarks) {
  EXPECT_THAT(SplitCommand(R"( orted  -mca a "b c" d'e' "" $(id);x )"),
              ElementsAre("orted", "-mca", "a", "b c", "de", "", "$(id);x"));
}

TEST(RemoteShell, LeavesOutWhatADaemonDoesNotNeed) {
  const auto settings = SettingsOf({"orted", "-mca", "coll", "tuned", "-mca", "ess", "env"}).value();
  ASSERT_EQ(settings.size(), 1u);
  EXPECT_EQ(settings[0].name(), "ess");
}

TEST(RemoteShell, UnderstandsTheDaemonsCommandOnly) {
  EXPECT_FALSE(SettingsOf({"sh", "-c", "id"}).ok());
  EXPECT_FALSE(SettingsOf({"orted", "--daemonize", "-mca", "ess", "env"}).ok());
  EXPECT_FALSE(SettingsOf({"orted", "-mca", "ess"}).ok());
  EXPECT_FALSE(SettingsOf({}).ok());
  EXPECT_TRUE(SettingsOf({"(", "test", "!", "-r", "./.profile", ";", "orted", "-mca", "ess", "env", ")"}).ok());
}

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
