#include "services/common/remote/public_address.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace regroup {
namespace {

struct Range4 {
  std::array<uint8_t, 4> first;
  int bits;
};
struct Range6 {
  std::array<uint8_t, 16> first;
  int bits;
};

constexpr std::array<Range4, 15> kReserved4 = {{{{0, 0, 0, 0}, 8},
                                                {{10, 0, 0, 0}, 8},
                                                {{100, 64, 0, 0}, 10},
                                                {{127, 0, 0, 0}, 8},
                                                {{169, 254, 0, 0}, 16},
                                                {{172, 16, 0, 0}, 12},
                                                {{192, 0, 0, 0}, 24},
                                                {{192, 0, 2, 0}, 24},
                                                {{192, 88, 99, 0}, 24},
                                                {{192, 168, 0, 0}, 16},
                                                {{198, 18, 0, 0}, 15},
                                                {{198, 51, 100, 0}, 24},
                                                {{203, 0, 113, 0}, 24},
                                                {{224, 0, 0, 0}, 4},
                                                {{240, 0, 0, 0}, 4}}};

// All reachable addresses lie in 2000::/3.
constexpr Range6 kGlobalUnicast = {{0x20}, 3};
constexpr std::array<Range6, 2> kReserved6 = {{{{0x20, 0x01}, 23}, {{0x20, 0x01, 0x0d, 0xb8}, 32}}};
// Addresses with an IPv4 address inside, and where it begins.
constexpr Range6 kMapped = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};
constexpr Range6 kTranslated = {{0, 0x64, 0xff, 0x9b}, 96};
constexpr Range6 kSixToFour = {{0x20, 0x02}, 16};

template <size_t size>
bool LiesIn(const uint8_t* address, const std::array<uint8_t, size>& first, int bits) {
  const int bytes = bits / 8;
  if (!std::equal(address, address + bytes, first.begin())) return false;
  const int rest = bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return (address[bytes] & mask) == (first[static_cast<size_t>(bytes)] & mask);
}

bool IsPublic4(const uint8_t* address) {
  return std::none_of(kReserved4.begin(), kReserved4.end(),
                      [&](const Range4& range) { return LiesIn(address, range.first, range.bits); });
}

bool IsPublic6(const uint8_t* address) {
  for (const Range6& range : {kMapped, kTranslated}) {
    if (LiesIn(address, range.first, range.bits)) return IsPublic4(address + 12);
  }
  if (LiesIn(address, kSixToFour.first, kSixToFour.bits)) return IsPublic4(address + 2);
  return LiesIn(address, kGlobalUnicast.first, kGlobalUnicast.bits) &&
         std::none_of(kReserved6.begin(), kReserved6.end(),
                      [&](const Range6& range) { return LiesIn(address, range.first, range.bits); });
}

}  // namespace

bool IsPublicAddress(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in ipv4;
    std::memcpy(&ipv4, address, sizeof ipv4);
    std::array<uint8_t, 4> bytes;
    std::memcpy(bytes.data(), &ipv4.sin_addr, bytes.size());
    return IsPublic4(bytes.data());
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 ipv6;
    std::memcpy(&ipv6, address, sizeof ipv6);
    std::array<uint8_t, 16> bytes;
    std::memcpy(bytes.data(), &ipv6.sin6_addr, bytes.size());
    return IsPublic6(bytes.data());
  }
  return false;
}

}  // namespace regroup
