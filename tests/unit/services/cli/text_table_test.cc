#include "services/cli/text_table.h"

#include <gtest/gtest.h>

namespace regroup {
namespace {

TEST(TextTable, LinesUpColumnsAndEndsLinesWithoutSpaces) {
  TextTable table({"NAME", "SIZE", "NOTE"});
  table.AlignRight(1);
  table.Add({"a", "1000", ""});
  table.Add({"longer", "5", "x"});
  EXPECT_EQ(table.Render("> "), "> NAME    SIZE  NOTE\n> a       1000\n> longer     5  x\n");
}

TEST(TextTable, CountsCharactersAndNotBytes) {
  EXPECT_EQ(DisplayWidth("█░✓"), 3U);
  EXPECT_EQ(PadRight("é", 3), "é  ");
  EXPECT_EQ(PadLeft("é", 3), "  é");
}

}  // namespace
}  // namespace regroup
