#include "services/common/rpc/target.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <string_view>

#include "services/common/base/network_address.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr std::string_view kDnsPrefix = "dns:///";

std::string HostOf(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host.size() > 1 && host.front() == '[' ? host.substr(1, host.size() - 2) : host;
}

/// Returns "address:port" in numbers, of one address family; empty if the host has no address in it.
absl::StatusOr<std::string> LookUp(const std::string& address, int family) {
  if (address.starts_with("unix:")) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\": write host:port for each of several coordinators, separated by commas", address));
  }
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(HostOf(address).c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  if (code == EAI_NONAME || code == EAI_NODATA || code == EAI_ADDRFAMILY) return std::string();
  if (code != 0) return absl::UnavailableError(fmt::format("cannot look up {}: {}", address, gai_strerror(code)));
  std::array<char, NI_MAXHOST> host{};
  getnameinfo(found->ai_addr, found->ai_addrlen, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST);
  const char* form = family == AF_INET6 ? "[{}]{}" : "{}{}";
  return fmt::format(fmt::runtime(form), host.data(), address.substr(address.rfind(':')));
}

/// Returns all addresses in numbers; empty if one host has no address in the family.
absl::StatusOr<std::string> LookUpAll(const std::vector<std::string>& addresses, int family) {
  std::string all = family == AF_INET6 ? "ipv6:" : "ipv4:";
  for (size_t i = 0; i < addresses.size(); ++i) {
    REGROUP_ASSIGN_OR_RETURN(const std::string found, LookUp(addresses[i], family));
    if (found.empty()) return std::string();
    all += (i == 0 ? "" : ",") + found;
  }
  return all;
}

}  // namespace

absl::StatusOr<Target> TargetOf(const std::string& address) {
  REGROUP_RETURN_IF_ERROR(CheckAddress(address, /*lowest_port=*/1));
  const std::vector<std::string> addresses = AddressesIn(address);
  if (address.starts_with(kDnsPrefix)) return Target{address, true, "", addresses};
  if (addresses.size() == 1) return Target{address, false, "", addresses};
  for (const int family : {AF_INET, AF_INET6}) {
    REGROUP_ASSIGN_OR_RETURN(const std::string uri, LookUpAll(addresses, family));
    if (!uri.empty()) return Target{uri, true, HostOf(addresses.front()), addresses};
  }
  return absl::UnavailableError(fmt::format(
      "cannot look up {}: a name is unknown, or some have only IPv4 and others only IPv6 addresses", address));
}

}  // namespace regroup
