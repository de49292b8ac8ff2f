// Reads the file of quotas, which an administrator writes in YAML: for each owner the limits, "*" for all others.
//
//   alice: {slots: 8, jobs: 50}
//   "*": {slots: 4, jobs: 20}
//
// A limit that is left out does not exist; the limits of an owner that is named are not completed by those of "*".
#pragma once

#include <filesystem>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/schedule/quotas.h"

namespace regroup {

/// INVALID_ARGUMENT names file, line and column of what is wrong.
absl::StatusOr<Quotas> ParseQuotas(std::string_view text, std::string_view file_name);

/// NOT_FOUND if there is no file; otherwise like ParseQuotas.
absl::StatusOr<Quotas> ReadQuotas(const std::filesystem::path& file);

}  // namespace regroup
