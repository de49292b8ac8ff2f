#include "services/worker/gang/gang_protocol.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <regex>
#include <set>
#include <string_view>

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr std::string_view kNodePrefix = "regroup-node-";
constexpr const char* kOutputSetting = "orte_output_filename";
constexpr size_t kLongestValue = 4096;

/// Maps each setting's name to the pattern of its value, as mpirun 4.1 writes it.
const std::map<std::string, std::regex>& Forms() {
  static const std::map<std::string, std::regex> forms = {
      {"ess", std::regex("env")},
      {"ess_base_jobid", std::regex("[0-9]{1,10}")},
      {"ess_base_vpid", std::regex("[0-9]{1,5}")},
      {"ess_base_num_procs", std::regex("[0-9]{1,5}")},
      {"orte_node_regex", std::regex("[A-Za-z0-9@,.:()\\[\\]-]+")},
      {"orte_hnp_uri", std::regex("[0-9]{1,10}\\.0;[A-Za-z0-9:/.,;%\\[\\]]+")},
      {"orte_leave_session_attached", std::regex("1")},
      {"plm", std::regex("rsh")},
      {"plm_rsh_no_tree_spawn", std::regex("1")},
      {"btl", std::regex("\\^openib")},
      {"btl_tcp_if_include", std::regex("[A-Za-z0-9.:/,_@-]+")},
      {"oob_tcp_if_include", std::regex("[A-Za-z0-9.:/,_@-]+")},
      {"mpi_yield_when_idle", std::regex("[01]")},
      {"btl_vader_single_copy_mechanism", std::regex("[a-z]+")},
      {"rmaps_base_mapping_policy", std::regex("slot")},
      {"hwloc_base_binding_policy", std::regex("none")},
      {"opal_if_do_not_resolve", std::regex("1")},
      {"pmix", std::regex("\\^[a-z0-9,]+")},
  };
  return forms;
}

absl::Status Refuse(const std::string& setting, const std::string& why) {
  FieldViolation violation;
  violation.set_field("settings");
  violation.set_description(fmt::format("{} {}", setting.substr(0, 100), why));
  return InvalidFields({violation});
}

absl::Status CheckSetting(const v1::DaemonSetting& setting, const std::filesystem::path& log_folder) {
  if (setting.name() == kOutputSetting) {
    if (setting.value() == OutputFilename(log_folder)) return absl::OkStatus();
    return Refuse(setting.name(), "does not lie in the attempt's folder");
  }
  const auto form = Forms().find(setting.name());
  if (form == Forms().end()) return Refuse(setting.name(), "is not a setting that a gang's daemon accepts");
  const bool fits = setting.value().size() <= kLongestValue && std::regex_match(setting.value(), form->second);
  return fits ? absl::OkStatus() : Refuse(setting.name(), "has a value that is not allowed");
}

}  // namespace

std::string NodeName(int member) { return fmt::format("{}{}", kNodePrefix, member); }

std::optional<int> MemberOfNode(const std::string& node) {
  if (!node.starts_with(kNodePrefix)) return std::nullopt;
  int member = 0;
  const char* end = node.data() + node.size();
  const auto parsed = std::from_chars(node.data() + kNodePrefix.size(), end, member);
  return parsed.ec == std::errc() && parsed.ptr == end ? std::optional<int>(member) : std::nullopt;
}

std::string HostFileText(const v1::Gang& gang) {
  std::string text;
  for (int member = 0; member < gang.members_size(); ++member) {
    const std::string node = member == 0 ? "localhost" : NodeName(member);
    text += fmt::format("{} slots={}\n", node, gang.members(member).ranks());
  }
  return text;
}

std::string OutputFilename(const std::filesystem::path& log_folder) { return log_folder.string() + ":nojobid,nocopy"; }

bool IsDaemonSetting(const std::string& name) { return name == kOutputSetting || Forms().count(name) > 0; }

absl::StatusOr<std::vector<std::string>> DaemonArguments(
    const google::protobuf::RepeatedPtrField<v1::DaemonSetting>& settings, const std::filesystem::path& log_folder,
    const std::filesystem::path& launcher) {
  std::vector<std::string> arguments;
  std::set<std::string> given;
  for (const v1::DaemonSetting& setting : settings) {
    REGROUP_RETURN_IF_ERROR(CheckSetting(setting, log_folder));
    if (!given.insert(setting.name()).second) return Refuse(setting.name(), "is given twice");
    arguments.insert(arguments.end(), {"-mca", setting.name(), setting.value()});
  }
  for (const char* needed :
       {"ess", "ess_base_jobid", "ess_base_vpid", "ess_base_num_procs", "orte_hnp_uri", "plm_rsh_no_tree_spawn"}) {
    if (given.count(needed) == 0) return Refuse(needed, "is missing");
  }
  arguments.insert(arguments.end(), {"-mca", "plm_rsh_agent", launcher.string()});
  return arguments;
}

}  // namespace regroup
