// Input: a line that a trainer wrote. The entry can always be sent: its text is valid UTF-8 and not long.
#include <google/protobuf/stubs/common.h>

#include <string_view>

#include "services/worker/logs/rank_logs.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const regroup::v1::LogEntry entry = regroup::ParseLogLine(line, regroup::LogStream::kStderr, 0);
  REGROUP_REQUIRE(entry.message().size() <= 17 * 1024);
  regroup::v1::LogEntry read;
  REGROUP_REQUIRE(read.ParseFromString(entry.SerializeAsString()));
  return 0;
}
