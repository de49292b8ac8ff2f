// A terminal that one table fills: the alternate screen without a cursor, and keys without Enter. The destructor
// restores what was there before. Used from one thread; there is one at a time.
#pragma once

#include <termios.h>

#include <chrono>
#include <string>
#include <vector>

namespace regroup {

class FullScreen {
 public:
  FullScreen();
  ~FullScreen();

  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;

  /// Draws the lines from the first row on and clears the rest; prints only what changed.
  void Draw(const std::vector<std::string>& lines, int columns, int rows);

  /// Waits for a key. Returns 0 if there was none in time or if a signal came first.
  char ReadKey(std::chrono::milliseconds patience);

 private:
  termios before_{};
  bool has_keys_ = false;
  std::vector<std::string> drawn_;
  int columns_ = 0;
  int rows_ = 0;
};

}  // namespace regroup
