#include "trainer/report/page.h"

#include <fmt/format.h>

#include "trainer/report/html.h"
#include "trainer/report/sections.h"

namespace regroup {

std::string RenderReport(const nlohmann::ordered_json& report) {
  const std::string name = Escape(report["name"].get<std::string>());
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\n"
      "<title>Regroup: {0}</title><style>{1}</style></head>\n<body><main>\n<h1>{0}</h1>\n",
      name, kReportStyle);
  page += SummarySection(report) + QualitySection(report) + AnswersSection(report) + SweepSection(report) +
          DecodeSection(report) + ServingSection(report) + TrainingSection(report) + LayersSection(report) +
          ProvenanceSection(report);
  return page + "</main></body></html>\n";
}

}  // namespace regroup
