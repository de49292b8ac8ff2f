// Input: a job file. Accepted input can be written and read again; checks and defaults do not crash on it.
#include <google/protobuf/util/message_differencer.h>

#include <string_view>

#include "services/common/job_file/job_file.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "services/common/job_file/validate_job_spec.h"
#include "tests/fuzz/require.h"

using google::protobuf::util::MessageDifferencer;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = regroup::ParseJobFileWithPositions({reinterpret_cast<const char*>(data), size}, "/jobs/job.yaml");
  if (!file.ok()) return 0;
  const auto again = regroup::ParseJobFile(regroup::FormatJobFile(file->spec), "/jobs/job.yaml");
  REGROUP_REQUIRE(again.ok());
  REGROUP_REQUIRE(MessageDifferencer::Equals(*again, file->spec));
  for (const auto& violation : regroup::ValidateJobSpec(file->spec)) regroup::DescribeViolation(*file, violation);
  const regroup::v1::JobSpec resolved = regroup::ResolveJobSpec(file->spec);
  REGROUP_REQUIRE(MessageDifferencer::Equals(regroup::ResolveJobSpec(resolved), resolved));
  return 0;
}
