#include "services/common/base/checksums.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "services/common/base/files.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class ChecksumsTest : public testing::Test {
 protected:
  ChecksumsTest() {
    std::string name = (fs::temp_directory_path() / "checksums-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    fs::create_directories(folder_ / "below");
    Write("b.txt", "abc");
    Write("below/a.bin", "");
  }
  ~ChecksumsTest() override { fs::remove_all(folder_); }

  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  void WriteSums() const { Write(kChecksumFile, FormatChecksums(*ChecksumsOf(folder_))); }
  int Sha256Sum() const {
    return std::system(
        ("cd '" + folder_.string() + "' && sha256sum --strict --quiet -c SHA256SUMS >/dev/null 2>&1").c_str());
  }
  absl::Status Check() const { return CheckFiles(folder_, *ReadChecksums(folder_ / kChecksumFile)); }

  fs::path folder_;
};

TEST_F(ChecksumsTest, AreThoseOfTheStandard) {
  // The digests of "abc" and of nothing are in FIPS 180-2 and its examples.
  EXPECT_EQ(FormatChecksums(*ChecksumsOf(folder_)),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b.txt\n"
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  below/a.bin\n");
}

TEST_F(ChecksumsTest, AreReadBySha256sum) {
  WriteSums();
  EXPECT_EQ(Sha256Sum(), 0);
  EXPECT_TRUE(Check().ok()) << Check();
  Write("below/a.bin", "x");
  EXPECT_NE(Sha256Sum(), 0);
}

TEST_F(ChecksumsTest, NameTheFileThatDiffers) {
  WriteSums();
  Write("b.txt", "abd");
  EXPECT_EQ(Check().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Check().message()), HasSubstr((folder_ / "b.txt").string() + " is damaged"));
}

TEST_F(ChecksumsTest, NameTheFileThatIsMissing) {
  WriteSums();
  fs::remove(folder_ / "below/a.bin");
  EXPECT_EQ(Check().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Check().message()), HasSubstr("below/a.bin is missing"));
}

TEST_F(ChecksumsTest, ManyFilesAreAllCompared) {
  for (int i = 0; i < 100; ++i) Write("file-" + std::to_string(i), std::to_string(i));
  WriteSums();
  EXPECT_TRUE(Check().ok()) << Check();
  Write("file-57", "x");
  EXPECT_THAT(std::string(Check().message()), HasSubstr("file-57"));
}

TEST_F(ChecksumsTest, ALineThatIsNoChecksumIsRefused) {
  const std::string digest(64, 'a');
  for (const std::string& line :
       {std::string("x"), digest, digest + "  ", digest + " b.txt", digest + "  ../b.txt", digest + "  /b.txt",
        digest + "  below/../../b.txt", std::string(64, 'g') + "  b.txt"}) {
    Write(kChecksumFile, line + "\n");
    EXPECT_EQ(ReadChecksums(folder_ / kChecksumFile).status().code(), absl::StatusCode::kDataLoss) << line;
  }
}

TEST_F(ChecksumsTest, ANameThatSha256sumWouldWriteOtherwiseIsRefused) {
  Write("a\nb", "");
  EXPECT_EQ(ChecksumsOf(folder_).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace regroup
