// Tests the token files of a job's text in the working folder. Run alone, and by mpirun with two ranks.
#include "trainer/stages/job_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "tests/unit/trainer/fixtures/tiny_llama.h"
#include "tests/unit/trainer/fixtures/world.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr char kTokenizer[] = R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
  "decoder": null, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "</s>": 2}, "merges": []}})";

class ReadWindowsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (World().rank() == 0) {
      TinyLlama{}.Write(source_folder_);
      std::ofstream(source_folder_ / "tokenizer.json") << kTokenizer;
      WriteData(40);
    }
    ASSERT_TRUE(World().Barrier().ok());
    source_ = std::make_unique<SourceModel>(*SourceModel::Open(source_folder_));
    link_ = *WorkerLink::Connect({}, World().rank(), World().size());
  }
  void WriteData(int texts) const {
    std::ofstream stream(data_);
    for (int i = 0; i < texts; ++i) stream << "{\"text\": \"" << (i % 3 == 0 ? "abba" : "babaab") << "\"}\n";
  }
  /// Applies a change on rank 0 while the other ranks wait.
  template <typename Change>
  static void OnFirst(Change change) {
    ASSERT_TRUE(World().Barrier().ok());
    if (World().rank() == 0) change();
    ASSERT_TRUE(World().Barrier().ok());
  }
  absl::StatusOr<TokenWindows> Read(TokenWindowsOptions options = {.sequence_length = 8}) {
    StageContext context{assignment_, folder_, folder_ / "attempt", World(), *link_, at::Device(at::kCPU)};
    const JobText text{.key = "finetune.data", .names = {data_.string()}, .kind = options.kind, .field = options.field};
    return ReadWindows(context, text, *source_, std::move(options));
  }
  static std::vector<std::vector<int32_t>> All(const TokenWindows& windows) {
    std::vector<std::vector<int32_t>> all;
    for (int64_t i = 0; i < windows.windows(); ++i) all.push_back(windows.Window(i));
    return all;
  }
  /// Returns the token files with their modification times.
  std::map<std::string, fs::file_time_type> Files() const {
    std::map<std::string, fs::file_time_type> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "tokens")) {
      files[entry.path().string()] = entry.last_write_time();
    }
    return files;
  }

  const fs::path folder_ = SharedFolder("job_text");
  const fs::path source_folder_ = folder_ / "source";
  const fs::path data_ = folder_ / "data.jsonl";
  v1::TaskAssignment assignment_;
  std::unique_ptr<SourceModel> source_;
  std::unique_ptr<WorkerLink> link_;
};

TEST_F(ReadWindowsTest, GivesEveryRankTheWindowsOfTheText) {
  const auto windows = Read();
  ASSERT_TRUE(windows.ok()) << windows.status();
  const auto expected = TokenWindows::Build(data_, **LoadTokenizer(source_folder_), {.sequence_length = 8});
  EXPECT_EQ(All(*windows), All(*expected));
  EXPECT_EQ(windows->Documents(3), expected->Documents(3));
}

TEST_F(ReadWindowsTest, TokenisesOnce) {
  const auto once = Read();
  ASSERT_TRUE(once.ok()) << once.status();
  const auto files = Files();
  EXPECT_EQ(files.size(), 1U);
  const auto again = Read({.sequence_length = 4});
  ASSERT_TRUE(again.ok()) << again.status();
  // A part of the text is read from the file of the whole text.
  const auto some = Read({.sequence_length = 8, .max_windows = 2});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_EQ(some->windows(), 2);
  EXPECT_EQ(Files(), files);
}

TEST_F(ReadWindowsTest, ReadsNoMoreTextThanItNeeds) {
  OnFirst([&] { WriteData(5000); });
  const auto some = Read({.sequence_length = 8, .max_windows = 2});
  ASSERT_TRUE(some.ok()) << some.status();
  EXPECT_LT(some->texts(), 5000);
}

TEST_F(ReadWindowsTest, MakesADamagedFileAgain) {
  const auto before = Read();
  ASSERT_TRUE(before.ok()) << before.status();
  const auto expected = All(*before);
  const std::string file = Files().begin()->first;
  for (const bool shortens : {false, true}) {
    OnFirst([&] {
      if (shortens) return fs::resize_file(file, 150);
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekp(130);
      stream.put(7);
    });
    const auto again = Read();
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(All(*again), expected);
  }
}

TEST_F(ReadWindowsTest, AnotherTextOrTokenizerHasAnotherFile) {
  ASSERT_TRUE(Read().ok());
  OnFirst([&] { WriteData(41); });
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(Files().size(), 2U);
  OnFirst([&] { std::ofstream(source_folder_ / "tokenizer_config.json") << R"({"eos_token": "</s>"})"; });
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(Files().size(), 3U);
}

TEST_F(ReadWindowsTest, AnotherFieldHasAnotherFile) {
  OnFirst([&] { std::ofstream(data_) << "{\"text\": \"abba\", \"body\": \"bbbb\"}\n"; });
  const auto texts = Read({.sequence_length = 4});
  const auto bodies = Read({.sequence_length = 4, .field = "body"});
  ASSERT_TRUE(texts.ok() && bodies.ok());
  EXPECT_NE(All(*texts), All(*bodies));
  EXPECT_EQ(Files().size(), 2U);
}

TEST_F(ReadWindowsTest, NamesTheKeyAndTheFile) {
  if (World().size() > 1) GTEST_SKIP() << "the other ranks would wait, until mpirun ends them";
  std::ofstream(data_) << "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
  const auto texts = Read();
  EXPECT_EQ(texts.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(texts.status().message()), HasSubstr("finetune.data: " + data_.string() + ":1: "));
  const auto instructions = Read({.sequence_length = 4, .kind = DataKind::kInstructions});
  EXPECT_TRUE(instructions.ok()) << instructions.status();
  fs::remove(data_);
  EXPECT_EQ(Read().status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace regroup
