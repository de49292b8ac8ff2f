#include "coordinator/job/kept_outcome.h"

#include <algorithm>
#include <string>

namespace regroup {
namespace {

/// 256 arms have some dozens each.
constexpr size_t kMostFigures = 10'000;
constexpr size_t kMostWarningBytes = size_t{16} << 10;

using Figures = google::protobuf::Map<std::string, double>;
using Warnings = google::protobuf::RepeatedPtrField<std::string>;

void AddFigures(const Figures& reported, Figures* figures) {
  for (const auto& [name, value] : reported) {
    if (figures->size() < kMostFigures || figures->contains(name)) (*figures)[name] = value;
  }
}

void AddWarnings(const Warnings& reported, Warnings* warnings) {
  size_t bytes = 0;
  for (const std::string& warning : *warnings) bytes += warning.size();
  for (const std::string& warning : reported) {
    const bool is_new = std::find(warnings->begin(), warnings->end(), warning) == warnings->end();
    if (!is_new || warning.empty() || bytes + warning.size() > kMostWarningBytes) continue;
    bytes += warning.size();
    warnings->Add(std::string(warning));
  }
}

}  // namespace

void KeepOutcome(const v1::TaskOutcome& outcome, v1::Job* job) {
  AddFigures(outcome.figures(), job->mutable_figures());
  AddWarnings(outcome.warnings(), job->mutable_warnings());
}

}  // namespace regroup
