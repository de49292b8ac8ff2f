// Reads windows of a data file that the job names, with errors that name the job file's key as well as the file.
//
// A file is tokenised once: its tokens are stored in <work>/tokens, named after the content of the file and the
// tokenizer, where all ranks, later tasks and attempts, the arms of a sweep and other jobs map them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/token_windows.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Returns the status with its message changed to "key: message"; OK stays OK.
absl::Status AtKey(std::string_view key, const absl::Status& status);

/// Returns windows of `data` by the source's own tokenizer. `key` is the data's key in the job file,
/// "calibration.data". All ranks must call it together: if the tokens are missing or corrupt, rank 0 tokenises, with
/// progress, while the others wait.
absl::StatusOr<TokenWindows> ReadWindows(StageContext& context, std::string_view key, const std::string& data,
                                         const SourceModel& source, TokenWindowsOptions options);

/// Returns a rank's share of the windows: every `ranks`-th one, starting with the rank's.
std::vector<int64_t> WindowsOfRank(int64_t windows, int64_t rank, int64_t ranks);

}  // namespace regroup
