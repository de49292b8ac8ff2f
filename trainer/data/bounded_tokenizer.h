// A tokenizer whose ids all have a row in the model's embedding. Immutable; any thread may call.
//
// Tokens are often added to a tokenizer without resizing the model. As long as no text contains one, nothing is wrong;
// in a text, Transformers would fail, and a model must not be trained on another token instead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"

namespace regroup {

/// Returns a tokenizer that encodes as `tokenizer` does, but fails with DATA_LOSS at an id of `vocabulary` or more, and
/// names the token. INVALID_ARGUMENT if the end token, or a token that is added to every text, has such an id.
/// Conversations are rendered by `chat`, whose error counts only then.
absl::StatusOr<std::shared_ptr<const Tokenizer>> BoundTokenizer(
    std::shared_ptr<const Tokenizer> tokenizer, int64_t vocabulary,
    absl::StatusOr<ChatTemplate> chat = absl::NotFoundError("there is no chat template"));

/// Loads a folder's tokenizer and its chat template, and bounds the tokenizer. Returns the errors of LoadTokenizer and
/// BoundTokenizer.
absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadBoundedTokenizer(const std::filesystem::path& folder,
                                                                      int64_t vocabulary,
                                                                      const std::filesystem::path& original = {});

/// Returns a sentence about the tokens that the embedding has no row for; empty if there are none.
std::string NoteOnTokensBeyond(const Tokenizer& tokenizer, int64_t vocabulary);

}  // namespace regroup
