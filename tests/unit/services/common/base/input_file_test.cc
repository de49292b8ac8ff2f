#include "services/common/base/input_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "services/common/base/files.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr uint64_t kMore = uint64_t{64} << 30;

class InputFileTest : public testing::Test {
 protected:
  InputFileTest() {
    std::string pattern = (fs::temp_directory_path() / "input_file_test_XXXXXX").string();
    folder_ = fs::canonical(mkdtemp(pattern.data()));
    fs::create_directories(folder_ / "model");
    Write("model/inside", "inside");
    Write("secret", "secret");
  }
  ~InputFileTest() override {
    SetInputRules({});
    fs::remove_all(folder_);
  }

  fs::path Write(std::string_view name, std::string_view content) const {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  fs::path Link(const fs::path& target, std::string_view name) const {
    fs::create_directories((folder_ / name).parent_path());
    fs::create_symlink(target, folder_ / name);
    return folder_ / name;
  }
  static absl::StatusOr<std::string> ContentOf(absl::StatusOr<InputFile> file) {
    return file.ok() ? file->ReadAll(1000) : file.status();
  }
  static absl::StatusOr<std::string> Read(const fs::path& path) { return ContentOf(InputFile::Open(path)); }
  /// Reads a file that is to be copied from its folder.
  static absl::StatusOr<std::string> ReadToCopy(const fs::path& path) {
    return ContentOf(InputFile::OpenWithin(path.parent_path(), path.filename()));
  }

  fs::path folder_;
};

void ExpectRefusal(const absl::StatusOr<std::string>& read, absl::StatusCode code, const std::string& text) {
  EXPECT_EQ(read.status().code(), code) << read.status();
  EXPECT_THAT(std::string(read.status().message()), HasSubstr(text));
}

TEST_F(InputFileTest, ReadsAFileAndFollowsLinksWithoutRules) {
  EXPECT_EQ(*Read(folder_ / "model/inside"), "inside");
  EXPECT_EQ(*Read(Link("../secret", "model/out")), "secret");
  ExpectRefusal(Read(folder_ / "nowhere"), absl::StatusCode::kNotFound, "nowhere");
  ExpectRefusal(Read(Link("nowhere", "dangling")), absl::StatusCode::kNotFound, "dangling");
}

TEST_F(InputFileTest, RefusesWhatIsNoRegularFileWithoutWaiting) {
  const fs::path fifo = folder_ / "model/fifo", socket_file = folder_ / "model/socket";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {.sun_family = AF_UNIX};
  socket_file.string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ExpectRefusal(Read(fifo), absl::StatusCode::kInvalidArgument, "is a FIFO");
  ExpectRefusal(Read(Link("fifo", "model/to-fifo")), absl::StatusCode::kInvalidArgument, "to-fifo is a FIFO");
  ExpectRefusal(Read(socket_file), absl::StatusCode::kInvalidArgument, "is a socket");
  ExpectRefusal(Read("/dev/zero"), absl::StatusCode::kInvalidArgument, "is a device");
  ExpectRefusal(Read(folder_ / "model"), absl::StatusCode::kInvalidArgument, "is a folder");
  close(listener);
}

TEST_F(InputFileTest, OpensOnlyWhatLiesInARootOnceLinksAreResolved) {
  SetInputRules({.roots = {{folder_ / "model"}}});
  EXPECT_EQ(*Read(folder_ / "model/inside"), "inside");
  EXPECT_EQ(*Read(Link("model/inside", "way-in")), "inside");
  ExpectRefusal(Read(folder_ / "secret"), absl::StatusCode::kPermissionDenied, (folder_ / "model").string());
  ExpectRefusal(Read(Link("../secret", "model/out")), absl::StatusCode::kPermissionDenied, "model/out");
  Link("..", "model/up");
  ExpectRefusal(Read(folder_ / "model/up/secret"), absl::StatusCode::kPermissionDenied, "model/up/secret");
  Write("model-of-others/file", "theirs");
  ExpectRefusal(Read(folder_ / "model-of-others/file"), absl::StatusCode::kPermissionDenied, "model-of-others");
}

TEST_F(InputFileTest, ARootMayBeALinkAndAnEmptyListAllowsNothing) {
  Link("model", "alias");
  SetInputRules({.roots = {{folder_ / "alias"}}});
  EXPECT_EQ(*Read(folder_ / "model/inside"), "inside");
  SetInputRules({.roots = std::vector<fs::path>()});
  ExpectRefusal(Read(folder_ / "model/inside"), absl::StatusCode::kPermissionDenied, "allowed: none");
}

TEST_F(InputFileTest, DoesNotHoldTheWorkingFolderAgainstTheRoots) {
  Write("work/tensors", "tensors");
  SetInputRules({.roots = {{folder_ / "model"}}, .own_folder = folder_ / "work/"});
  EXPECT_EQ(*Read(folder_ / "work/tensors"), "tensors");
  // Names decide, so a link of the model's cannot borrow the exception.
  ExpectRefusal(Read(Link("../work/tensors", "model/others")), absl::StatusCode::kPermissionDenied, "model/others");
  ExpectRefusal(Read(folder_ / "work/../secret"), absl::StatusCode::kPermissionDenied, "secret");
}

TEST_F(InputFileTest, RefusesALinkThatLeavesAFolderWhoseFilesAreCopied) {
  EXPECT_EQ(*ReadToCopy(Link("inside", "model/near")), "inside");
  ExpectRefusal(ReadToCopy(Link("../secret", "model/README.md")), absl::StatusCode::kPermissionDenied, "README.md");
  Link(folder_ / "model", "way");
  EXPECT_EQ(*ReadToCopy(folder_ / "way/inside"), "inside");
  SetInputRules({.roots = {{folder_}}});
  EXPECT_EQ(*ReadToCopy(folder_ / "model/README.md"), "secret");
}

TEST_F(InputFileTest, RefusesAFileOfALinkedSubfolderThatLeavesTheFolder) {
  Write("others/a.jinja", "of others");
  Write("model/mine/a.jinja", "mine");
  Link("../others", "model/templates");
  Link("mine", "model/near-templates");
  const auto read = [&](const char* name) { return ContentOf(InputFile::OpenWithin(folder_ / "model", name)); };
  EXPECT_EQ(*read("mine/a.jinja"), "mine");
  EXPECT_EQ(*read("near-templates/a.jinja"), "mine");
  ExpectRefusal(read("templates/a.jinja"), absl::StatusCode::kPermissionDenied, "templates/a.jinja");
}

TEST_F(InputFileTest, AllowsTheBlobsOfAHuggingFaceCacheOnly) {
  Write("models--x/blobs/1234", "blob");
  EXPECT_EQ(*ReadToCopy(Link("../../blobs/1234", "models--x/snapshots/abcd/tokenizer.json")), "blob");
  Link("../../../blobs/1234", "models--x/snapshots/abcd/templates/a.jinja");
  EXPECT_EQ(*ContentOf(InputFile::OpenWithin(folder_ / "models--x/snapshots/abcd", "templates/a.jinja")), "blob");
  Write("models--x/refs/main", "abcd");
  ExpectRefusal(ReadToCopy(Link("../../refs/main", "models--x/snapshots/abcd/LICENSE")),
                absl::StatusCode::kPermissionDenied, "LICENSE");
  ExpectRefusal(ReadToCopy(Link("../../models--x/blobs/1234", "other/model/LICENSE")),
                absl::StatusCode::kPermissionDenied, "LICENSE");
}

TEST_F(InputFileTest, RefusesAFileAboveTheBoundBeforeReadingIt) {
  const fs::path huge = Write("huge.json", "");
  fs::resize_file(huge, kMore);
  ExpectRefusal(ReadInput(huge), absl::StatusCode::kInvalidArgument, "huge.json has 68719476736 bytes");
  ExpectRefusal(ReadInput(huge), absl::StatusCode::kInvalidArgument, "67108864");
  ExpectRefusal(ReadFile(huge), absl::StatusCode::kInvalidArgument, "67108864");
  EXPECT_EQ(ReadInput(folder_ / "secret", 6).value_or(""), "secret");
  ExpectRefusal(ReadInput(folder_ / "secret", 5), absl::StatusCode::kInvalidArgument, "at most 5");
  // Files of /proc tell no size.
  EXPECT_TRUE(ReadInput("/proc/self/status").ok());
  ExpectRefusal(ReadInput("/proc/self/status", 10), absl::StatusCode::kInvalidArgument, "at most 10");
  ExpectRefusal(ReadFile("/dev/zero", 1000), absl::StatusCode::kInvalidArgument, "/dev/zero");
}

TEST_F(InputFileTest, ToldOfAFileThatBecameShorter) {
  const fs::path path = Write("data", std::string(1000, 'x'));
  absl::StatusOr<InputFile> file = InputFile::Open(path);
  ASSERT_TRUE(file.ok());
  fs::resize_file(path, 400);
  ExpectRefusal(file->ReadAll(1000), absl::StatusCode::kDataLoss, "had 1000 bytes and ended after 400");
}

TEST_F(InputFileTest, TwoListsAllowWhatLiesInBoth) {
  const fs::path a = folder_ / "a", b = folder_ / "b";
  EXPECT_EQ(CommonRoots({}, {}), std::nullopt);
  EXPECT_THAT(CommonRoots({a, b}, {}).value(), testing::ElementsAre(a, b));
  EXPECT_THAT(CommonRoots({}, {b}).value(), testing::ElementsAre(b));
  EXPECT_THAT(CommonRoots({a, b}, {b / "c", folder_ / "d"}).value(), testing::ElementsAre(b / "c"));
  EXPECT_THAT(CommonRoots({a}, {b}).value(), testing::IsEmpty());
}

}  // namespace
}  // namespace regroup
