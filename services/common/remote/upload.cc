#include "services/common/remote/upload.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <tinyxml2.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/checksums.h"
#include "services/common/base/file_descriptor.h"
#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/for_each_index.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/patience.h"
#include "services/common/remote/remote_hosts.h"
#include "services/common/remote/s3_request.h"
#include "services/common/remote/upload_journal.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostParts = 10'000;
constexpr int kJoinTimeoutS = 600;
/// User metadata of every object, so that an upload knows its own ones.
constexpr char kUploadHeader[] = "x-amz-meta-regroup-upload";

struct LocalFile {
  std::string name;
  uint64_t bytes;
};

absl::StatusOr<std::vector<LocalFile>> FilesOf(const fs::path& folder) {
  std::vector<LocalFile> files;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (!entry->is_regular_file(error)) continue;
    files.push_back({entry->path().lexically_relative(folder).string(), entry->file_size(error)});
  }
  if (error) return ErrnoStatus(error.value(), "list", folder);
  std::sort(files.begin(), files.end(), [](const LocalFile& a, const LocalFile& b) { return a.name < b.name; });
  return files;
}

/// Returns the text of a child of the answer's root element; empty if the answer is another one.
std::string ElementOf(const std::string& xml, const char* root, const char* child) {
  tinyxml2::XMLDocument document;
  if (document.Parse(xml.data(), xml.size()) != tinyxml2::XML_SUCCESS) return "";
  const tinyxml2::XMLElement* const element = document.FirstChildElement(root);
  const tinyxml2::XMLElement* const inner = element == nullptr ? nullptr : element->FirstChildElement(child);
  return inner == nullptr || inner->GetText() == nullptr ? "" : inner->GetText();
}

/// Text of an XML element.
std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : std::string(1, c);
  }
  return escaped;
}

absl::StatusOr<std::vector<RemoteFile>> ObjectsBelow(const Address& target, const RemoteSettings& settings,
                                                     HttpClient& client, const Tick& tick) {
  const ListingCall call{
      .settings = settings, .client = client, .keeps = [](const std::string&) { return true; }, .tick = tick};
  return ListObjects(target, target.path + "/", call);
}

absl::Status NotFree(const Address& target, const RemoteFile& object) {
  return absl::AlreadyExistsError(
      fmt::format("{} holds '{}', which this job did not write; remove what is there or choose another prefix",
                  target.text, object.name));
}

absl::Status CheckAllowed(const Address& target, const RemoteSettings& settings) {
  if (IsBelowOneOf(target.text, settings.rules.allowed)) return absl::OkStatus();
  return absl::PermissionDeniedError(
      fmt::format("{} is not below a prefix of this worker's --allow-remote", target.text));
}

class FolderUpload {
 public:
  FolderUpload(const fs::path& folder, const Address& target, const RemoteSettings& settings,
               const UploadOptions& options, const CountBytes& count, UploadJournal& journal)
      : folder_(folder),
        target_(target),
        settings_(settings),
        options_(options),
        count_(count),
        tick_([&count] { count(0); }),
        journal_(journal),
        client_(settings.HttpRulesOf(AddressKind::kBucket)) {}

  absl::Status Run() {
    REGROUP_ASSIGN_OR_RETURN(files_, FilesOf(folder_));
    REGROUP_ASSIGN_OR_RETURN(const bool is_done, IsDone());
    if (is_done) return absl::OkStatus();
    for (const LocalFile& file : files_) REGROUP_RETURN_IF_ERROR(Begin(file));
    REGROUP_RETURN_IF_ERROR(SendParts());
    REGROUP_RETURN_IF_ERROR(CheckContents());
    if (!journal_.is_completing()) {
      // Hours may have passed since the first look.
      REGROUP_RETURN_IF_ERROR(CheckIsFree(target_, settings_, client_, tick_));
      REGROUP_RETURN_IF_ERROR(journal_.NoteCompleting());
    }
    for (const LocalFile& file : files_) REGROUP_RETURN_IF_ERROR(Finish(file));
    REGROUP_RETURN_IF_ERROR(CheckObjects());
    return WriteMarker();
  }

 private:
  struct Part {
    const LocalFile* file;
    int number;
    uint64_t offset;
    uint64_t bytes;
  };

  /// The writer of an object.
  enum class Owner { kNobody, kThisUpload, kAnother };

  std::string KeyOf(const std::string& name) const { return fmt::format("{}/{}", target_.path, name); }

  absl::StatusOr<HttpResponse> Send(const S3Call& call, HttpClient& client, int stall_timeout_s = 0) const {
    const auto make = [&] {
      HttpRequest request = MakeS3Request(call, settings_, std::time(nullptr));
      request.stall_timeout_s = stall_timeout_s;
      return request;
    };
    return SendPatiently(make, fmt::format("s3://{}/{}", call.bucket, call.key), settings_, client, tick_);
  }

  /// Sends a request that makes an object, on the condition that there is none, unless the server knows no conditions.
  absl::StatusOr<HttpResponse> SendIfAbsent(S3Call call, int stall_timeout_s = 0) {
    if (sends_conditions_) {
      call.headers.emplace("if-none-match", "*");
      absl::StatusOr<HttpResponse> response = Send(call, client_, stall_timeout_s);
      if (!absl::IsUnimplemented(response.status())) return response;
      LogWarning("the bucket knows no conditions, so nothing keeps two uploads to one address apart",
                 {{"object", call.key}});
      sends_conditions_ = false;
      call.headers.erase("if-none-match");
    }
    return Send(call, client_, stall_timeout_s);
  }

  const LocalFile* FindFile(const std::string& key) const {
    const auto found =
        std::find_if(files_.begin(), files_.end(), [&](const LocalFile& file) { return KeyOf(file.name) == key; });
    return found == files_.end() ? nullptr : &*found;
  }

  /// Returns true if the marker says that this upload is complete.
  absl::StatusOr<bool> IsDone() {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<RemoteFile> found, ObjectsBelow(target_, settings_, client_, tick_));
    for (const RemoteFile& object : found) {
      if (object.locator == KeyOf(kMarker)) return IsOwnMarker(object);
    }
    for (const RemoteFile& object : found) {
      if (!journal_.is_completing() || FindFile(object.locator) == nullptr) return NotFree(target_, object);
    }
    if (journal_.is_completing()) return ForgetLost(found);
    return false;
  }

  /// Returns true for the marker that this upload wrote, ALREADY_EXISTS for another one.
  absl::StatusOr<bool> IsOwnMarker(const RemoteFile& marker) {
    REGROUP_ASSIGN_OR_RETURN(const HttpResponse response,
                             Send({.bucket = target_.place, .key = marker.locator}, client_));
    const absl::StatusOr<nlohmann::json> content = ParseJson(response.body);
    if (content.ok() && content->is_object() && content->value("upload", "") == journal_.id()) return true;
    return NotFree(target_, marker);
  }

  /// Lets files be sent again whose objects are not there any more, or are others. Returns false.
  absl::StatusOr<bool> ForgetLost(const std::vector<RemoteFile>& found) {
    for (const LocalFile& file : files_) {
      if (!journal_.Find(file.name).is_complete) continue;
      const bool is_there = std::any_of(found.begin(), found.end(), [&](const RemoteFile& object) {
        return object.locator == KeyOf(file.name) && object.bytes == file.bytes;
      });
      if (!is_there) REGROUP_RETURN_IF_ERROR(journal_.Put(file.name, SentFile()));
    }
    return false;
  }

  /// Compares the bucket with the folder, once all objects should be there.
  absl::Status CheckObjects() {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<RemoteFile> found, ObjectsBelow(target_, settings_, client_, tick_));
    for (const RemoteFile& object : found) {
      if (FindFile(object.locator) == nullptr) return NotFree(target_, object);
    }
    REGROUP_RETURN_IF_ERROR(ForgetLost(found).status());
    for (const LocalFile& file : files_) {
      if (!journal_.Find(file.name).is_complete) return Removed(file);
    }
    return absl::OkStatus();
  }

  /// Makes the file's multipart upload, unless an earlier call did and the bucket still has it.
  absl::Status Begin(const LocalFile& file) {
    SentFile sent = journal_.Find(file.name);
    if (!sent.is_complete && !sent.upload.empty()) {
      REGROUP_ASSIGN_OR_RETURN(const bool goes_on, HasUpload(file, sent));
      if (goes_on) return absl::OkStatus();
      sent = SentFile();
      // An earlier call may have completed it and died before it noted that; otherwise somebody removed it.
      REGROUP_ASSIGN_OR_RETURN(const Owner owner, OwnerOf(file));
      sent.is_complete = owner == Owner::kThisUpload;
      if (sent.is_complete) return journal_.Put(file.name, sent);
    }
    if (sent.is_complete) return absl::OkStatus();
    REGROUP_ASSIGN_OR_RETURN(const HttpResponse response, Send({.method = "POST",
                                                                .bucket = target_.place,
                                                                .key = KeyOf(file.name),
                                                                .query = {{"uploads", ""}},
                                                                .headers = {{kUploadHeader, journal_.id()}}},
                                                               client_));
    sent.upload = ElementOf(response.body, "InitiateMultipartUploadResult", "UploadId");
    if (sent.upload.empty()) {
      return absl::UnavailableError(fmt::format("{} does not answer as S3 does", HostOf(response.url)));
    }
    sent.part_bytes = std::max(options_.part_bytes, (file.bytes + kMostParts - 1) / kMostParts);
    return journal_.Put(file.name, sent);
  }

  absl::StatusOr<bool> HasUpload(const LocalFile& file, const SentFile& sent) {
    const absl::StatusOr<HttpResponse> response = Send(
        {.bucket = target_.place, .key = KeyOf(file.name), .query = {{"max-parts", "1"}, {"uploadId", sent.upload}}},
        client_);
    if (absl::IsNotFound(response.status())) return false;
    REGROUP_RETURN_IF_ERROR(response.status());
    return true;
  }

  absl::StatusOr<Owner> OwnerOf(const LocalFile& file) {
    if (!journal_.is_completing()) return Owner::kNobody;
    const absl::StatusOr<HttpResponse> response =
        Send({.method = "HEAD", .bucket = target_.place, .key = KeyOf(file.name)}, client_);
    if (absl::IsNotFound(response.status())) return Owner::kNobody;
    REGROUP_RETURN_IF_ERROR(response.status());
    const auto upload = response->headers.find(kUploadHeader);
    const bool is_own = upload != response->headers.end() && upload->second == journal_.id();
    return is_own ? Owner::kThisUpload : Owner::kAnother;
  }

  /// Returns the parts that the bucket does not have; counts those that it has.
  std::vector<Part> MissingParts() const {
    std::vector<Part> missing;
    for (const LocalFile& file : files_) {
      const SentFile sent = journal_.Find(file.name);
      if (sent.is_complete) {
        count_(static_cast<int64_t>(file.bytes));
        continue;
      }
      int number = 1;
      // An empty file has one empty part.
      for (uint64_t offset = 0; offset < file.bytes || number == 1; offset += sent.part_bytes, ++number) {
        const Part part{&file, number, offset, std::min(sent.part_bytes, file.bytes - offset)};
        if (sent.parts.contains(number)) {
          count_(static_cast<int64_t>(part.bytes));
        } else {
          missing.push_back(part);
        }
      }
    }
    return missing;
  }

  absl::Status SendParts() {
    const std::vector<Part> parts = MissingParts();
    const size_t threads = std::min(options_.threads, parts.size());
    std::vector<absl::Status> results(threads);
    std::atomic<size_t> next = 0;
    std::atomic<bool> has_failed = false;
    ForEachIndex(threads, threads, [&](size_t thread) {
      HttpClient client(settings_.HttpRulesOf(AddressKind::kBucket));
      for (size_t i = next++; i < parts.size() && !has_failed; i = next++) {
        results[thread] = SendPart(parts[i], client);
        if (!results[thread].ok()) has_failed = true;
      }
    });
    for (const absl::Status& result : results) REGROUP_RETURN_IF_ERROR(result);
    return absl::OkStatus();
  }

  absl::Status SendPart(const Part& part, HttpClient& client) {
    const fs::path path = folder_ / part.file->name;
    const FileDescriptor input(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!input.valid()) return ErrnoStatus(errno, "open", path);
    const FilePart piece{input.get(), part.offset, part.bytes};
    REGROUP_ASSIGN_OR_RETURN(const std::string digest, DigestOf(piece, path));
    const S3Call call{
        .method = "PUT",
        .bucket = target_.place,
        .key = KeyOf(part.file->name),
        .query = {{"partNumber", std::to_string(part.number)}, {"uploadId", journal_.Find(part.file->name).upload}},
        .file = piece,
        .file_sha256 = digest};
    const absl::StatusOr<HttpResponse> response = Send(call, client);
    if (absl::IsNotFound(response.status())) return Removed(*part.file);
    REGROUP_RETURN_IF_ERROR(response.status());
    const auto tag = response->headers.find("etag");
    if (tag == response->headers.end()) {
      return absl::UnavailableError(fmt::format("{} does not answer as S3 does", HostOf(response->url)));
    }
    count_(static_cast<int64_t>(part.bytes));
    return journal_.AddPart(part.file->name, part.number, {.tag = tag->second, .sha256 = digest});
  }

  /// Adds the bytes to `whole` too, if that is given.
  absl::StatusOr<std::string> DigestOf(const FilePart& part, const fs::path& path, Sha256* whole = nullptr) const {
    Sha256 digest;
    std::vector<char> buffer(size_t{1} << 20);
    for (uint64_t done = 0; done < part.bytes;) {
      const size_t wanted = std::min<uint64_t>(buffer.size(), part.bytes - done);
      const ssize_t got = pread(part.descriptor, buffer.data(), wanted, static_cast<off_t>(part.offset + done));
      if (got < 0) return ErrnoStatus(errno, "read", path);
      if (got == 0) return absl::DataLossError(fmt::format("{} became shorter", path.string()));
      const std::string_view piece(buffer.data(), static_cast<size_t>(got));
      digest.Update(piece);
      if (whole != nullptr) whole->Update(piece);
      done += piece.size();
      tick_();
    }
    return digest.Finish();
  }

  /// Compares what was sent with the files as they are now, and these with the checksums of the result.
  absl::Status CheckContents() {
    REGROUP_ASSIGN_OR_RETURN(const Checksums written, ReadChecksums(folder_ / "regroup" / kChecksumFile));
    for (const LocalFile& file : files_) {
      REGROUP_ASSIGN_OR_RETURN(const std::string digest, CheckParts(file));
      const auto expected = written.find(file.name);
      if (expected != written.end() && expected->second != digest) return Changed(file);
      checksums_[file.name] = digest;
    }
    return absl::OkStatus();
  }

  /// Returns the digest of the whole file, whose parts must be those that were sent.
  absl::StatusOr<std::string> CheckParts(const LocalFile& file) {
    const fs::path path = folder_ / file.name;
    const FileDescriptor input(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!input.valid()) return ErrnoStatus(errno, "open", path);
    const SentFile sent = journal_.Find(file.name);
    if (sent.is_complete) return OwnFileDigest(path, tick_);
    Sha256 whole;
    uint64_t offset = 0;
    for (const auto& [number, part] : sent.parts) {
      const FilePart piece{input.get(), offset, std::min(sent.part_bytes, file.bytes - offset)};
      REGROUP_ASSIGN_OR_RETURN(const std::string digest, DigestOf(piece, path, &whole));
      if (digest != part.sha256) return Changed(file);
      offset += piece.bytes;
    }
    return whole.Finish();
  }

  absl::Status Changed(const LocalFile& file) const {
    return absl::DataLossError(
        fmt::format("{} changed after the result was published", (folder_ / file.name).string()));
  }

  /// Makes the object appear.
  absl::Status Finish(const LocalFile& file) {
    SentFile sent = journal_.Find(file.name);
    if (sent.is_complete) return absl::OkStatus();
    std::string parts;
    for (const auto& [number, part] : sent.parts) {
      parts += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", number, Escaped(part.tag));
    }
    const S3Call call{.method = "POST",
                      .bucket = target_.place,
                      .key = KeyOf(file.name),
                      .query = {{"uploadId", sent.upload}},
                      .body = fmt::format("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts)};
    // A server may need minutes to join the parts.
    const absl::StatusOr<HttpResponse> response = SendIfAbsent(call, kJoinTimeoutS);
    if (absl::IsNotFound(response.status()) || absl::IsAborted(response.status())) {
      // An answer that was lost may have told of success.
      REGROUP_ASSIGN_OR_RETURN(const Owner owner, OwnerOf(file));
      if (owner == Owner::kAnother) return NotFree(target_, {.name = KeyOf(file.name)});
      if (owner == Owner::kNobody) return absl::IsAborted(response.status()) ? Contested(file.name) : Removed(file);
      sent.is_complete = true;
      return journal_.Put(file.name, sent);
    }
    REGROUP_RETURN_IF_ERROR(response.status());
    // An error may come with status 200, because the server answers before it has finished.
    if (ElementOf(response->body, "CompleteMultipartUploadResult", "Key").empty()) {
      return absl::UnavailableError(fmt::format("s3://{}/{} could not be completed", target_.place, KeyOf(file.name)));
    }
    sent.is_complete = true;
    count_(0);
    return journal_.Put(file.name, sent);
  }

  /// The next call sends the file again.
  absl::Status Removed(const LocalFile& file) const {
    return absl::UnavailableError(
        fmt::format("s3://{}/{}: the upload was removed from the bucket", target_.place, KeyOf(file.name)));
  }

  /// The next call looks at what is there by then.
  absl::Status Contested(const std::string& name) const {
    return absl::UnavailableError(
        fmt::format("s3://{}/{}: another program writes the same object", target_.place, KeyOf(name)));
  }

  absl::Status WriteMarker() {
    nlohmann::ordered_json files = nlohmann::ordered_json::object();
    for (const LocalFile& file : files_) {
      files[file.name] = {{"bytes", file.bytes}, {"sha256", checksums_.at(file.name)}};
    }
    const nlohmann::ordered_json marker = {{"job", options_.job}, {"upload", journal_.id()}, {"files", files}};
    const absl::Status status = SendIfAbsent({.method = "PUT",
                                              .bucket = target_.place,
                                              .key = KeyOf(kMarker),
                                              .headers = {{"content-type", "application/json"}},
                                              .body = marker.dump(1) + "\n"})
                                    .status();
    if (!absl::IsAborted(status)) return status;
    const absl::StatusOr<bool> is_own = IsOwnMarker({.name = KeyOf(kMarker), .locator = KeyOf(kMarker)});
    return absl::IsNotFound(is_own.status()) ? Contested(kMarker) : is_own.status();
  }

  const fs::path& folder_;
  const Address& target_;
  const RemoteSettings& settings_;
  const UploadOptions& options_;
  const CountBytes& count_;
  const Tick tick_;
  UploadJournal& journal_;
  HttpClient client_;
  std::vector<LocalFile> files_;
  Checksums checksums_;
  bool sends_conditions_ = true;
};

}  // namespace

absl::Status CheckIsFree(const Address& target, const RemoteSettings& settings, HttpClient& client, const Tick& tick) {
  REGROUP_RETURN_IF_ERROR(CheckAllowed(target, settings));
  REGROUP_ASSIGN_OR_RETURN(const std::vector<RemoteFile> found, ObjectsBelow(target, settings, client, tick));
  return found.empty() ? absl::OkStatus() : NotFree(target, found.front());
}

absl::Status Upload(const fs::path& folder, const Address& target, const RemoteSettings& settings,
                    const UploadOptions& options, const CountBytes& count) {
  REGROUP_RETURN_IF_ERROR(CheckAllowed(target, settings));
  REGROUP_ASSIGN_OR_RETURN(UploadJournal journal, UploadJournal::Open(options.journal));
  return FolderUpload(folder, target, settings, options, count, journal).Run();
}

}  // namespace regroup
