#include "services/worker/gang/gang_files.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

namespace regroup {
namespace {

constexpr std::string_view kNodePrefix = "regroup-node-";

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

}  // namespace regroup
