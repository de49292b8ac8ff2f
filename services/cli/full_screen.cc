#include "services/cli/full_screen.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>
#include <thread>

namespace regroup {
namespace {

void Write(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

FullScreen::FullScreen() {
  has_keys_ = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &before_) == 0;
  if (has_keys_) {
    termios keys = before_;
    // Ctrl-C stays a signal; Ctrl-Z does not, because it would leave the shell with this screen.
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  }
  Write("\x1b[?1049h\x1b[?25l");
}

FullScreen::~FullScreen() {
  Write("\x1b[?25h\x1b[?1049l");
  if (has_keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void FullScreen::Draw(const std::vector<std::string>& lines, int columns, int rows) {
  const bool resized = columns != columns_ || rows != rows_;
  if (lines == drawn_ && !resized) return;
  std::string out = resized ? "\x1b[2J" : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!resized && i < drawn_.size() && drawn_[i] == lines[i]) continue;
    out += fmt::format("\x1b[{};1H{}\x1b[K", i + 1, lines[i]);
  }
  if (lines.size() < drawn_.size()) out += fmt::format("\x1b[{};1H\x1b[J", lines.size() + 1);
  Write(out);
  drawn_ = lines;
  columns_ = columns;
  rows_ = rows;
}

char FullScreen::ReadKey(std::chrono::milliseconds patience) {
  if (!has_keys_) {
    std::this_thread::sleep_for(patience);
    return 0;
  }
  pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (poll(&input, 1, static_cast<int>(patience.count())) <= 0) return 0;
  char key = 0;
  // A terminal that was closed is readable and has nothing; its SIGHUP ends the program.
  if (read(STDIN_FILENO, &key, 1) != 1) std::this_thread::sleep_for(patience);
  return key;
}

}  // namespace regroup
