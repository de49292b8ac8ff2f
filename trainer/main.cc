// regroup-trainer: runs one rank of one attempt, or answers a question about a checkpoint.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include <CLI/CLI.hpp>

#include "google/protobuf/util/json_util.h"
#include "services/common/base/attempt_files.h"
#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/log_context.h"
#include "services/common/base/logging.h"
#include "services/common/base/machine_errors.h"
#include "services/common/base/mapped_files.h"
#include "services/common/base/parent_death.h"
#include "services/common/base/status_macros.h"
#include "services/common/base/trace_parent.h"
#include "services/common/job_file/local_paths.h"
#include "trainer/model_folder/carry_adapter.h"
#include "trainer/parallel/device.h"
#include "trainer/parallel/device_name.h"
#include "trainer/parallel/gang_check.h"
#include "trainer/plan/describe.h"
#include "trainer/plan/plan.h"
#include "trainer/plan/versions.h"
#include "trainer/stages/check_job.h"
#include "trainer/stages/job_text.h"
#include "trainer/stages/outcome.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

constexpr char kOrphan[] = "the parent has ended";

struct Arguments {
  std::string attempt_folder;
  std::string work_folder = ".";
  std::string inspect_folder;
  std::string plan_file;
  AdapterFolders adapter;
  std::vector<std::filesystem::path> data_roots;
  double flops_per_second = 0;
  double gpu_memory_gib = 0;
  bool for_other_machines = false;
  bool families = false;
  bool check = false;
  std::string device = "auto";
};

absl::StatusOr<v1::TaskAssignment> ReadAssignment(const std::filesystem::path& attempt_folder) {
  REGROUP_ASSIGN_OR_RETURN(const std::string json, ReadFile(attempt_folder / attempt_files::kAssignment));
  v1::TaskAssignment assignment;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &assignment);
  if (!parsed.ok()) return absl::InternalError("assignment.json: " + parsed.ToString());
  return assignment;
}

/// Confines this process to the folders that both the coordinator and the worker allow. The list of the worker comes by
/// its environment, because the ranks of a gang share the assignment but not the worker.
absl::Status ConfineInputs(const v1::TaskAssignment& assignment, const std::filesystem::path& work_folder) {
  const char* const listed = std::getenv(kDataRootsVariable);
  std::vector<std::filesystem::path> of_worker;
  if (listed != nullptr) {
    REGROUP_ASSIGN_OR_RETURN(const nlohmann::json roots, ParseJson(listed));
    for (const nlohmann::json& root : roots) of_worker.emplace_back(root.get<std::string>());
  }
  const std::vector<std::filesystem::path> of_coordinator(assignment.data_roots().begin(),
                                                          assignment.data_roots().end());
  SetInputRules({.roots = CommonRoots(of_coordinator, of_worker), .own_folder = work_folder});
  return absl::OkStatus();
}

absl::StatusOr<v1::TaskOutcome> RunStage(StageContext& context) {
  const Stage stage = FindStage(context.assignment.kind());
  if (stage != nullptr) return stage(context);
  return absl::UnimplementedError(
      fmt::format("this trainer cannot run {}", v1::TaskKind_Name(context.assignment.kind())));
}

/// Has rank 0 write the checksums of the results, if there are any, and adds their digest to its outcome.
absl::StatusOr<v1::TaskOutcome> WithChecksums(const StageContext& context, v1::TaskOutcome outcome) {
  if (!context.leads() || outcome.paused()) return outcome;
  context.link.SetProgress("checksums", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(*outcome.mutable_outputs_sha256(),
                           WriteChecksums(context.out(), [&] { context.link.activity().Tick(); }));
  return outcome;
}

/// Before the ranks of several workers begin, checks the network between them; rank 0 logs how fast it is.
absl::Status CheckNetwork(const v1::TaskAssignment& assignment, Communicator& communicator, at::Device device) {
  if (assignment.gang().members_size() < 2) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const GangCheck check, CheckSum(communicator, device));
  if (communicator.rank() != 0) return absl::OkStatus();
  LogInfo("the ranks of all workers reach one another",
          {{"workers", assignment.gang().members_size()}, {"bytes_per_second", check.bytes_per_second}});
  return absl::OkStatus();
}

/// Joins the gang, runs the stage and delivers its outcome. On an error the other ranks may still be in a collective.
absl::Status RunRank(const Arguments& arguments, const v1::TaskAssignment& assignment, WorkerLink& link,
                     const LostGpu& lost, std::unique_ptr<Communicator>& communicator) {
  link.activity().SetPhase("joining the gang");
  REGROUP_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(assignment.spec().resources().device()));
  REGROUP_ASSIGN_OR_RETURN(communicator, JoinGang(device, lost));
  communicator->set_activity(&link.activity());
  REGROUP_RETURN_IF_ERROR(CheckNetwork(assignment, *communicator, device));
  link.activity().SetPhase("");
  StageContext context{assignment, arguments.work_folder, arguments.attempt_folder, *communicator, link, device};
  context.local_spec = LocalSpec(assignment, arguments.work_folder);
  REGROUP_RETURN_IF_ERROR(MakeFolders(context.out()));
  REGROUP_ASSIGN_OR_RETURN(v1::TaskOutcome outcome, RunStage(context));
  // After this all ranks have written what they write.
  REGROUP_RETURN_IF_ERROR(communicator->RestingBarrier());
  REGROUP_ASSIGN_OR_RETURN(outcome, WithChecksums(context, std::move(outcome)));
  // Rank 0 may have had much to digest.
  REGROUP_RETURN_IF_ERROR(communicator->RestingBarrier());
  return context.leads() ? link.Finish(outcome) : absl::OkStatus();
}

absl::Status RunAttempt(const Arguments& arguments) {
  REGROUP_ASSIGN_OR_RETURN(const v1::TaskAssignment assignment, ReadAssignment(arguments.attempt_folder));
  REGROUP_RETURN_IF_ERROR(ConfineInputs(assignment, arguments.work_folder));
  const GangPlace place = PlaceInGang();
  REGROUP_ASSIGN_OR_RETURN(const std::unique_ptr<WorkerLink> link,
                           WorkerLink::Connect(assignment.attempt(), place.rank, place.size));
  const auto fail = [&assignment, &link, rank = place.rank](const absl::Status& reason) {
    const absl::Status status = ExplainMemory(reason, assignment.kind(), link->phase());
    LogError(std::string(status.message()), {{"rank", rank}});
    link->Finish(FailedOutcome(status)).IgnoreError();
    // Other ranks may wait in a collective: exiting without MPI_Finalize makes mpirun end them.
    std::fflush(nullptr);
    _exit(1);
  };
  WatchMappedFiles(fail);
  // Outlives what throws, since its end waits for the other ranks.
  std::unique_ptr<Communicator> communicator;
  try {
    const absl::Status status = RunRank(arguments, assignment, *link, fail, communicator);
    if (!status.ok()) fail(status);
  } catch (const std::exception& error) {
    // Besides the threads of the side lane and of the GPU's watch, this is where libtorch's exceptions of an attempt
    // become a status.
    fail(StatusOfException(error));
  }
  return absl::OkStatus();
}

/// Plans for GPUs if the job asks for them, if the caller says how much memory they have, or if this machine has some.
PlanOptions PlanOptionsOf(const Arguments& arguments, const v1::JobSpec& spec) {
  PlanOptions options{.flops_per_second = arguments.flops_per_second,
                      .gpu_memory_bytes = arguments.gpu_memory_gib * (int64_t{1} << 30),
                      .runs_here = !arguments.for_other_machines};
  const std::string& device = spec.resources().device();
  if (device == "cpu") return options;
  if (options.gpu_memory_bytes <= 0 && options.runs_here) {
    options.gpu_memory_bytes = static_cast<double>(GpuMemoryBytes().value_or(0));
    options.gpu_memory_is_of_machine = true;
  }
  if (device == "cuda" || options.gpu_memory_bytes > 0) options.device = at::kCUDA;
  return options;
}

absl::Status PrintPlan(const Arguments& arguments) {
  if (!arguments.data_roots.empty()) SetInputRules({.roots = arguments.data_roots});
  REGROUP_ASSIGN_OR_RETURN(const std::string json, ReadFile(arguments.plan_file));
  v1::JobSpec spec;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &spec);
  if (!parsed.ok()) return absl::InvalidArgumentError(arguments.plan_file + ": " + parsed.ToString());
  if (const std::vector<std::string> addresses = AddressesToFetch(spec); !addresses.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "'{}' is an address; a plan reads files, so copy what it names first, or submit the job", addresses.front()));
  }
  const auto source = SourceModel::Open(spec.source().checkpoint());
  if (!source.ok()) return AtKey("source.checkpoint", source.status());
  REGROUP_ASSIGN_OR_RETURN(const std::shared_ptr<const Tokenizer> tokenizer, CheckJob(spec, *source));
  REGROUP_ASSIGN_OR_RETURN(v1::JobPlan plan, PlanJob(spec, *source, PlanOptionsOf(arguments, spec)));
  for (const std::string& note : NotesOn(*source, *tokenizer)) plan.add_notes(note);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto written = google::protobuf::util::MessageToJsonString(plan, &text, options);
  if (!written.ok()) return absl::InternalError("the plan cannot be written as JSON: " + written.ToString());
  fmt::print("{}\n", text);
  return absl::OkStatus();
}

absl::Status CheckAsRank(const Arguments& arguments, const LostGpu& lost, std::unique_ptr<Communicator>& communicator) {
  REGROUP_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(arguments.device));
  REGROUP_RETURN_IF_ERROR(CheckFreeMemory(device));
  REGROUP_RETURN_IF_ERROR(CheckProduct(device));
  REGROUP_ASSIGN_OR_RETURN(communicator, JoinGang(device, lost));
  REGROUP_ASSIGN_OR_RETURN(const GangCheck check, CheckSum(*communicator, device));
  REGROUP_RETURN_IF_ERROR(communicator->RestingBarrier());
  if (communicator->rank() != 0) return absl::OkStatus();
  const nlohmann::ordered_json found = {
      {"ranks", communicator->size()},     {"device", device.is_cuda() ? "cuda" : "cpu"},
      {"device_name", DeviceName(device)}, {"summed_bytes", check.bytes},
      {"seconds", check.seconds},          {"bytes_per_second", check.bytes_per_second}};
  fmt::print("{}\n", found.dump());
  return absl::OkStatus();
}

/// Checks that the ranks that mpirun started, or this process alone, can compute and communicate.
absl::Status PrintCheck(const Arguments& arguments) {
  const auto fail = [rank = PlaceInGang().rank](const absl::Status& status) {
    LogError(std::string(status.message()), {{"rank", rank}});
    std::fflush(nullptr);
    // Other ranks may wait for this one: exiting without MPI_Finalize makes mpirun end them.
    _exit(1);
  };
  // Outlives what throws, since its end waits for the other ranks.
  std::unique_ptr<Communicator> communicator;
  try {
    const absl::Status status = CheckAsRank(arguments, fail, communicator);
    if (!status.ok()) fail(status);
  } catch (const std::exception& error) {
    fail(StatusOfException(error));
  }
  return absl::OkStatus();
}

absl::Status PrintCarriedAdapter(const AdapterFolders& folders) {
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::ordered_json summary, CarryAdapter(folders));
  fmt::print("{}\n", summary.dump(2));
  return absl::OkStatus();
}

absl::Status PrintDescription(const std::string& folder) {
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::ordered_json description, DescribeCheckpoint(folder));
  fmt::print("{}\n", description.dump(2));
  return absl::OkStatus();
}

/// Does what the arguments ask for; an exception becomes a status here, because nothing above would say what it was.
absl::Status DoAsTold(const Arguments& arguments) {
  try {
    if (!arguments.inspect_folder.empty()) return PrintDescription(arguments.inspect_folder);
    if (!arguments.plan_file.empty()) return PrintPlan(arguments);
    if (!arguments.adapter.source_adapter.empty()) return PrintCarriedAdapter(arguments.adapter);
    if (arguments.check) return DieWithParent(SIGKILL) ? PrintCheck(arguments) : absl::AbortedError(kOrphan);
    if (!arguments.attempt_folder.empty()) {
      // A rank must not outlive its parent, which is mpirun or the worker.
      return DieWithParent(SIGKILL) ? RunAttempt(arguments) : absl::AbortedError(kOrphan);
    }
    return absl::InvalidArgumentError("specify --attempt, --check, --inspect, --plan, --source-adapter or --families");
  } catch (const std::exception& error) {
    return StatusOfException(error);
  }
}

/// Makes malloc keep large blocks: returned to the kernel, they would cost page faults at every step.
void KeepLargeBlocks() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
}

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Runs one rank of one attempt of a Regroup task. Started by regroup-worker.", "regroup-trainer");
  app.set_version_flag("--version", RegroupVersion());
  app.add_option("--attempt", arguments.attempt_folder, "Folder with assignment.json");
  app.add_option("--work-dir", arguments.work_folder, "Shared working folder");
  app.add_option("--inspect", arguments.inspect_folder, "Describe a checkpoint folder as JSON");
  app.add_option("--plan", arguments.plan_file, "Estimate the resources of the job in this file (a JobSpec as JSON)");
  app.add_option("--flops-per-second", arguments.flops_per_second, "For --plan: speed of a rank; measured by default");
  app.add_option("--gpu-memory-gib", arguments.gpu_memory_gib, "For --plan: memory of a GPU; default: this machine's");
  app.add_flag("--for-other-machines", arguments.for_other_machines, "For --plan: look at no GPU and no memory here");
  app.add_option("--data-root", arguments.data_roots, "For --plan: a folder that may be read; default: all");
  app.add_option("--source-adapter", arguments.adapter.source_adapter, "Carry this LoRA adapter over to --result");
  app.add_option("--result", arguments.adapter.result, "For --source-adapter: the converted model");
  app.add_option("--output", arguments.adapter.output, "For --source-adapter: the folder to write");
  app.add_flag("--check", arguments.check,
               "Check that this process, or the ranks that mpirun started, can compute and communicate");
  app.add_option("--device", arguments.device, "For --check: auto | cpu | cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_flag("--families", arguments.families, "List the model families as JSON");
  CLI11_PARSE(app, argc, argv);
  InitLogging("trainer", isatty(STDERR_FILENO) ? LogFormat::kText : LogFormat::kJson);
  if (const char* const trace = std::getenv(kTraceparentVariable); trace != nullptr && IsTraceparent(trace)) {
    SetLogContext(kTraceparentKey, trace);
  }
  KeepLargeBlocks();
  if (arguments.families) {
    fmt::print("{}\n", DescribeFamilies().dump(2));
    return 0;
  }
  const absl::Status status = DoAsTold(arguments);
  if (status.ok()) return 0;
  LogError(std::string(status.message()));
  return status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kNotFound ? 2 : 1;
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) { return regroup::Main(argc, argv); }
