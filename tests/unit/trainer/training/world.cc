#include "world.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "trainer/parallel/device.h"

namespace regroup {
namespace {

std::unique_ptr<Communicator>& Holder() {
  static std::unique_ptr<Communicator> communicator;
  return communicator;
}

at::Device& Device() {
  static at::Device device(at::kCPU);
  return device;
}

std::filesystem::path& Root() {
  static std::filesystem::path root;
  return root;
}

class WorldEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    const char* const wanted = std::getenv("REGROUP_TEST_DEVICE");
    const auto device = ChooseDevice(wanted != nullptr ? wanted : "cpu");
    if (!device.ok()) Give(device.status());
    Device() = *device;
    auto communicator = JoinGang(*device);
    if (!communicator.ok()) Give(communicator.status());
    Holder() = std::move(*communicator);
    // Ranks share their parent, mpirun.
    const pid_t common = StartedByMpirun() ? getppid() : getpid();
    Root() = std::filesystem::temp_directory_path() / ("regroup_world_" + std::to_string(common));
  }

  void TearDown() override {
    std::error_code ignored;
    if (World().Barrier().ok() && World().rank() == 0) std::filesystem::remove_all(Root(), ignored);
    Holder().reset();
  }

 private:
  [[noreturn]] static void Give(const absl::Status& reason) {
    std::fprintf(stderr, "%s\n", reason.ToString().c_str());
    std::abort();
  }
};

[[maybe_unused]] const testing::Environment* const kRegistered =
    testing::AddGlobalTestEnvironment(new WorldEnvironment);

}  // namespace

Communicator& World() { return *Holder(); }

at::Device WorldDevice() { return Device(); }

std::filesystem::path SharedFolder(const char* name) {
  const std::filesystem::path folder = Root() / name;
  // Another rank may still be busy in the folder of the same name that the test before had.
  if (!World().Barrier().ok()) std::abort();
  if (World().rank() == 0) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  }
  if (!World().Barrier().ok()) std::abort();
  return folder;
}

}  // namespace regroup
