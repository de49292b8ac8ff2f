#include "services/cli/report_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "services/cli/text_table.h"

namespace regroup {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json FullReport() {
  return json::parse(R"({
    "version": 1,
    "summary": {
      "sentence": "llama keeps 2 of 8 KV heads: its KV cache is 4.0 times smaller, it decodes 2.25 times as fast, and its perplexity is 11.50 where the source's is 10.00 (+15.0 %).",
      "figures": [{"label": "KV cache", "value": "4.0 times smaller", "detail": "1.0 KiB per token; source 4.0 KiB"}]},
    "source": {"kv_heads": 8, "kv_bytes_per_token": 4096, "perplexity": 10.0,
               "multiple_choice": [{"name": "arc_e", "accuracy": 0.5}]},
    "result": {"kv_heads": 2, "kv_bytes_per_token": 1024, "perplexity": 11.5, "perplexity_ratio": {"ratio": 1.15},
               "multiple_choice": [{"name": "arc_e", "accuracy": 0.48,
                                    "paired": {"difference": -0.02, "standard_error": 0.013, "p_value": 0.25}}],
               "latency": {"grid": [{"batch": 8, "context": 2048, "speed_up": 2.25, "speed_up_bound": 2.5,
                                     "source": {"milliseconds_per_token": 90.0},
                                     "result": {"milliseconds_per_token": 40.0, "fraction_of_bound": 0.755}}]}},
    "stages": [{"name": "align", "seconds": 75.0}]})");
}

TEST(ReportTextTest, ShowsEveryPart) {
  const std::string text = ReportText(FullReport(), Terminal());
  for (const char* shown : {"4.0 times smaller", "11.50", "1.150", "arc_e", "-2.0 +- 1.3", "0.250", "8 x 2,048", "2.25",
                            "75.5 %", "1:15"}) {
    EXPECT_THAT(text, HasSubstr(shown));
  }
}

TEST(ReportTextTest, FitsEightyColumnsWithoutColours) {
  const std::string text = ReportText(FullReport(), Terminal());
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 80u) << line;
}

TEST(ReportTextTest, ShowsLayerwiseDistillationBetweenAlignedAndResult) {
  json report = FullReport();
  report["aligned"] = {{"kv_heads", 2}, {"perplexity", 30.5}};
  report["layerwise"] = {{"kv_heads", 2}, {"perplexity", 20.5}};
  const std::string text = ReportText(report, Terminal());
  EXPECT_LT(text.find("aligned and merged"), text.find("aligned + layerwise"));
  EXPECT_LT(text.find("aligned + layerwise"), text.find("\n  result"));
  EXPECT_THAT(text, HasSubstr("20.50"));
}

TEST(ReportTextTest, NamesTheArmsOfASweepWithLayerwiseDistillationInEightyColumns) {
  json report = FullReport();
  report.erase("result");
  const json subject = {{"kv_heads", 2},
                        {"kv_bytes_per_token", 524288},
                        {"perplexity", 10321.5},
                        {"perplexity_ratio", {{"ratio", 1032.15}}}};
  report["rows"] = {
      {{"alignment", "procrustes"}, {"layerwise", "none"}, {"finetune", "none"}, {"result", subject}},
      {{"alignment", "procrustes"}, {"layerwise", "distill"}, {"finetune", "direct"}, {"result", subject}}};
  const std::string text = ReportText(report, Terminal());
  EXPECT_THAT(text, HasSubstr("\n  procrustes  "));
  EXPECT_THAT(text, HasSubstr("\n  procrustes + layerwise + direct  "));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 80u) << line;
}

TEST(ReportTextTest, LeavesOutWhatTheReportLacksOrHasInAnotherShape) {
  const std::string text = ReportText(json::parse(R"({"source": {"kv_heads": 8}, "result": 5, "stages": {}})"), {});
  EXPECT_THAT(text, HasSubstr("source"));
  for (const char* missing : {"result", "multiple choice", "decoding", "stage"}) {
    EXPECT_THAT(text, Not(HasSubstr(missing)));
  }
}

TEST(WrapTextTest, BreaksAtSpacesAndLetsLongWordsStand) {
  EXPECT_EQ(WrapText("one two three", 9, "  "), "  one two\n  three\n");
  EXPECT_EQ(WrapText("a extraordinarily b", 8, ""), "a\nextraordinarily\nb\n");
  EXPECT_EQ(WrapText("", 8, "  "), "");
}

}  // namespace
}  // namespace regroup
