// Capabilities of the output: colours, redrawing, characters beyond ASCII.
#pragma once

#include <string>
#include <string_view>

namespace regroup {

enum class Colour { kNone, kGreen, kRed, kYellow, kCyan, kDim, kBold };

/// Properties of an output, determined once at the start.
struct Terminal {
  /// True if the output is a terminal whose lines can be redrawn.
  bool live = false;
  bool colours = false;
  bool unicode = false;
  int columns = 80;
  int rows = 24;

  /// Returns `text` in a colour, or unchanged if the output has none.
  std::string Paint(Colour colour, std::string_view text) const;
};

/// Returns the properties of standard output. Honours NO_COLOR, TERM=dumb and the locale's character set.
Terminal StandardOutput();

}  // namespace regroup
