// Provides a working folder in which a test runs single stages of a job on one rank.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "trainer/alignment/layer_alignment.h"
#include "trainer/model_folder/conversion.h"
#include "trainer/model_folder/tensor_file.h"
#include "trainer/stages/stage.h"

namespace regroup {

/// Flips the lowest bit of one byte of a file, as a failing disk would.
inline void FlipBit(const std::filesystem::path& path, int64_t place) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  ASSERT_TRUE(file.is_open()) << path;
  file.seekg(place);
  const int byte = file.get();
  ASSERT_NE(byte, EOF) << path;
  file.seekp(place);
  file.put(static_cast<char>(byte ^ 1));
}

class StageFixture : public testing::Test {
 protected:
  StageFixture() {
    assignment_.mutable_attempt()->set_job("job-1");
    assignment_.mutable_attempt()->set_task("some-task");
    assignment_.mutable_attempt()->set_epoch(1);
    assignment_.mutable_spec()->mutable_source()->set_checkpoint(source_folder().string());
    assignment_.mutable_model()->set_dtype("float32");
    assignment_.mutable_model()->set_digest("abc123");
    assignment_.mutable_arm()->set_kv_heads(2);
    assignment_.mutable_arm()->set_alignment("none");
    assignment_.mutable_arm()->set_finetune("none");
    std::filesystem::create_directories(work() / "attempt" / "out");
    link_ = *WorkerLink::Connect(assignment_.attempt(), 0, 1);
  }

  const std::filesystem::path& work() const { return folder_.path(); }
  std::filesystem::path source_folder() const { return work() / "source"; }
  std::filesystem::path out() const { return work() / "attempt" / "out"; }

  StageContext Context() {
    return {assignment_, work(), work() / "attempt", *communicator_, *link_, at::Device(at::kCPU)};
  }

  /// Gives the stage an earlier task's folder with one file in it.
  void AddInput(const std::string& role, std::string_view file, std::string_view content) {
    const std::filesystem::path folder = MakeInput(role);
    std::ofstream(folder / file) << content;
  }

  /// Adds plain averages as the results of the align tasks.
  void AddAlignments(const std::string& prefix, const ModelConfig& config, int64_t kv_heads) {
    const auto averages = Conversion::Average(config, kv_heads);
    ASSERT_TRUE(averages.ok()) << averages.status();
    for (size_t layer = 0; layer < averages->alignments().size(); ++layer) {
      const std::filesystem::path folder = MakeInput(prefix + "align/" + std::to_string(layer));
      ASSERT_TRUE(SaveTensors(folder / "alignment.safetensors", averages->alignments()[layer].ToTensors()).ok());
    }
  }

  std::filesystem::path MakeInput(const std::string& role) {
    const std::string relative = "inputs/" + role;
    (*assignment_.mutable_inputs())[role] = relative;
    std::filesystem::create_directories(work() / relative);
    return work() / relative;
  }

  TemporaryFolder folder_;
  v1::TaskAssignment assignment_;
  std::unique_ptr<Communicator> communicator_ = MakeSelfCommunicator();
  std::unique_ptr<WorkerLink> link_;
};

}  // namespace regroup
