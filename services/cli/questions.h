// Asks the user on a terminal; a default answers every question. Not thread-safe.
#pragma once

#include <functional>
#include <string>

namespace regroup {

/// Returns true if both standard input and standard output are terminals, so that somebody can answer.
bool CanAsk();

/// Prints "question [default]: " and reads a line. Returns the default for an empty line and at the end of the input.
/// `problem` returns why an answer is refused, or an empty text; a refused answer is asked for again, at most three
/// times, after which the default counts.
std::string Ask(const std::string& question, const std::string& default_answer,
                const std::function<std::string(const std::string&)>& problem);

}  // namespace regroup
