#include "services/common/programs/ask_trainer.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"
#include "services/common/programs/child_process.h"

namespace regroup {
namespace {

/// Exit status of a program that a signal ended, less the signal's number.
constexpr int kSignalled = 128;

/// Extracts the reason from the trainer's standard error: its last log message, or else its first line.
std::string ReasonIn(const std::string& standard_error) {
  std::istringstream lines(standard_error);
  std::string first;
  std::string message;
  for (std::string line; std::getline(lines, line);) {
    if (first.empty()) first = line;
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    const bool is_log = entry.is_object() && entry.contains("message") && entry["message"].is_string();
    if (is_log) message = entry["message"].get<std::string>();
  }
  return message.empty() ? first : message;
}

/// Returns true if the kernel killed the program, or if it ended where an error cannot be passed on.
bool WasForWantOfMemory(const Output& output) {
  const bool is_aborted = output.exit_status == kSignalled + SIGABRT;
  return output.exit_status == kSignalled + SIGKILL ||
         (is_aborted && output.standard_error.find("bad_alloc") != std::string::npos);
}

/// A temporary file for the trainer, readable by its owner only and removed on destruction.
class QuestionFile {
 public:
  static absl::StatusOr<QuestionFile> Write(std::string_view content) {
    QuestionFile file;
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    if (error) return absl::FailedPreconditionError("there is no folder for temporary files; set TMPDIR");
    file.path_ = (folder / "regroup-plan-XXXXXX").string();
    const int descriptor = mkstemp(file.path_.data());
    if (descriptor < 0) return ErrnoStatus(errno, "make", std::exchange(file.path_, ""));
    close(descriptor);
    REGROUP_RETURN_IF_ERROR(WritePrivateFile(file.path_, std::string(content)));
    return file;
  }
  QuestionFile(QuestionFile&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  QuestionFile& operator=(QuestionFile&&) = delete;
  ~QuestionFile() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  QuestionFile() = default;
  std::string path_;
};

/// Returns what the trainer beside this program printed; INVALID_ARGUMENT with the trainer's message if it rejects the
/// request.
absl::StatusOr<std::string> RunTrainer(const std::vector<std::string>& arguments, const RunLimits& limits = {}) {
  REGROUP_ASSIGN_OR_RETURN(const auto trainer, SiblingProgram("regroup-trainer"));
  REGROUP_ASSIGN_OR_RETURN(Output output, RunToEnd(trainer, arguments, limits));
  if (output.exit_status != 0) {
    if (WasForWantOfMemory(output)) {
      return absl::ResourceExhaustedError(fmt::format(
          "regroup-trainer ran out of memory{}; config.json, the tokenizer or the data of this job is very large",
          limits.memory > 0 ? fmt::format(", of which it may use {} MiB", limits.memory >> 20) : ""));
    }
    const std::string message = ReasonIn(output.standard_error);
    return absl::InvalidArgumentError(
        message.empty() ? fmt::format("regroup-trainer ended with exit status {}", output.exit_status) : message);
  }
  return std::move(output.standard_output);
}

}  // namespace

absl::StatusOr<v1::JobPlan> AskForPlan(const v1::JobSpec& resolved, const PlannedHardware& hardware,
                                       const std::vector<std::filesystem::path>& data_roots, const RunLimits& limits) {
  std::string question;
  const auto written = google::protobuf::util::MessageToJsonString(resolved, &question);
  if (!written.ok()) return absl::InternalError("the job cannot be written as JSON");
  REGROUP_ASSIGN_OR_RETURN(const QuestionFile file, QuestionFile::Write(question));
  std::vector<std::string> arguments = {"--plan",
                                        file.path(),
                                        "--flops-per-second",
                                        fmt::format("{:g}", hardware.flops_per_second),
                                        "--gpu-memory-gib",
                                        fmt::format("{:g}", hardware.gpu_memory_gib)};
  if (hardware.is_elsewhere) arguments.emplace_back("--for-other-machines");
  for (const std::filesystem::path& root : data_roots) {
    arguments.insert(arguments.end(), {"--data-root", Absolute(root).string()});
  }
  REGROUP_ASSIGN_OR_RETURN(const std::string answer, RunTrainer(arguments, limits));
  v1::JobPlan plan;
  const auto read = google::protobuf::util::JsonStringToMessage(answer, &plan);
  if (!read.ok()) return absl::InternalError("regroup-trainer wrote something that is not a plan: " + read.ToString());
  return plan;
}

absl::StatusOr<nlohmann::json> AskTrainer(const std::vector<std::string>& arguments) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, RunTrainer(arguments));
  nlohmann::json answer = nlohmann::json::parse(text, nullptr, false);
  if (answer.is_discarded()) return absl::InternalError("regroup-trainer wrote something that is not JSON");
  return answer;
}

}  // namespace regroup
