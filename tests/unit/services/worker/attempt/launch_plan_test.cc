#include "services/worker/attempt/launch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

WorkerOptions Options() {
  WorkerOptions options;
  options.id = "node-1";
  options.work_folder = "/work-folder";
  options.slots = 4;
  options.trainer = "/opt/regroup-trainer";
  options.mpirun = "/usr/bin/mpirun";
  return options;
}

LaunchContext Context() {
  return {.socket = "/tmp/s",
          .token = "secret-token",
          .attempt_folder = "/work-folder/jobs/j/calibrate/2",
          .temporary_folder = "/tmp/t1",
          .cores = 10,
          .visible_devices = "1,3",
          .inherited = {{"PATH", "/usr/bin"},
                        {"HOME", "/root"},
                        {"CLOUD_SECRET_KEY", "hidden"},
                        {"REGROUP_ATTEMPT_TOKEN", "of another attempt"},
                        {"OMPI_COMM_WORLD_RANK", "5"},
                        {"OMPI_MCA_btl_tcp_if_include", "eth0"},
                        {"NCCL_DEBUG", "INFO"}}};
}

v1::TaskAssignment Assignment(int ranks) {
  v1::TaskAssignment assignment;
  assignment.mutable_attempt()->set_job("j");
  assignment.mutable_attempt()->set_task("calibrate");
  assignment.mutable_attempt()->set_epoch(2);
  assignment.set_ranks(ranks);
  return assignment;
}

TEST(LaunchPlan, ASingleRankIsTheTrainerItselfWithoutMpi) {
  const ProcessPlan plan = MakeProcessPlan(Options(), Assignment(1), Context());
  EXPECT_THAT(plan.arguments, ElementsAre("/opt/regroup-trainer", "--attempt", "/work-folder/jobs/j/calibrate/2",
                                          "--work-dir", "/work-folder"));
  EXPECT_THAT(plan.environment, Each(Not(StartsWith("OMPI_"))));
  EXPECT_EQ(plan.stdout_file, "/work-folder/jobs/j/calibrate/2/logs/rank.0/stdout");
}

TEST(LaunchPlan, TrainersLearnTheDataRootsOfTheirOwnWorker) {
  WorkerOptions options = Options();
  EXPECT_THAT(MakeProcessPlan(options, Assignment(1), Context()).environment, Contains("REGROUP_DATA_ROOTS=[]"));
  options.allowed_paths.data_roots = {"/models", "/data: \"odd\""};
  const std::string expected = R"(REGROUP_DATA_ROOTS=["/models","/data: \"odd\""])";
  EXPECT_THAT(MakeProcessPlan(options, Assignment(1), Context()).environment, Contains(expected));
  const ProcessPlan gang = MakeProcessPlan(options, Assignment(2), Context());
  EXPECT_THAT(gang.environment, Contains(expected));
  EXPECT_THAT(gang.arguments, Contains("REGROUP_DATA_ROOTS"));
  EXPECT_THAT(MakeDaemonPlan(options, Assignment(2), Context(), {}).environment, Contains(expected));
}

TEST(LaunchPlan, OnlyTasksThatReadAddressesGetWhatTheWorkerKnowsOfHubsAndBuckets) {
  // The names in services/common/remote/README.md.
  for (const char* name : {"HF_TOKEN", "HF_TOKEN_PATH", "HF_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                           "AWS_SESSION_TOKEN", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_REGION",
                           "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "SSL_CERT_FILE", "HTTPS_PROXY", "NO_PROXY"}) {
    LaunchContext context = Context();
    context.inherited[name] = "value";
    v1::TaskAssignment assignment = Assignment(1);
    EXPECT_THAT(MakeProcessPlan(Options(), assignment, context).environment, Not(Contains(StartsWith(name)))) << name;
    assignment.set_kind(v1::TASK_KIND_FETCH);
    EXPECT_THAT(MakeProcessPlan(Options(), assignment, context).environment, Contains(std::string(name) + "=value"));
  }
}

TEST(LaunchPlan, AGangIsStartedByMpirun) {
  const ProcessPlan plan = MakeProcessPlan(Options(), Assignment(2), Context());
  EXPECT_EQ(plan.arguments.front(), "/usr/bin/mpirun");
  EXPECT_THAT(plan.arguments, AllOf(Contains("--allow-run-as-root"), Contains("--oversubscribe"), Contains("-np"),
                                    Contains("2"), Contains("REGROUP_ATTEMPT_TOKEN"), Contains("OMP_NUM_THREADS")));
  EXPECT_EQ(plan.arguments[plan.arguments.size() - 5], "/opt/regroup-trainer");
  EXPECT_THAT(plan.environment, Contains("OMPI_MCA_btl_tcp_if_include=eth0"));
}

TEST(LaunchPlan, AGangOnOneWorkerStaysOnLoopbackAndSharedMemory) {
  WorkerOptions options = Options();
  options.gang.interface = "eth1";
  options.loopback_module = "/opt/lib/libregroup_loopback.so";
  const ProcessPlan plan = MakeProcessPlan(options, Assignment(2), Context());
  EXPECT_THAT(plan.arguments, AllOf(Contains("self,vader"), Contains("oob_tcp_if_include"), Contains("lo")));
  EXPECT_THAT(plan.arguments, AllOf(Not(Contains("^openib")), Not(Contains("eth1"))));
  EXPECT_THAT(plan.environment,
              AllOf(Contains("LD_PRELOAD=/opt/lib/libregroup_loopback.so"), Contains("NCCL_SOCKET_IFNAME=lo")));
  EXPECT_THAT(MakeProcessPlan(options, Assignment(1), Context()).environment, Each(Not(StartsWith("LD_PRELOAD"))));
}

TEST(LaunchPlan, TheWorkersOwnMpiSettingsOverruleTheDefaults) {
  LaunchContext context = Context();
  EXPECT_THAT(MakeProcessPlan(Options(), Assignment(2), context).environment,
              Contains("OMPI_MCA_mpi_yield_when_idle=1"));
  context.inherited["OMPI_MCA_mpi_yield_when_idle"] = "0";
  EXPECT_THAT(MakeProcessPlan(Options(), Assignment(2), context).environment,
              Contains("OMPI_MCA_mpi_yield_when_idle=0"));
}

TEST(LaunchPlan, SecretsStandNeitherInTheCommandLineNorComeFromTheWorker) {
  for (const int ranks : {1, 2}) {
    const ProcessPlan plan = MakeProcessPlan(Options(), Assignment(ranks), Context());
    EXPECT_THAT(plan.arguments, Each(Not(HasSubstr("secret-token"))));
    EXPECT_THAT(plan.environment, Contains("REGROUP_ATTEMPT_TOKEN=secret-token"));
    EXPECT_THAT(plan.environment, Each(Not(HasSubstr("hidden"))));
    EXPECT_THAT(plan.environment, Each(Not(HasSubstr("another attempt"))));
    EXPECT_THAT(plan.environment, Each(Not(StartsWith("OMPI_COMM_WORLD"))));
  }
}

TEST(LaunchPlan, TellsTheTrainerItsSocketDevicesAndThreads) {
  EXPECT_THAT(MakeProcessPlan(Options(), Assignment(1), Context()).environment,
              AllOf(Contains("REGROUP_WORKER_SOCKET=/tmp/s"), Contains("CUDA_VISIBLE_DEVICES=1,3"),
                    Contains("OMP_NUM_THREADS=2"), Contains("TMPDIR=/tmp/t1"), Contains("NCCL_DEBUG=INFO")));
}

TEST(LaunchPlan, MoreSlotsThanCoresStillGiveAThread) {
  LaunchContext context = Context();
  context.cores = 2;
  EXPECT_THAT(MakeProcessPlan(Options(), Assignment(1), context).environment, Contains("OMP_NUM_THREADS=1"));
}

TEST(LaunchPlan, WorkersOfOneMachineDivideItsCores) {
  WorkerOptions options = Options();
  options.slots = 1;
  options.workers_on_machine = 3;
  LaunchContext context = Context();
  context.cores = 7;
  EXPECT_THAT(MakeProcessPlan(options, Assignment(1), context).environment, Contains("OMP_NUM_THREADS=2"));
  context.cores = 2;
  EXPECT_THAT(MakeProcessPlan(options, Assignment(1), context).environment, Contains("OMP_NUM_THREADS=1"));
}

TEST(LaunchPlan, EveryAttemptHasAMarkerOfItsOwn) {
  v1::TaskAssignment next = Assignment(1);
  next.mutable_attempt()->set_epoch(3);
  const ProcessPlan plan = MakeProcessPlan(Options(), Assignment(1), Context());
  EXPECT_NE(plan.marker, MakeProcessPlan(Options(), next, Context()).marker);
  for (const std::string& entry : plan.marker) EXPECT_THAT(plan.environment, Contains(entry));
}

/// Returns the assignment of four ranks on two workers.
v1::TaskAssignment SpreadAssignment(int member) {
  v1::TaskAssignment assignment = Assignment(4);
  v1::Gang& gang = *assignment.mutable_gang();
  for (const char* worker : {"node-1", "node-2"}) {
    gang.add_members()->set_worker(worker);
    gang.mutable_members()->rbegin()->set_ranks(2);
  }
  gang.set_member(member);
  gang.set_token("secret-token");
  return assignment;
}

TEST(LaunchPlan, ASpreadGangReachesTheOtherWorkersThroughOurRemoteShellOnly) {
  WorkerOptions options = Options();
  options.gang.remote_shell = "/opt/regroup-rsh";
  options.gang.interface = "eth1";
  const ProcessPlan plan = MakeProcessPlan(options, SpreadAssignment(0), Context());
  EXPECT_THAT(plan.arguments,
              AllOf(Contains("/opt/regroup-rsh"), Contains("/tmp/t1/hosts"), Contains("eth1"), Contains("slot")));
  EXPECT_THAT(plan.arguments, Each(Not(HasSubstr("secret-token"))));
  // Exported variables would reach the ranks of the other worker, whose socket and devices differ.
  EXPECT_THAT(plan.arguments, AllOf(Not(Contains("-x")), Not(Contains("--oversubscribe"))));
  EXPECT_THAT(plan.environment, AllOf(Contains("REGROUP_GANG_FILE=/tmp/t1/gang.json"),
                                      Contains("NCCL_SOCKET_IFNAME=eth1"), Each(Not(StartsWith("LD_PRELOAD")))));
}

TEST(LaunchPlan, AHelperRunsTheDaemonBesideMpirun) {
  LaunchContext context = Context();
  context.shared_memory_folder = "/dev/shm/own";
  const ProcessPlan plan = MakeDaemonPlan(Options(), SpreadAssignment(1), context, {"-mca", "ess", "env"});
  EXPECT_THAT(plan.arguments, ElementsAre("/usr/bin/orted", "-mca", "ess", "env"));
  EXPECT_THAT(
      plan.environment,
      AllOf(Contains("REGROUP_WORKER_SOCKET=/tmp/s"), Contains("REGROUP_ATTEMPT_TOKEN=secret-token"),
            Contains("OMPI_MCA_btl_vader_backing_directory=/dev/shm/own"), Contains("PMIX_HOSTNAME=regroup-node-1")));
  EXPECT_THAT(plan.environment, Each(Not(StartsWith("REGROUP_GANG_FILE="))));
  for (const std::string& entry : plan.marker) EXPECT_THAT(plan.environment, Contains(entry));
}

TEST(LaunchPlan, FindsAProgramInThePath) {
  EXPECT_EQ(FindProgram("sh", "/nowhere:/bin"), "/bin/sh");
  EXPECT_EQ(FindProgram("/opt/mpirun", "/bin"), "/opt/mpirun");
  EXPECT_EQ(FindProgram("no-such-program", "/bin"), "");
}

}  // namespace
}  // namespace regroup
