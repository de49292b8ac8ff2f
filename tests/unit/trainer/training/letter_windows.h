// Windows of tokens over a text file, with a tokenizer whose tokens are letters.
#pragma once

#include <filesystem>

#include "trainer/data/token_windows.h"

namespace regroup {

/// Writes `texts` lines of seeded random letters to `file` and cuts them into windows. Ids are 0 to 22; 22 ends a text.
TokenWindows LetterWindows(const std::filesystem::path& file, int texts, int64_t sequence_length);

/// The same with prompts of 12 letters and answers of 1 to 8.
TokenWindows LetterInstructions(const std::filesystem::path& file, int texts, int64_t sequence_length);

}  // namespace regroup
