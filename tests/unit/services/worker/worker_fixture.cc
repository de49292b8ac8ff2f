#include "tests/unit/services/worker/worker_fixture.h"

#include <fstream>
#include <thread>

#include "services/common/rpc/channel.h"
#include "services/worker/process/process_scan.h"

namespace regroup {
namespace {

constexpr std::chrono::seconds kFixturePatience{60};

}  // namespace

WorkerFixture::WorkerFixture(std::chrono::milliseconds lease) : coordinator_(lease) {
  options_.id = "node-1";
  options_.work_folder = folder_.path() / "work";
  options_.slots = 4;
  options_.trainer = FAKE_TRAINER;
  options_.loopback_module = LOOPBACK_MODULE;
  options_.stop_grace = std::chrono::milliseconds(500);
  std::filesystem::create_directories(options_.work_folder);
  std::filesystem::create_directories(runtime_base_);
  setenv("XDG_RUNTIME_DIR", runtime_base_.c_str(), 1);
}

void WorkerFixture::StartWorker() {
  auto channel = OpenChannel(coordinator_.address());
  ASSERT_TRUE(channel.ok()) << channel.status();
  auto worker = Worker::Start(options_, *channel);
  ASSERT_TRUE(worker.ok()) << worker.status();
  worker_ = *std::move(worker);
}

v1::TaskAssignment WorkerFixture::MakeAssignment(const std::string& task, const std::string& behaviour, int ranks,
                                                 const Labels& labels) {
  v1::TaskAssignment assignment;
  assignment.mutable_attempt()->set_job("demo");
  assignment.mutable_attempt()->set_task(task);
  assignment.mutable_attempt()->set_epoch(1);
  assignment.set_ranks(ranks);
  assignment.set_watchdog_s(600);
  auto& all = *assignment.mutable_spec()->mutable_labels();
  all["behaviour"] = behaviour;
  for (const auto& [name, value] : labels) all[name] = value;
  return assignment;
}

AttemptKey WorkerFixture::Assign(const v1::TaskAssignment& assignment) {
  coordinator_.Assign(assignment);
  return KeyOf(assignment.attempt());
}

AttemptKey WorkerFixture::Assign(const std::string& task, const std::string& behaviour, int ranks,
                                 const Labels& labels) {
  return Assign(MakeAssignment(task, behaviour, ranks, labels));
}

v1::TaskOutcome WorkerFixture::RunTask(const std::string& task, const std::string& behaviour, int ranks,
                                       const Labels& labels) {
  return coordinator_.WaitForOutcome(Assign(task, behaviour, ranks, labels));
}

std::filesystem::path WorkerFixture::Out(const AttemptKey& key, const std::string& name) const {
  return AttemptFolder(options_.work_folder, key) / "out" / name;
}

void WorkerFixture::WaitFor(const std::function<bool()>& condition, const std::string& what) const {
  const auto deadline = std::chrono::steady_clock::now() + kFixturePatience;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << what << " did not happen";
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void WorkerFixture::WaitForFile(const std::filesystem::path& file) const {
  WaitFor([&] { return std::filesystem::exists(file); }, file.string());
}

pid_t WorkerFixture::WaitForPid(const AttemptKey& key, const std::string& name) const {
  WaitForFile(Out(key, name));
  pid_t pid = 0;
  std::ifstream(Out(key, name)) >> pid;
  return pid;
}

void WorkerFixture::Touch(const std::filesystem::path& file) const { std::ofstream(file) << ""; }

std::vector<pid_t> WorkerFixture::Alive() const { return ProcessesWithEnvironment({WorkerMarker(options_)}); }

}  // namespace regroup
