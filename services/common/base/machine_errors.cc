#include "services/common/base/machine_errors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>
#include <string_view>

namespace regroup {
namespace {

constexpr char kWords[] = "out of memory";
constexpr size_t kLongestText = 2000;

/// Returns what stands between two texts: the end of the first and the next place of the second.
std::optional<std::string> Between(std::string_view text, std::string_view before, std::string_view after) {
  const size_t begin = text.find(before);
  if (begin == std::string_view::npos) return std::nullopt;
  const std::string_view rest = text.substr(begin + before.size());
  const size_t end = rest.find(after);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(rest.substr(0, end));
}

bool SaysOutOfMemory(std::string_view text) {
  for (const std::string_view sign :
       {"can't allocate memory", "out of memory", "Out of Memory", "CUBLAS_STATUS_ALLOC_FAILED"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

/// Errors of CUDA whose reason is the card, the link between cards or the driver. Any other, such as an access to
/// memory that is not there, is taken for a mistake of the program.
constexpr std::array<std::string_view, 13> kOfMachine = {"ECC error",
                                                         "NVLink error",
                                                         "unspecified launch failure",
                                                         "the launch timed out",
                                                         "unknown error",
                                                         "hardware stack error",
                                                         "busy or unavailable",
                                                         "no CUDA-capable device",
                                                         "initialization error",
                                                         "system not yet initialized",
                                                         "driver shutting down",
                                                         "device is lost",
                                                         "CUBLAS_STATUS_NOT_INITIALIZED"};

/// Returns the error of CUDA in the text of an exception, which goes on for many lines; empty if there is none.
std::string_view CudaError(std::string_view text) {
  for (const std::string_view start : {"CUDA error: ", "CUDA driver error: "}) {
    const size_t begin = text.find(start);
    if (begin == std::string_view::npos) continue;
    const std::string_view error = text.substr(begin + start.size());
    return error.substr(0, error.find('\n'));
  }
  return {};
}

std::optional<absl::Status> GpuStatus(std::string_view text) {
  const std::string_view error = CudaError(text);
  const auto is_in_it = [&](std::string_view sign) { return error.find(sign) != std::string_view::npos; };
  if (is_in_it("no kernel image is available")) {
    return absl::FailedPreconditionError(fmt::format(
        "the GPU is too old for this build of libtorch ({}); use a newer one, or resources: {{device: cpu}}", error));
  }
  if (std::none_of(kOfMachine.begin(), kOfMachine.end(), is_in_it)) return std::nullopt;
  return absl::UnavailableError(
      fmt::format("the GPU has failed: {}; the kernel's log (dmesg, lines with Xid) says more", error));
}

}  // namespace

absl::Status OutOfMemory(const std::optional<std::string>& asked_for) {
  return absl::ResourceExhaustedError(asked_for ? fmt::format("{}: {} more were asked for", kWords, *asked_for)
                                                : std::string(kWords));
}

bool IsOutOfMemory(const absl::Status& status) {
  return absl::IsResourceExhausted(status) && status.message().find(kWords) != absl::string_view::npos;
}

absl::Status StatusOfException(const std::exception& error) {
  const std::string_view text = error.what();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return OutOfMemory();
  if (!SaysOutOfMemory(text)) {
    return GpuStatus(text).value_or(absl::InternalError(std::string(text.substr(0, kLongestText))));
  }
  if (const auto bytes = Between(text, "you tried to allocate ", " bytes")) return OutOfMemory(*bytes + " bytes");
  return OutOfMemory(Between(text, "Tried to allocate ", ". "));
}

}  // namespace regroup
