#include "trainer/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trainer/report/summary.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

/// Returns a minimal report without any evaluation.
Json BareReport() {
  Json report = {{"version", 1},
                 {"job", "job-1"},
                 {"name", "<b>name"},
                 {"source", {{"kv_heads", 8}, {"kv_bytes_per_token", 4096}}},
                 {"result", {{"kv_heads", 2}, {"kv_bytes_per_token", 1024}}},
                 {"layers", Json::array()},
                 {"stages", {{{"name", "align"}, {"seconds", 75.0}}}},
                 {"provenance",
                  {{"source", "/models/<x>"},
                   {"source_digest", "abc"},
                   {"data_digests", Json::object()},
                   {"versions", {{"regroup", "1"}}}}}};
  report["summary"] = SummariseReport(report);
  return report;
}

TEST(ReportPageTest, StandsAloneAndHasNoMarkupOfAUser) {
  const std::string page = RenderReport(BareReport());
  EXPECT_THAT(page, HasSubstr("1:15"));
  EXPECT_THAT(page, Not(HasSubstr("<b>name")));
  EXPECT_THAT(page, Not(HasSubstr("<x>")));
  for (const char* external : {"http://", "https://", "src=\"/", "<script", "@import", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(external)));
  }
}

TEST(ReportPageTest, LeavesOutTheSectionsThatHaveNothingToShow) {
  const std::string page = RenderReport(BareReport());
  for (const char* heading : {"<h2>Decoding", "<h2>Training", "<h2>Degradation", "<h3>Multiple choice"}) {
    EXPECT_THAT(page, Not(HasSubstr(heading)));
  }
}

TEST(ReportPageTest, ShowsTheQualityOfEveryModel) {
  Json report = BareReport();
  report["source"]["perplexity"] = 10.5;
  report["averaged"] = {{"kv_heads", 2}, {"kv_bytes_per_token", 1024}, {"perplexity", nullptr}};
  report["result"]["perplexity"] = 12.25;
  report["result"]["perplexity_ratio"] = {{"ratio", 1.1667}, {"low", 1.1}, {"high", 1.25}};
  report["result"]["agreement"] = {{"positions", 5000}, {"mean_kl", 0.125}, {"same_top_token", 0.815}};
  report["summary"] = SummariseReport(report);
  const std::string page = RenderReport(report);
  for (const char* shown : {"10.50", "12.25", "1.167 (1.100 – 1.250)", "plain averaging", "81.5 %", "0.125"}) {
    EXPECT_THAT(page, HasSubstr(shown));
  }
}

Json Layer(int index, double residual_key, double similarity_after) {
  return {{"index", index},
          {"residual_key", residual_key},
          {"residual_value", 0.25},
          {"groups", {{0, 1}}},
          {"similarity_before", 0.125},
          {"similarity_after", similarity_after},
          {"key_similarity_before", nullptr},
          {"key_similarity_after", nullptr},
          {"value_similarity_before", nullptr},
          {"value_similarity_after", nullptr},
          {"overall_similarity_before", 0.0625},
          {"overall_similarity_after", nullptr}};
}

TEST(ReportPageTest, ASweepShowsDegradationAgainstRatioForEachTraining) {
  Json report = BareReport();
  report.erase("result");
  report.erase("layers");
  report["source"]["perplexity"] = 10.0;
  for (const int heads : {4, 2}) {
    for (const char* finetune : {"none", "l0"}) {
      report["rows"].push_back({{"kv_heads", heads},
                                {"alignment", "principal"},
                                {"refine", true},
                                {"finetune", finetune},
                                {"layers", {Layer(0, 0.1, 0.5), Layer(1, 0.3, 0.75)}},
                                {"seconds", {{"align", 2.5}, {"finetune", 60.0}}},
                                {"result",
                                 {{"kv_heads", heads},
                                  {"kv_bytes_per_token", 512 * heads},
                                  {"perplexity", 20.0 / heads + 10},
                                  {"perplexity_ratio", {{"ratio", 2.0 / heads + 1}, {"low", 1.0}, {"high", 4.0}}}}}});
    }
  }
  report["summary"] = SummariseReport(report);
  const std::string page = RenderReport(report);
  EXPECT_THAT(page, HasSubstr("Without training"));
  EXPECT_THAT(page, HasSubstr("After l0 training"));
  EXPECT_THAT(page, HasSubstr("2 heads, principal + refine + l0"));
  // Cells are means over the layers; a value that the method does not have is shown as missing.
  for (const char* cell : {"0.200", "0.250", "0.125&nbsp;→ 0.625", "0.062&nbsp;→ –", "1:03"}) {
    EXPECT_THAT(page, HasSubstr("<td>" + std::string(cell) + "</td>"));
  }
  // The residuals of each layer appear once per merge, for all kinds of training.
  EXPECT_THAT(page,
              HasSubstr("<th scope=\"col\">4 heads, principal</th><th scope=\"col\">2 heads, principal</th></tr>"));
  EXPECT_THAT(page,
              HasSubstr("<th scope=\"row\">layer 1</th><td>30.0&nbsp;/&nbsp;25.0</td><td>30.0&nbsp;/&nbsp;25.0</td>"));
}

}  // namespace
}  // namespace regroup
