// Reads windows of the text that a section of the job names, with errors that name the job file's key as well as the
// file.
//
// A text is tokenised once: its tokens are stored in <work>/tokens, named after the content of its files and the
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

/// The text of a section of the job.
struct JobText {
  /// "calibration.data"
  std::string key;
  /// Files, folders and patterns.
  std::vector<std::string> names;
  /// See TokeniseOptions.
  DataKind kind = DataKind::kTexts;
  std::string field;
  /// For transcripts, without the number of their tokens.
  TranscriptShape transcript = {};
};

JobText TextOf(const v1::Calibration& calibration);
JobText TextOf(const v1::Layerwise& layerwise);
JobText TextOf(const v1::Finetune& finetune);
JobText TextOf(const v1::Evaluation::Perplexity& perplexity);

/// Returns the text as the model reads it: with audio if its encoder does.
JobText ForModel(JobText text, const ModelConfig& config);

/// Returns TokeniseOptions of the text for windows of `sequence_length` entries.
TokeniseOptions TokeniseOptionsOf(const JobText& text, int64_t sequence_length);

/// Returns the status with its message changed to "key: message"; OK stays OK.
absl::Status AtKey(std::string_view key, const absl::Status& status);

/// Returns windows of the text by the source's own tokenizer; `options` need neither kind nor field. All ranks must
/// call it together: if the tokens are missing or corrupt, rank 0 tokenises, with progress, while the others wait.
absl::StatusOr<TokenWindows> ReadWindows(StageContext& context, const JobText& text, const SourceModel& source,
                                         TokenWindowsOptions options);

/// Returns the windows of evaluation.perplexity.
absl::StatusOr<TokenWindows> ReadEvaluationWindows(StageContext& context, const SourceModel& source);

/// Returns a sentence for the user if the text has fewer windows than `key`, "calibration.sequences", asks for; empty
/// if it has as many.
std::string NoteOnFewer(const JobText& text, std::string_view key, const TokenWindows& windows, int64_t asked);

/// Logs a sentence on the leading rank, and adds it to the warnings of the job; does nothing with an empty one.
void Warn(const StageContext& context, const std::string& warning, v1::TaskOutcome& outcome);

/// Returns a rank's share of the windows: every `ranks`-th one, starting with the rank's.
std::vector<int64_t> WindowsOfRank(int64_t windows, int64_t rank, int64_t ranks);

}  // namespace regroup
