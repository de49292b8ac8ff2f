#include "services/common/remote/upload_journal.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

namespace regroup {
namespace {

namespace fs = std::filesystem;

class UploadJournalTest : public ::testing::Test {
 protected:
  UploadJournalTest() {
    std::string pattern = (fs::temp_directory_path() / "journal_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~UploadJournalTest() override { fs::remove_all(folder_); }
  fs::path File() const { return folder_ / "journal.json"; }

  fs::path folder_;
};

TEST_F(UploadJournalTest, KeepsWhatWasSent) {
  std::string id;
  {
    absl::StatusOr<UploadJournal> journal = UploadJournal::Open(File());
    ASSERT_TRUE(journal.ok()) << journal.status();
    id = journal->id();
    EXPECT_EQ(id.size(), 32u);
    EXPECT_TRUE(journal->Find("a").upload.empty());
    ASSERT_TRUE(journal->Put("a", {.upload = "id", .part_bytes = 5}).ok());
    ASSERT_TRUE(journal->AddPart("a", 2, {.tag = "\"tag\"", .sha256 = "digest"}).ok());
    ASSERT_TRUE(journal->NoteCompleting().ok());
  }
  const absl::StatusOr<UploadJournal> again = UploadJournal::Open(File());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->is_completing());
  const SentFile sent = again->Find("a");
  EXPECT_EQ(sent.upload, "id");
  EXPECT_EQ(sent.part_bytes, 5u);
  ASSERT_EQ(sent.parts.size(), 1u);
  EXPECT_EQ(sent.parts.at(2).tag, "\"tag\"");
  EXPECT_EQ(sent.parts.at(2).sha256, "digest");
  EXPECT_EQ(again->id(), id);
  EXPECT_FALSE(sent.is_complete);
}

TEST_F(UploadJournalTest, IsDamagedIfItIsNotWhatWasWritten) {
  for (const char* text :
       {"", "{", "[]", "{\"completing\": 1}", "{\"id\": \"a\", \"completing\": false, \"files\": {\"a\": {}}}"}) {
    std::ofstream(File()) << text;
    EXPECT_TRUE(absl::IsDataLoss(UploadJournal::Open(File()).status())) << text;
  }
}

}  // namespace
}  // namespace regroup
