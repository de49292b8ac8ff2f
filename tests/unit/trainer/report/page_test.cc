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

TEST(ReportPageTest, ShowsTheWarningsOfTheJob) {
  Json report = BareReport();
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("Warning")));
  report["warnings"] = {"few <sequences>", "another"};
  const std::string page = RenderReport(report);
  EXPECT_THAT(page, HasSubstr("<p><strong>Warning:</strong> few &lt;sequences&gt;</p>"));
  EXPECT_THAT(page, HasSubstr("<p><strong>Warning:</strong> another</p>"));
}

TEST(ReportPageTest, ShowsWhatAServerCanHold) {
  Json report = BareReport();
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("<h2>Serving")));
  const Json source = {{"can_be_split", true}, {"kv_heads_per_gpu", 8}, {"kv_bytes_per_token", 4096},
                       {"tokens", 12345},      {"requests", 12},        {"longest_context", 1000}};
  Json result = source;
  result["kv_bytes_per_token"] = 1024;
  result["requests"] = 48;
  const Json none = {{"can_be_split", false}};
  report["serving"] = {{"context_length", 1000},
                       {"rows",
                        {{{"gpus", 1}, {"source", source}, {"result", result}},
                         {{"gpus", 2}, {"source", source}, {"result", source}},
                         {{"gpus", 4}, {"source", source}, {"result", none}}}}};
  std::string page = RenderReport(report);
  for (const char* shown : {"<h2>Serving", "75.0 %", "nothing", "not possible"}) EXPECT_THAT(page, HasSubstr(shown));
  EXPECT_THAT(page, Not(HasSubstr("Capacity")));
  report["serving"]["gpu_memory_gib"] = 80.0;
  report["serving"]["memory_share"] = 0.9;
  page = RenderReport(report);
  for (const char* shown : {"<h3>Capacity", "12,345", ">48<", "90 %", "requests of 1,000 tokens"}) {
    EXPECT_THAT(page, HasSubstr(shown));
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

TEST(ReportPageTest, ShowsThePerplexityByContext) {
  Json report = BareReport();
  const auto ranges = [](double near, double far) -> Json {
    return {{{"first", 1}, {"last", 64}, {"perplexity", near}}, {{"first", 65}, {"last", 1023}, {"perplexity", far}}};
  };
  report["source"]["by_context"] = ranges(12.5, 10);
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("by context"))) << "there is nothing to compare with";
  report["result"]["by_context"] = ranges(13.75, 12.5);
  const std::string page = RenderReport(report);
  for (const char* shown : {"Perplexity by context", "65 to 1,023", "12.50", "13.75", "1.100", "1.250"}) {
    EXPECT_THAT(page, HasSubstr(shown));
  }
}

TEST(ReportPageTest, ShowsTheAnswersSideBySideWithoutMarkup) {
  Json report = BareReport();
  const auto answer = [](const char* text, bool ended) -> Json {
    return {{"prompt", "What is <b>?"}, {"text", text}, {"tokens", 3}, {"ended", ended}};
  };
  report["source"]["answers"] = {answer("A letter.\n", true), answer("same", true)};
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("<h2>Answers")));
  report["result"]["answers"] = {answer("A <i>tag</i>", false), answer("same", true)};
  const std::string page = RenderReport(report);
  for (const char* shown : {"<h2>Answers", "What is &lt;b&gt;?", "A letter.\n", "A &lt;i&gt;tag&lt;/i&gt; …</span>",
                            "1 of 2 answers are equal"}) {
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

Json TrainedLayer(int index, double before, double after) {
  Json layer = Layer(index, 0.1, 0.5);
  layer.update({{"error_before", before}, {"error_after", after}, {"kept_start", before == after}});
  return layer;
}

TEST(ReportPageTest, ShowsTheErrorsOfLayersOnlyIfTheyWereTrainedAlone) {
  Json report = BareReport();
  report["layers"] = {Layer(0, 0.1, 0.5), Layer(1, 0.3, 0.75)};
  for (const char* absent : {"Layerwise distillation", "Error before", "Error of each layer"}) {
    EXPECT_THAT(RenderReport(report), Not(HasSubstr(absent)));
  }
  report["layers"] = {TrainedLayer(0, 0.12, 0.0404), TrainedLayer(1, 0.3, 0.3)};
  const std::string page = RenderReport(report);
  EXPECT_THAT(page, HasSubstr("<th scope=\"row\">layer 0</th><td>12.00 %</td><td>4.04 %</td>"));
  EXPECT_THAT(page, HasSubstr("<th scope=\"row\">layer 1</th><td>30.00 %</td><td>30.00 % (start kept)</td>"));
  EXPECT_THAT(page, HasSubstr("so that they kept their start"));
  EXPECT_THAT(page, HasSubstr("aria-label=\"Error of each layer\""));
}

TEST(ReportPageTest, ExplainsGroupsOfSplitHeads) {
  Json report = BareReport();
  report["source"]["kv_heads"] = 4;
  Json layer = Layer(0, 0.1, 0.5);
  layer["groups"] = {{0, 1}, {2, 3}};
  report["layers"] = {layer};
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("copies")));
  layer["groups"] = {{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}};
  report["layers"] = {layer};
  EXPECT_THAT(RenderReport(report),
              HasSubstr("does not divide the source's 4, so that each of these was split into 3 "
                        "copies with a part of its query heads. Groups are of copies, and the first 3 are of head 0."));
}

TEST(ReportPageTest, AChartOfErrorsNeedsTwoLayers) {
  Json report = BareReport();
  report["layers"] = {TrainedLayer(0, 0.12, 0.04)};
  const std::string page = RenderReport(report);
  EXPECT_THAT(page, HasSubstr("<td>12.00 %</td><td>4.00 %</td>"));
  EXPECT_THAT(page, Not(HasSubstr("Error of each layer")));
  EXPECT_THAT(page, Not(HasSubstr("kept their start")));
}

TEST(ReportPageTest, ShowsTheModelAfterLayerwiseDistillationBetweenAlignedAndResult) {
  Json report = BareReport();
  report["aligned"] = {{"kv_heads", 2}, {"kv_bytes_per_token", 1024}, {"perplexity", 30.5}};
  report["layerwise"] = {{"kv_heads", 2}, {"kv_bytes_per_token", 1024}, {"perplexity", 20.5}};
  report["result"]["perplexity"] = 12.5;
  const std::string page = RenderReport(report);
  const size_t aligned = page.find("<td>30.50</td>"), layerwise = page.find("<td>20.50</td>");
  const size_t result = page.find("<td>12.50</td>");
  ASSERT_NE(result, std::string::npos);
  EXPECT_LT(aligned, layerwise);
  EXPECT_LT(layerwise, result);
  EXPECT_THAT(page, HasSubstr("<th scope=\"row\">after layerwise distillation</th>"));
}

TEST(ReportPageTest, ASweepComparesArmsWithAndWithoutLayerwiseDistillation) {
  Json report = BareReport();
  report.erase("result");
  report.erase("layers");
  const auto row = [](const char* layerwise, bool refine, const Json& layers, double perplexity) -> Json {
    return {{"kv_heads", 2},
            {"alignment", "principal"},
            {"layerwise", layerwise},
            {"refine", refine},
            {"finetune", "none"},
            {"layers", layers},
            {"result", {{"kv_heads", 2}, {"kv_bytes_per_token", 1024}, {"perplexity", perplexity}}}};
  };
  const Json trained = {TrainedLayer(0, 0.12, 0.04), TrainedLayer(1, 0.3, 0.1)};
  report["rows"] = {row("none", true, {Layer(0, 0.1, 0.5), Layer(1, 0.3, 0.75)}, 14.0),
                    row("distill", false, trained, 12.0), row("distill", true, trained, 13.0)};
  report["summary"] = SummariseReport(report);
  const std::string page = RenderReport(report);
  EXPECT_THAT(page, HasSubstr("2 heads, principal + layerwise has the lowest perplexity"));
  EXPECT_THAT(page, HasSubstr("2 heads, principal + layerwise + refine"));
  EXPECT_THAT(page, HasSubstr("<td>0.210&nbsp;→ 0.070</td>"));
  // The errors appear once for each trained merge, in the arms' table and the best arm's.
  EXPECT_THAT(page,
              HasSubstr("<th scope=\"col\">Layer</th><th scope=\"col\">2 heads, principal + layerwise</th></tr>"));
  EXPECT_THAT(page, HasSubstr("<th scope=\"row\">layer 1</th><td>10.00</td></tr>"));
  EXPECT_THAT(page, HasSubstr("<h2>Layers: 2 heads, principal + layerwise</h2>"));
}

TEST(ReportPageTest, ShowsThePerplexityDuringTrainingAndWhereItEndedEarly) {
  Json report = BareReport();
  report["curves"]["loss"] = {{1, 0.5}, {2, 0.25}};
  report["summary"] = SummariseReport(report);
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("Perplexity during training")));
  report["curves"]["validation_perplexity"] = {{10, 21.5}, {20, 22.0}};
  report["training"] = {{"useful_seconds", 6.0}, {"elapsed_seconds", 12.0}, {"goodput", 0.5}};
  EXPECT_THAT(RenderReport(report), HasSubstr("Perplexity during training"));
  EXPECT_THAT(RenderReport(report), Not(HasSubstr("ended early")));
  report["training"]["ended_early_after_step"] = 20;
  EXPECT_THAT(RenderReport(report), HasSubstr("ended early, after step 20"));
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
  EXPECT_THAT(page, HasSubstr("Without fine-tuning"));
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
