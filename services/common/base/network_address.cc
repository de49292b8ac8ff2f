#include "services/common/base/network_address.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

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

absl::Status CheckAddress(const std::string& address, int lowest_port) {
  std::string_view rest = address;
  if (rest.starts_with(kDnsPrefix)) rest.remove_prefix(kDnsPrefix.size());
  while (true) {
    const size_t comma = rest.find(',');
    std::string_view one = rest.substr(0, comma);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    absl::Status status = CheckOne(one, lowest_port);
    if (!status.ok() || comma == std::string_view::npos) return status;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace regroup
