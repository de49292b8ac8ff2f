// Input: a WAV file.
#include <cmath>
#include <string_view>

#include "tests/fuzz/require.h"
#include "trainer/data/audio/clip_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr int64_t kMostSamples = 16000;
  const auto clip = regroup::DecodeClip({reinterpret_cast<const char*>(data), size}, "file", kMostSamples);
  if (!clip.ok()) return 0;
  REGROUP_REQUIRE(!clip->empty() && clip->size() <= kMostSamples);
  for (const float sample : *clip) REGROUP_REQUIRE(std::isfinite(sample));
  return 0;
}
