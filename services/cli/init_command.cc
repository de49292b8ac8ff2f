#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <memory>

#include "services/cli/commands.h"
#include "services/cli/data_choice.h"
#include "services/cli/first_job.h"
#include "services/cli/json_text.h"
#include "services/cli/local_slots.h"
#include "services/cli/questions.h"
#include "services/common/base/file_descriptor.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/validate_job_spec.h"
#include "services/common/programs/ask_trainer.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

struct InitOptions {
  std::string checkpoint;
  std::string data;
  std::string output;
  std::string file = "job.yaml";
  /// 0: chosen from the model.
  int kv_heads = 0;
  /// 0: the default of FirstJobChoices.
  int steps = 0;
  bool asks_nothing = false;
};

/// Returns the path from the root without a slash at its end, so that its last part is a name.
fs::path FolderPath(const std::string& path) {
  fs::path absolute = Absolute(path).lexically_normal();
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

std::string ListOf(const std::vector<int>& numbers) {
  std::string text;
  for (const int number : numbers) text += (text.empty() ? "" : ", ") + std::to_string(number);
  return text;
}

/// Returns the number, or nothing for any other text.
std::optional<int> NumberIn(const std::string& text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? std::make_optional(number) : std::nullopt;
}

std::string ProblemOfKvHeads(const InspectedModel& model, std::optional<int> heads) {
  const std::vector<int>& possible = model.possible_kv_heads;
  if (heads && std::find(possible.begin(), possible.end(), *heads) != possible.end()) return "";
  return fmt::format("the model can be converted to {} KV heads", ListOf(possible));
}

std::string ProblemOfSteps(std::optional<int> steps) {
  return steps && *steps >= 1 && *steps <= 100'000'000 ? "" : "write a number from 1 to 100,000,000";
}

/// Asks for what the command line left out.
void AskUser(const InspectedModel& model, InitOptions& options) {
  if (options.kv_heads == 0) {
    const std::string answer =
        Ask(fmt::format("KV heads of the result, of {} ({})", model.kv_heads, ListOf(model.possible_kv_heads)),
            std::to_string(SuggestedKvHeads(model)),
            [&](const std::string& text) { return ProblemOfKvHeads(model, NumberIn(text)); });
    options.kv_heads = NumberIn(answer).value_or(0);
  }
  if (options.steps == 0) {
    const std::string answer = Ask("Steps of training the whole model", std::to_string(FirstJobChoices{}.steps),
                                   [](const std::string& text) { return ProblemOfSteps(NumberIn(text)); });
    options.steps = NumberIn(answer).value_or(0);
  }
  if (!options.output.empty()) return;
  const std::string beside_the_file = FirstJobName(FolderPath(options.checkpoint), options.kv_heads);
  const std::string answer = Ask("Folder of the result", beside_the_file, [](const std::string&) { return ""; });
  if (answer != beside_the_file) options.output = answer;
}

absl::StatusOr<FirstJobChoices> ChoicesOf(const InspectedModel& model, const InitOptions& options,
                                          const fs::path& folder) {
  FirstJobChoices choices;
  choices.checkpoint = FolderPath(options.checkpoint);
  choices.kv_heads = options.kv_heads == 0 ? SuggestedKvHeads(model) : options.kv_heads;
  if (const std::string problem = ProblemOfKvHeads(model, choices.kv_heads); !problem.empty()) {
    return absl::InvalidArgumentError("--kv-heads: " + problem);
  }
  if (options.steps != 0) choices.steps = options.steps;
  choices.gpus = ThisHardware().gpus;
  choices.output =
      options.output.empty() ? folder / FirstJobName(choices.checkpoint, choices.kv_heads) : FolderPath(options.output);
  return choices;
}

/// Writes a file that must not exist. ALREADY_EXISTS if it does; what is there stays as it is.
absl::Status WriteNewFile(const fs::path& path, const std::string& text) {
  const FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!file.valid()) return ErrnoStatus(errno, "make", path);
  for (size_t written = 0; written < text.size();) {
    const ssize_t count = write(file.get(), text.data() + written, text.size() - written);
    if (count < 0 && errno != EINTR) {
      const absl::Status status = ErrnoStatus(errno, "write", path);
      unlink(path.c_str());
      return status;
    }
    written += static_cast<size_t>(std::max<ssize_t>(count, 0));
  }
  return absl::OkStatus();
}

absl::Status CheckNotTaken(const fs::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const bool is_taken, IsTaken(file));
  if (!is_taken) return absl::OkStatus();
  return absl::AlreadyExistsError(
      fmt::format("{} already exists and is not overwritten; name another with -o", file.string()));
}

absl::Status CheckIsHere(const std::string& checkpoint) {
  if (checkpoint.find("://") == std::string::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: init reads a checkpoint on this machine; download it and name its folder", checkpoint));
}

/// Reads the text as `regroup run` will. INVALID_ARGUMENT names a wrong key, for example a path with a control
/// character.
absl::Status CheckJobFile(const std::string& text, const fs::path& file) {
  REGROUP_ASSIGN_OR_RETURN(const JobFile job, ParseJobFileWithPositions(text, file.string()));
  const std::vector<FieldViolation> violations = ValidateJobSpec(job.spec);
  if (violations.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {}", violations.front().field(), violations.front().description()));
}

struct WrittenJob {
  v1::JobSpec spec;
  nlohmann::json answer;
};

absl::StatusOr<WrittenJob> WriteFirstJob(InitOptions options, const CommandLine& line) {
  const fs::path file = Absolute(options.file).lexically_normal();
  REGROUP_RETURN_IF_ERROR(CheckNotTaken(file));
  REGROUP_RETURN_IF_ERROR(CheckIsHere(options.checkpoint));
  REGROUP_ASSIGN_OR_RETURN(const DataChoice data, ChooseData(FolderPath(options.data)));
  WrittenJob written;
  REGROUP_ASSIGN_OR_RETURN(written.answer, AskTrainer({"--inspect", FolderPath(options.checkpoint).string()}));
  REGROUP_ASSIGN_OR_RETURN(const InspectedModel model, InspectedModelOf(written.answer));
  if (!options.asks_nothing && !line.json && CanAsk()) AskUser(model, options);
  REGROUP_ASSIGN_OR_RETURN(const FirstJobChoices choices, ChoicesOf(model, options, file.parent_path()));
  written.spec = FirstJob(model, data, choices, file.parent_path());
  const std::string text = FirstJobText(model, written.spec);
  REGROUP_RETURN_IF_ERROR(CheckJobFile(text, file));
  REGROUP_RETURN_IF_ERROR(WriteNewFile(file, text));
  return written;
}

std::string SummaryText(const WrittenJob& job, const std::string& file) {
  std::string text =
      fmt::format("{} converts a {} from {} to {} KV heads into {}\n", file, job.answer.value("family", ""),
                  job.answer.value("kv_heads", 0), job.spec.target().kv_heads(), job.spec.output().checkpoint());
  if (!job.spec.has_evaluation()) text += "no file for an evaluation was found; the job file shows how to name one\n";
  text += fmt::format("next: regroup plan {0}, then regroup run {0}", file);
  return PrintableText(text, "\n") + "\n";
}

ExitCode Init(const InitOptions& options, const CommandLine& line) {
  const auto job = WriteFirstJob(options, line);
  if (!job.ok()) return PrintError(job.status(), line.json);
  if (line.json) {
    Print(JsonText({{"job_file", options.file}, {"job", nlohmann::json::parse(JsonOf(job->spec))}}));
  } else {
    Print(SummaryText(*job, options.file));
  }
  return kExitDone;
}

}  // namespace

void AddInitCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("init", "Write a first job file for a checkpoint and a folder of text");
  const auto options = std::make_shared<InitOptions>();
  command->add_option("checkpoint", options->checkpoint, "The checkpoint to convert, a Hugging Face folder")
      ->required();
  command
      ->add_option("data", options->data,
                   "A file of text, or a folder; files named valid* or test* are kept for evaluation")
      ->required();
  command->add_option("--output", options->output, "Folder of the result; default: beside the job file");
  command->add_option("-o,--job-file", options->file, "The job file to write, which must not exist")
      ->capture_default_str();
  command
      ->add_option("--kv-heads", options->kv_heads,
                   "KV heads of the result; default: a quarter, or half if the model shares heads")
      ->check(CLI::PositiveNumber);
  command->add_option("--steps", options->steps, "Steps of training the whole model; default: 200")
      ->check(CLI::Range(1, 100'000'000));
  command->add_flag("-y,--yes", options->asks_nothing, "Ask nothing on a terminal and take the defaults");
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return Init(*options, chosen); }; });
}

}  // namespace regroup
