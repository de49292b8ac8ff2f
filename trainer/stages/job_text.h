// Windows of a data file that the job names, with errors that name the job file's key as well as the file.
//
// A file is tokenised once: its tokens go into <work>/tokens, addressed by the content of the file and the tokenizer,
// where all ranks, later tasks and attempts, the arms of a sweep and other jobs map them.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trainer/data/token_windows.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// "key: message", the same code; OK stays OK.
absl::Status AtKey(std::string_view key, const absl::Status& status);

/// Windows of `data` by the source's own tokenizer. `key` is the data's key in the job file, "calibration.data". All
/// ranks call together: the first tokenises, with progress, where the tokens are missing or damaged; the others wait.
absl::StatusOr<TokenWindows> ReadWindows(StageContext& context, std::string_view key, const std::string& data,
                                         const SourceModel& source, TokenWindowsOptions options);

}  // namespace regroup
