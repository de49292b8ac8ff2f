// Input: a manifest.json. Accepted input can be written and read again, and names files inside its folder only.
#include <string_view>

#include "tests/fuzz/require.h"
#include "trainer/training/checkpoint_manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto manifest = regroup::ParseCheckpointManifest({reinterpret_cast<const char*>(data), size});
  if (!manifest.ok()) return 0;
  for (const auto& file : manifest->files) REGROUP_REQUIRE(file.name.find('/') == std::string::npos);
  const auto again = regroup::ParseCheckpointManifest(regroup::FormatCheckpointManifest(*manifest));
  REGROUP_REQUIRE(again.ok() && *again == *manifest);
  return 0;
}
