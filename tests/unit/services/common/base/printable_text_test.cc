#include "services/common/base/printable_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace regroup {
namespace {

TEST(PrintableText, KeepsWhatIsShownAsItself) {
  for (const char* text : {"", "plain text\tand a tab", "\\x1b", "Grüße, 日本語, 🙂", "Ω ≤ 1"}) {
    EXPECT_EQ(PrintableText(text), text);
  }
}

TEST(PrintableText, EscapesWhatSteersATerminal) {
  EXPECT_EQ(PrintableText("\x1b]0;title\x07"), "\\x1b]0;title\\x07");
  EXPECT_EQ(PrintableText("\x7f\r\v\f\b"), "\\x7f\\x0d\\x0b\\x0c\\x08");
  EXPECT_EQ(PrintableText(std::string_view("\0", 1)), "\\x00");
  // C1, as UTF-8 and as the single byte that some terminals also take.
  EXPECT_EQ(PrintableText("\u009b2J"), "\\u{9b}2J");
  EXPECT_EQ(PrintableText("\x9b"
                          "2J"),
            "\\x9b2J");
}

TEST(PrintableText, EscapesWhatReordersOrHides) {
  for (const char* text : {"\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\u2028", "\u2029", "\ufeff", "\u00ad",
                           "\u2060", "\u3164", "\U000e0041", "\U000e0101", "\u180e"}) {
    const std::string shown = PrintableText(text);
    EXPECT_TRUE(shown.starts_with("\\u{")) << shown;
    EXPECT_EQ(shown.find_first_not_of("\\u{}0123456789abcdef"), std::string::npos) << shown;
  }
  EXPECT_EQ(PrintableText("a\u202eb"), "a\\u{202e}b");
}

TEST(PrintableText, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(PrintableText("\xff"), "\\xff");
  EXPECT_EQ(PrintableText("\xe2\x80"), "\\xe2\\x80");
  // Overlong forms of ESC, a surrogate, a value beyond Unicode.
  EXPECT_EQ(PrintableText("\xc0\x9b"), "\\xc0\\x9b");
  EXPECT_EQ(PrintableText("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");
  EXPECT_EQ(PrintableText("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(PrintableText("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(PrintableText, ReplacesLineEndsAsTheCallerWants) {
  EXPECT_EQ(PrintableText("a\nb"), "a\\nb");
  EXPECT_EQ(PrintableText("a\nb", "\n    "), "a\n    b");
}

TEST(PrintableJson, IsTheSameValueWithoutWhatSteersOrHides) {
  const nlohmann::json value = {{"\u009b2J", "\u202e x \x7f \U000e0041 \u2028"}, {"plain", "Grüße\n"}};
  const std::string shown = PrintableJson(value.dump(2));
  EXPECT_EQ(nlohmann::json::parse(shown), value);
  EXPECT_EQ(shown.find("\u202e"), std::string::npos);
  EXPECT_EQ(shown.find('\x7f'), std::string::npos);
  EXPECT_NE(shown.find("\\u009b2J"), std::string::npos);
  EXPECT_NE(shown.find("\\udb40\\udc41"), std::string::npos);
  EXPECT_NE(shown.find("Grüße"), std::string::npos);
}

}  // namespace
}  // namespace regroup
