// What the program may write on its output: colours, redrawing, characters beyond ASCII.
#pragma once

#include <string>
#include <string_view>

namespace regroup {

enum class Colour { kNone, kGreen, kRed, kYellow, kCyan, kDim, kBold };

/// Properties of an output, found once at the start.
struct Terminal {
  /// A person watches and lines can be drawn again.
  bool live = false;
  bool colours = false;
  bool unicode = false;
  int columns = 80;
  int rows = 24;

  /// `text` in a colour, or as it is.
  std::string Paint(Colour colour, std::string_view text) const;
};

/// Standard output as it is now. Honours NO_COLOR, TERM=dumb and the locale's character set.
Terminal StandardOutput();

}  // namespace regroup
