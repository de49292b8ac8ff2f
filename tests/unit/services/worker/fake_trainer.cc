// A program that replaces regroup-trainer: it calls TrainerService and behaves as the job's labels say.
//
//   behaviour   what to do; see kBehaviours below
//   rank        the rank that does it; the others wait to be stopped. Default: all do it
//   go          file whose appearance ends "wait"; what "job-held" holds goes on with the file GO.EPOCH as well
//   stay        "staged": a "job" stops after it has staged its result
//   hold        where "job-held" waits for `go`: start (before it attests) | run | stubborn (ignores SIGTERM) |
//               staged (its result is beside the output) | reported (its worker knows the outcome)
//   task        the task that "job-held" holds; the others finish at once
//   layers      number of layers of the model that "job" reports; default 2
//   daemon      "yes": the held process has a descendant in a separate session
//   staged, published   for "publish"
#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

#include "regroup/v1/trainer_service.grpc.pb.h"
#include "services/common/base/staging_folder.h"

// Built with the thread sanitizer this program would report races in gRPC's own library, which is not instrumented, and
// exit with the sanitizer's status. The worker is what is tested.
extern "C" const char* __tsan_default_options() { return "report_bugs=0"; }

namespace {

namespace v1 = regroup::v1;

constexpr std::chrono::milliseconds kSlow(700);

std::string Variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

void Pause() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

void WriteFile(const std::filesystem::path& path, const std::string& text) {
  // Ranks may write the same file at once, so each writes under its own name first.
  const std::filesystem::path temporary = path.string() + "." + std::to_string(getpid()) + ".tmp";
  std::ofstream(temporary) << text;
  std::filesystem::rename(temporary, path);
}

class FakeTrainer {
 public:
  explicit FakeTrainer(const std::filesystem::path& folder)
      : folder_(folder),
        rank_(std::stoi(Variable("OMPI_COMM_WORLD_RANK", "0"))),
        world_size_(std::stoi(Variable("OMPI_COMM_WORLD_SIZE", "1"))),
        stub_(v1::TrainerService::NewStub(
            grpc::CreateChannel("unix:" + Variable("REGROUP_WORKER_SOCKET", ""), grpc::InsecureChannelCredentials()))) {
    std::ifstream file(folder / "assignment.json");
    std::stringstream text;
    text << file.rdbuf();
    if (!google::protobuf::util::JsonStringToMessage(text.str(), &assignment_).ok()) std::exit(90);
    WriteFile(Out("pid." + std::to_string(rank_)), std::to_string(getpid()));
  }

  int Run() {
    const std::string actor = Label("rank");
    const bool acts = actor.empty() || std::stoi(actor) == rank_;
    return acts ? Behave(Label("behaviour")) : WaitForStop();
  }

 private:
  int Behave(const std::string& behaviour) {
    const std::map<std::string, std::function<int()>> behaviours = {
        {"succeed", [this] { return AttestFirst() ? Succeed() : 91; }},
        {"publish", [this] { return AttestFirst() ? Publish() : 91; }},
        {"job", [this] { return AttestFirst() ? PlayJob() : 91; }},
        {"job-slowly", [this] { return AttestFirst() ? (std::this_thread::sleep_for(kSlow), PlayJob()) : 91; }},
        {"job-or-wait", [this] { return AttestFirst() ? (world_size_ > 1 ? WaitThenPlay() : PlayJob()) : 91; }},
        {"job-held", [this] { return PlayHeldJob(); }},
        {"fail", [this] { return AttestFirst() ? Fail() : 91; }},
        {"fail-and-stay", [this] { return AttestFirst() ? Fail(), WaitForever() : 91; }},
        {"exit-3", [this] { return AttestFirst() ? ExitWithThree() : 91; }},
        {"exit-0", [this] { return AttestFirst() ? 0 : 91; }},
        {"hang", [this] { return AttestFirst() ? Hang() : 91; }},
        {"silent-after-attest", [this] { return AttestFirst() ? WaitForever() : 91; }},
        {"wait", [this] { return AttestFirst() ? WaitForGo() : 91; }},
        {"ignore-term", [this] { return AttestFirst() ? IgnoreTerm() : 91; }},
        {"escape", [this] { return AttestFirst() ? Escape() : 91; }},
        {"escape-and-wait", [this] { return AttestFirst() ? Escape(), WaitForever() : 91; }},
        {"environment", [this] { return AttestFirst() ? WriteEnvironment() : 91; }},
        {"chatter", [this] { return AttestFirst() ? Chatter() : 91; }},
        {"silent", [this] { return WaitForever(); }},
        {"wrong-world", [this] { return WrongWorld(); }},
        {"wrong-token", [this] { return WrongToken(); }},
    };
    return behaviours.at(behaviour)();
  }

  std::string Label(const std::string& name) const {
    const auto& labels = assignment_.spec().labels();
    return labels.count(name) > 0 ? labels.at(name) : "";
  }

  std::filesystem::path Out(const std::string& name) const { return folder_ / "out" / name; }

  grpc::Status Attest(int world_size, const std::string& token) {
    grpc::ClientContext context;
    context.AddMetadata("regroup-attempt-token", token);
    v1::AttestRequest request;
    *request.mutable_attempt() = assignment_.attempt();
    request.set_rank(rank_);
    request.set_world_size(world_size);
    request.set_process_id(getpid());
    request.set_host("test");
    v1::AttestResponse response;
    return stub_->Attest(&context, request, &response);
  }

  bool AttestFirst() { return Attest(world_size_, Variable("REGROUP_ATTEMPT_TOKEN", "")).ok(); }

  /// Returns false if the worker is gone or wants the rank to exit.
  bool Report(v1::ReportRequest request) {
    grpc::ClientContext context;
    context.AddMetadata("regroup-attempt-token", Variable("REGROUP_ATTEMPT_TOKEN", ""));
    const auto now = std::chrono::system_clock::now();
    context.set_deadline(std::max(now + std::chrono::milliseconds(100), give_up_));
    *request.mutable_attempt() = assignment_.attempt();
    request.set_rank(rank_);
    v1::ReportResponse response;
    if (!stub_->Report(&context, request, &response).ok() || response.stop()) return false;
    give_up_ = now + std::chrono::seconds(10);
    if (response.has_lease()) {
      using google::protobuf::util::TimeUtil;
      give_up_ = now + std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(response.lease()));
    }
    return true;
  }

  bool Tick() {
    v1::ReportRequest request;
    request.mutable_activity()->set_phase("forward");
    request.mutable_activity()->set_ticks(++ticks_);
    return Report(request);
  }

  int ReportSuccess(v1::TaskOutcome outcome) {
    if (rank_ != 0) return 0;
    v1::ReportRequest request;
    *request.mutable_outcome() = std::move(outcome);
    return Report(request) ? 0 : 92;
  }

  int Succeed() {
    std::cout << R"({"severity":"ERROR","message":"from json","rank":7,"step":3})" << std::endl;
    std::cout << "plain from rank " << rank_ << std::endl;
    std::cerr << "warning without end" << std::flush;
    v1::ReportRequest request;
    request.mutable_progress()->set_phase("step");
    request.mutable_progress()->set_done(1);
    v1::MetricPoint* point = request.add_metrics();
    point->set_metric("loss");
    point->set_step(1);
    point->set_value(2.5 + rank_);
    Report(request);
    WriteFile(Out("done." + std::to_string(rank_)), "");
    v1::TaskOutcome outcome;
    (*outcome.mutable_figures())["ranks"] = world_size_;
    return ReportSuccess(outcome);
  }

  /// Keeps a copy of the staged report, as the real stage does.
  void KeepReport(const std::filesystem::path& staged) const {
    std::error_code ignored;
    std::filesystem::copy_file(staged / "regroup" / "report.json", Out("report.json"), ignored);
  }

  int Publish() {
    v1::TaskOutcome outcome;
    KeepReport(Label("staged"));
    outcome.mutable_publication()->set_staged(Label("staged"));
    outcome.mutable_publication()->set_published(Label("published"));
    return ReportSuccess(outcome);
  }

  /// Does what a whole job needs of its trainers: a model from inspect, a result from report, success from all others.
  int PlayJob() {
    v1::TaskOutcome outcome;
    if (assignment_.kind() == v1::TASK_KIND_INSPECT) {
      outcome.mutable_model()->set_family("llama");
      outcome.mutable_model()->set_layers(Label("layers").empty() ? 2 : std::stoi(Label("layers")));
      outcome.mutable_model()->set_heads(8);
      outcome.mutable_model()->set_kv_heads(8);
    }
    const std::filesystem::path output = assignment_.spec().output().checkpoint();
    if (assignment_.kind() == v1::TASK_KIND_REPORT && !output.empty()) {
      const auto staged = regroup::StagingFolder(output, assignment_.attempt().job(), assignment_.attempt().epoch());
      std::filesystem::create_directories(staged / "regroup");
      WriteFile(staged / "regroup" / "report.json", R"({"job": "jobs/)" + assignment_.attempt().job() + R"("})");
      KeepReport(staged);
      if (Label("stay") == "staged") return WaitForever();
      if (!HoldAt("staged")) return 94;
      outcome.mutable_publication()->set_staged(staged);
      outcome.mutable_publication()->set_published(output);
    }
    std::cout << "played by rank " << rank_ << std::endl;
    const int status = ReportSuccess(outcome);
    HoldAt("reported");
    return status;
  }

  int PlayHeldJob() {
    HoldAt("start");
    if (!AttestFirst()) return 91;
    return HoldAt("run") && HoldAt("stubborn") ? PlayJob() : 94;
  }

  /// Waits for `go` if the task is held here; returns false if the worker is gone or wants the rank to exit.
  bool HoldAt(const std::string& place) {
    if (Label("hold") != place || Label("task") != assignment_.attempt().task()) return true;
    if (place == "stubborn") signal(SIGTERM, SIG_IGN);
    if (Label("daemon") == "yes") StartDaemon();
    WriteFile(Out("held." + std::to_string(rank_)), "");
    const std::string own_go = Label("go") + "." + std::to_string(assignment_.attempt().epoch());
    while (!std::filesystem::exists(Label("go")) && !std::filesystem::exists(own_go)) {
      const bool talks = place == "run" || place == "staged";
      if (talks && !Tick()) return false;
      Pause();
    }
    return true;
  }

  /// Plays a gang that can be interrupted: each rank writes a file to say that it waits.
  int WaitThenPlay() {
    WriteFile(Out("waits." + std::to_string(rank_)), "");
    while (!std::filesystem::exists(Label("go"))) {
      if (!Tick()) return 94;
      Pause();
    }
    return PlayJob();
  }

  int Fail() {
    std::cerr << "the last words" << std::endl;
    v1::ReportRequest request;
    request.mutable_outcome()->mutable_failure()->set_failure_class(v1::FAILURE_CLASS_DATA);
    request.mutable_outcome()->mutable_failure()->set_message("tensor x is cut short");
    Report(request);
    return 1;
  }

  int ExitWithThree() {
    std::cerr << "about to give up" << std::endl;
    return 3;
  }

  /// Reports, but never with a new tick.
  int Hang() {
    v1::ReportRequest request;
    request.mutable_activity()->set_step(12);
    request.mutable_activity()->set_phase("backward");
    request.mutable_activity()->set_collective("reduce_scatter #7");
    request.mutable_activity()->set_ticks(1);
    while (true) {
      Report(request);
      Pause();
    }
  }

  int WaitForGo() {
    while (!std::filesystem::exists(Label("go"))) {
      Tick();
      Pause();
    }
    return Succeed();
  }

  int WaitForStop() {
    AttestFirst();
    while (Tick()) Pause();
    return 0;
  }

  int IgnoreTerm() {
    signal(SIGTERM, SIG_IGN);
    WriteFile(Out("ready"), "");
    while (true) {
      Tick();
      Pause();
    }
  }

  int WaitForever() {
    while (true) Pause();
  }

  int Escape() {
    StartDaemon();
    return Succeed();
  }

  /// Leaves a grandchild in a separate session, without any open file, as a daemon would.
  void StartDaemon() {
    if (fork() == 0) {
      setsid();
      if (fork() == 0) {
        for (int fd = 0; fd < 3; ++fd) close(fd);
        WriteFile(Out("escaped"), std::to_string(getpid()));
        WaitForever();
      }
      _exit(0);
    }
    wait(nullptr);
    while (!std::filesystem::exists(Out("escaped"))) Pause();
  }

  int WriteEnvironment() {
    std::string text;
    for (char** entry = environ; *entry != nullptr; ++entry) text += std::string(*entry) + "\n";
    WriteFile(Out("environment"), text);
    return Succeed();
  }

  int Chatter() {
    for (int line = 0; line < 1000; ++line) std::cout << "line " << line << "\n";
    std::cout.flush();
    return ReportSuccess({});
  }

  int WrongWorld() {
    Attest(1, Variable("REGROUP_ATTEMPT_TOKEN", ""));
    return WaitForever();
  }

  int WrongToken() { return Attest(world_size_, "guess").error_code(); }

  const std::filesystem::path folder_;
  const int rank_;
  const int world_size_;
  const std::unique_ptr<v1::TrainerService::Stub> stub_;
  v1::TaskAssignment assignment_;
  int64_t ticks_ = 0;
  /// The end of the worker's lease, at which the rank exits if the worker does not answer.
  std::chrono::system_clock::time_point give_up_ = std::chrono::system_clock::now() + std::chrono::seconds(10);
};

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) == "--attempt") return FakeTrainer(argv[i + 1]).Run();
  }
  return 93;
}
