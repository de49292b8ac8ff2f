#include "services/common/base/network_address.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr int kHighestPort = 65535;
constexpr std::string_view kDnsPrefix = "dns:///";

absl::Status CheckOne(std::string_view address, int lowest_port) {
  if (address.starts_with("unix:")) return absl::OkStatus();
  const size_t colon = address.rfind(':');
  // The colon of [::1] is inside of the host.
  const bool has_port =
      colon != std::string_view::npos && colon > 0 && address.find(']', colon) == std::string_view::npos;
  const std::string_view port = has_port ? address.substr(colon + 1) : std::string_view();
  int number = -1;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  const bool is_number = !port.empty() && error == std::errc() && end == port.data() + port.size();
  if (is_number && number >= lowest_port && number <= kHighestPort) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("\"{}\" is not an address: write HOST:PORT with a port from {} to {}",
                                                address, lowest_port, kHighestPort));
}

}  // namespace

std::vector<std::string> AddressesIn(const std::string& text) {
  const std::string list = text.starts_with(kDnsPrefix) ? text.substr(kDnsPrefix.size()) : text;
  std::vector<std::string> addresses = absl::StrSplit(list, ',');
  for (std::string& address : addresses) absl::StripAsciiWhitespace(&address);
  return addresses;
}

absl::Status CheckAddress(const std::string& address, int lowest_port) {
  for (const std::string& one : AddressesIn(address)) {
    REGROUP_RETURN_IF_ERROR(CheckOne(one, lowest_port));
  }
  return absl::OkStatus();
}

}  // namespace regroup
