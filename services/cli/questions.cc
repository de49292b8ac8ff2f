#include "services/cli/questions.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "services/common/base/printable_text.h"

namespace regroup {

bool CanAsk() { return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1; }

std::string Ask(const std::string& question, const std::string& default_answer,
                const std::function<std::string(const std::string&)>& problem) {
  constexpr int most_tries = 3;
  for (int i = 0; i < most_tries; ++i) {
    fmt::print("{} [{}]: ", question, PrintableText(default_answer));
    std::fflush(stdout);
    std::string answer;
    if (!std::getline(std::cin, answer) || answer.empty()) return default_answer;
    const std::string reason = problem(answer);
    if (reason.empty()) return answer;
    fmt::print("{}\n", PrintableText(reason));
  }
  return default_answer;
}

}  // namespace regroup
