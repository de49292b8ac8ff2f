#include "services/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace regroup {
namespace {

std::string Environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string value = Environment(name);
    if (value.empty()) continue;
    std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::tolower(c); });
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

void TakeSize(Terminal& terminal) {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return;
  terminal.columns = size.ws_col;
  terminal.rows = size.ws_row;
}

int CodeOf(Colour colour) {
  switch (colour) {
    case Colour::kGreen:
      return 32;
    case Colour::kRed:
      return 31;
    case Colour::kYellow:
      return 33;
    case Colour::kCyan:
      return 36;
    case Colour::kDim:
      return 2;
    case Colour::kBold:
      return 1;
    case Colour::kNone:
      break;
  }
  return 0;
}

}  // namespace

std::string Terminal::Paint(Colour colour, std::string_view text) const {
  if (!colours || colour == Colour::kNone || text.empty()) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", CodeOf(colour), text);
}

Terminal StandardOutput() {
  Terminal terminal;
  const std::string kind = Environment("TERM");
  terminal.live = isatty(STDOUT_FILENO) == 1 && kind != "dumb" && !kind.empty();
  terminal.colours = terminal.live && Environment("NO_COLOR").empty();
  terminal.unicode = LocaleIsUtf8();
  if (terminal.live) TakeSize(terminal);
  return terminal;
}

}  // namespace regroup
