// A part of a text on its way through the steps of a tokenizer. A plain value.
#pragma once

#include <string>

namespace regroup {

struct TextPiece {
  std::string text;
  /// The first byte of the piece comes from the first byte of the text: a normalizer removed nothing before it.
  bool starts_text = false;
};

}  // namespace regroup
