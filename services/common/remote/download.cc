#include "services/common/remote/download.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "services/common/base/file_descriptor.h"
#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/patience.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

/// Returns the name of a Git blob with this content: SHA-1 of "blob <bytes>", a zero byte and the content.
absl::StatusOr<std::string> GitBlobName(const fs::path& file, uint64_t bytes, const std::function<void()>& tick) {
  const FileDescriptor input(open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!input.valid()) return ErrnoStatus(errno, "open", file);
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha1(), nullptr);
  const std::string head = fmt::format("blob {}", bytes);
  EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1);
  std::array<char, 1 << 16> buffer;
  for (ssize_t got; (got = read(input.get(), buffer.data(), buffer.size())) != 0;) {
    if (got < 0) return ErrnoStatus(errno, "read", file);
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(got));
    tick();
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), digest.data(), &size);
  return absl::BytesToHexString(std::string(reinterpret_cast<const char*>(digest.data()), size));
}

/// Returns true if a request can ask for this version, or the content can be compared with a digest.
bool HasVersion(const RemoteFile& file) {
  return !file.entity_tag.empty() || !file.sha256.empty() || !file.git_sha1.empty();
}

/// Writes the answers for one file at the end of a local one.
class PartWriter {
 public:
  PartWriter(const RemoteFile& file, const fs::path& path, FileDescriptor descriptor, uint64_t bytes,
             const CountBytes& count)
      : file_(file), path_(path), descriptor_(std::move(descriptor)), bytes_(bytes), count_(count) {}

  static absl::StatusOr<PartWriter> Open(const RemoteFile& file, const fs::path& path, const CountBytes& count) {
    FileDescriptor descriptor(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat status;
    if (!descriptor.valid() || fstat(descriptor.get(), &status) != 0) return ErrnoStatus(errno, "open", path);
    PartWriter writer(file, path, std::move(descriptor), static_cast<uint64_t>(status.st_size), count);
    count(static_cast<int64_t>(writer.bytes_));
    if (writer.bytes_ > file.bytes) REGROUP_RETURN_IF_ERROR(writer.StartAnew());
    return writer;
  }

  uint64_t bytes() const { return bytes_; }

  absl::Status StartAnew() {
    if (ftruncate(descriptor_.get(), 0) != 0) return ErrnoStatus(errno, "shorten", path_);
    count_(-static_cast<int64_t>(bytes_));
    bytes_ = 0;
    return absl::OkStatus();
  }

  /// Prepares for the answer to a request for the bytes from bytes() on.
  void Expect() { has_begun_ = false; }

  absl::Status Receive(const HttpResponse& head, std::string_view piece) {
    if (!has_begun_) REGROUP_RETURN_IF_ERROR(Begin(head));
    if (bytes_ + piece.size() > file_.bytes) {
      return absl::AbortedError(fmt::format("{} is longer than it was listed", file_.name));
    }
    while (!piece.empty()) {
      const ssize_t written = write(descriptor_.get(), piece.data(), piece.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return ErrnoStatus(errno, "write", path_);
      piece.remove_prefix(static_cast<size_t>(written));
      bytes_ += static_cast<uint64_t>(written);
      count_(written);
    }
    return absl::OkStatus();
  }

  absl::Status Sync() { return fsync(descriptor_.get()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "sync", path_); }

 private:
  /// A server that ignores ranges sends the file from its start.
  absl::Status Begin(const HttpResponse& head) {
    has_begun_ = true;
    if (head.status == 200) return bytes_ == 0 ? absl::OkStatus() : StartAnew();
    const auto range = head.headers.find("content-range");
    const std::string expected = fmt::format("bytes {}-", bytes_);
    if (range != head.headers.end() && absl::StartsWithIgnoreCase(range->second, expected)) return absl::OkStatus();
    return absl::UnavailableError(
        fmt::format("the answer for {} has another part of it than was asked for", file_.name));
  }

  const RemoteFile& file_;
  fs::path path_;
  FileDescriptor descriptor_;
  uint64_t bytes_;
  CountBytes count_;
  bool has_begun_ = false;
};

/// Sends requests until the part has all bytes.
absl::Status Complete(const Address& address, const RemoteFile& file, const RemoteSettings& settings,
                      HttpClient& client, const CountBytes& count, PartWriter& writer) {
  const std::string what = fmt::format("{}, {}", address.text, file.name);
  for (int failures = 0; writer.bytes() < file.bytes;) {
    // Parts of two versions must not be joined.
    if (!HasVersion(file)) REGROUP_RETURN_IF_ERROR(writer.StartAnew());
    const uint64_t before = writer.bytes();
    const uint64_t version = settings.credentials->version();
    const HttpRequest request = MakeReadRequest(address, file, before, settings);
    writer.Expect();
    const auto sink = [&](const HttpResponse& head, std::string_view piece) { return writer.Receive(head, piece); };
    const auto keep_alive = [&](uint64_t) {
      count(0);
      return true;
    };
    const absl::StatusOr<HttpResponse> response = client.Send(request, sink, keep_alive);
    absl::Status status = response.ok() ? StatusOf(*response, what) : response.status();
    if (absl::IsAborted(status)) {
      return absl::UnavailableError(
          fmt::format("{}: the file changed while it was read: {}", what, std::string(status.message())));
    }
    if (status.ok() && writer.bytes() < file.bytes) {
      status = absl::UnavailableError(
          fmt::format("{}: the answer ended after {} of {} bytes", what, writer.bytes(), file.bytes));
    }
    if (status.ok()) break;
    if (response.ok() && settings.AdaptTo(request, *response, version)) continue;
    if (!absl::IsUnavailable(status)) return status;
    failures = writer.bytes() > before ? 1 : failures + 1;
    if (failures == kTries) return status;
    LogWarning("a transfer stopped and will go on", {{"file", file.name},
                                                     {"bytes", writer.bytes()},
                                                     {"of", file.bytes},
                                                     {"reason", std::string(status.message())}});
    RestAfter(failures, response.ok() ? RetryAfterSeconds(*response) : std::nullopt, [&] { count(0); });
  }
  return writer.Sync();
}

/// DATA_LOSS if the content does not have the listed digest.
absl::Status CheckDigest(const Address& address, const RemoteFile& file, const fs::path& part,
                         const CountBytes& count) {
  const bool has_sha256 = !file.sha256.empty();
  const std::string& listed = has_sha256 ? file.sha256 : file.git_sha1;
  if (listed.empty()) return absl::OkStatus();
  const auto tick = [&] { count(0); };
  REGROUP_ASSIGN_OR_RETURN(const std::string found,
                           has_sha256 ? OwnFileDigest(part, tick) : GitBlobName(part, file.bytes, tick));
  if (found == listed) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}, {}: the content has {} {}; {} is listed", address.text, file.name,
                                         has_sha256 ? "SHA-256" : "Git name", found, listed));
}

}  // namespace

absl::Status Download(const Address& address, const RemoteFile& file, const RemoteSettings& settings,
                      HttpClient& client, const fs::path& part, const CountBytes& count) {
  REGROUP_ASSIGN_OR_RETURN(PartWriter writer, PartWriter::Open(file, part, count));
  bool goes_on = writer.bytes() > 0;
  while (true) {
    REGROUP_RETURN_IF_ERROR(Complete(address, file, settings, client, count, writer));
    const absl::Status checked = CheckDigest(address, file, part, count);
    if (!absl::IsDataLoss(checked)) return checked;
    REGROUP_RETURN_IF_ERROR(writer.StartAnew());
    // The bytes that an earlier try left may be wrong, so the file is downloaded once more from its start.
    if (!goes_on) return checked;
    goes_on = false;
  }
}

}  // namespace regroup
