#include "services/cli/command.h"

#include <fmt/format.h>

#include <cstdio>

#include <nlohmann/json.hpp>

#include "services/common/base/error.h"

namespace regroup {
namespace {

std::string ErrorJson(const absl::Status& status) {
  nlohmann::json error = {{"code", absl::StatusCodeToString(status.code())},
                          {"message", std::string(status.message())}};
  if (ReasonOf(status) != v1::ERROR_REASON_UNSPECIFIED) error["reason"] = v1::ErrorReason_Name(ReasonOf(status));
  for (const FieldViolation& violation : ViolationsOf(status)) {
    error["field_violations"].push_back({{"field", violation.field()}, {"description", violation.description()}});
  }
  const auto replace = nlohmann::json::error_handler_t::replace;
  return nlohmann::json{{"error", error}}.dump(2, ' ', false, replace) + "\n";
}

}  // namespace

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

ExitCode PrintError(const absl::Status& status, bool json) {
  if (json) {
    Print(ErrorJson(status));
  } else {
    fmt::print(stderr, "regroup: {}\n", std::string(status.message()));
  }
  return ExitCodeOf(status);
}

}  // namespace regroup
