// Answers prompts greedily, for people who want to read what a model says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"
#include "trainer/nn/model.h"

namespace regroup {

struct Answer {
  std::string text;
  /// Tokens of the text, without the end token.
  int64_t tokens = 0;
  /// True if the model ended the answer itself.
  bool ended = false;
};

/// Returns the tokens that the model reads: those of the checkpoint's chat template, with the prompt as the user's
/// message, or of the prompt itself if there is no template. Errors: those of Tokenizer::Render and Encode.
absl::StatusOr<std::vector<int32_t>> PromptTokens(const Tokenizer& tokenizer, const std::string& prompt,
                                                  const ModelConfig& config);

/// Takes the most likely token each time, at most `most_tokens` and until the end token. The model must have positions
/// for all. Errors: those of Tokenizer::Decode.
absl::StatusOr<Answer> AnswerPrompt(const Model& model, const Tokenizer& tokenizer, const std::vector<int32_t>& prompt,
                                    int64_t most_tokens);

}  // namespace regroup
