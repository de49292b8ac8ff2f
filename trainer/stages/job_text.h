// Windows of a data file that the job names, with errors that name the job file's key as well as the file.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trainer/data/token_windows.h"
#include "trainer/stages/source_model.h"

namespace regroup {

/// "key: message", the same code; OK stays OK.
absl::Status AtKey(std::string_view key, const absl::Status& status);

/// TokenWindows::Build with the source's own tokenizer. `key` is the data's key in the job file, "calibration.data".
absl::StatusOr<TokenWindows> BuildWindows(std::string_view key, const std::string& data, const SourceModel& source,
                                          const TokenWindowsOptions& options);

}  // namespace regroup
