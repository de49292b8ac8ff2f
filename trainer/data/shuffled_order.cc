#include "trainer/data/shuffled_order.h"

#include <cstddef>
#include <numeric>
#include <utility>

namespace regroup {

uint64_t SplitMix64::Next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

uint64_t SplitMix64::Below(uint64_t bound) {
  const uint64_t incomplete = -bound % bound;  // 2^64 mod bound
  while (true) {
    const uint64_t drawn = Next();
    if (drawn >= incomplete) return drawn % bound;
  }
}

std::vector<int64_t> ShuffledOrder(int64_t count, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  SplitMix64 random(seed);
  for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[random.Below(static_cast<uint64_t>(i) + 1)]);
  return order;
}

}  // namespace regroup
