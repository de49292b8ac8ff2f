#include "services/common/remote/remote_files.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <set>

#include "services/common/base/logging.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/patience.h"
#include "services/common/remote/remote_hosts.h"

namespace regroup {
namespace {

/// Weights and programs of other formats, which are large and are not read.
constexpr std::array kForeign = {".bin",  ".ckpt",    ".engine",  ".ggml",   ".gguf", ".gitattributes", ".h5",
                                 ".nemo", ".mlmodel", ".msgpack", ".npz",    ".onnx", ".onnx_data",     ".ot",
                                 ".pt",   ".pth",     ".tflite",  ".tar.gz", ".zip"};
constexpr std::string_view kWeights = ".safetensors";
/// Mistral's own format, beside the same weights in that of Transformers.
constexpr std::string_view kConsolidated = "consolidated";

bool IsForeign(const std::string& name) {
  return std::any_of(kForeign.begin(), kForeign.end(), [&](const char* ending) { return name.ends_with(ending); });
}

std::string LastPart(const std::string& path) { return path.substr(path.rfind('/') + 1); }
bool IsPattern(const std::string& path) { return LastPart(path).find_first_of("*?[") != std::string::npos; }

absl::Status CheckListing(const RemoteListing& listing, const Address& address) {
  if (listing.files.empty()) return absl::NotFoundError(fmt::format("{} names no files", address.text));
  std::set<std::string> names;
  for (const RemoteFile& file : listing.files) {
    if (!IsFileName(file.name)) {
      return absl::InvalidArgumentError(fmt::format("{} has the object '{}', whose name cannot be that of a file",
                                                    address.text, PrintableText(file.name)));
    }
    names.insert(file.name);
  }
  // "a" and "a/b" may both be objects, but not a file and a folder.
  for (const std::string& name : names) {
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      if (!names.contains(name.substr(0, slash))) continue;
      return absl::InvalidArgumentError(fmt::format("{} has both '{}' and '{}'", address.text,
                                                    PrintableText(name.substr(0, slash)), PrintableText(name)));
    }
  }
  return absl::OkStatus();
}

/// Returns true for the names that the path means: the file or the files of the folder of this name, or those that fit
/// the pattern.
bool Means(const std::string& path, const std::string& name) {
  if (path.empty()) return true;
  if (IsPattern(path)) return fnmatch(path.c_str(), name.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
  return name == path || name.starts_with(path + "/");
}

/// Makes the names relative to the folder above the path's last part.
std::vector<RemoteFile> Below(std::vector<RemoteFile> files, const std::string& path) {
  const size_t folder = path.size() - LastPart(path).size();
  for (RemoteFile& file : files) file.name = file.name.substr(folder);
  // An object of exactly this name is a file, whatever lies "below" it.
  const auto exact = std::find_if(files.begin(), files.end(), [&](const RemoteFile& file) {
    return !IsPattern(path) && file.name == LastPart(path);
  });
  if (exact != files.end()) return {*exact};
  return files;
}

absl::StatusOr<RemoteListing> ListHost(const Address& address, Wanted wanted, const ListingCall& call) {
  switch (address.kind) {
    case AddressKind::kHub:
      return ListHub(address, call);
    case AddressKind::kBucket:
      return ListBucket(address, call);
    case AddressKind::kWeb:
      return ListWeb(address, wanted, call);
  }
  return absl::InternalError("an address of no kind");
}

/// Puts a folder's name before the names of its files.
void Move(std::vector<RemoteFile>& files, const std::string& folder) {
  for (RemoteFile& file : files) file.name = fmt::format("{}/{}", folder, file.name);
}

}  // namespace

std::vector<RemoteFile> OfCheckpoint(const std::vector<RemoteFile>& files) {
  const auto is_of_transformers = [](const RemoteFile& file) { return file.name.starts_with("model"); };
  const bool has_weights = std::any_of(files.begin(), files.end(), [&](const RemoteFile& file) {
    return is_of_transformers(file) && file.name.ends_with(kWeights);
  });
  std::vector<RemoteFile> kept;
  for (const RemoteFile& file : files) {
    const bool is_weights = file.name.ends_with(kWeights);
    const bool is_elsewhere = is_weights && file.name.find('/') != std::string::npos;
    const bool is_copy = is_weights && has_weights && file.name.starts_with(kConsolidated);
    if (!IsForeign(file.name) && !is_elsewhere && !is_copy) kept.push_back(file);
  }
  return kept;
}

absl::StatusOr<RemoteListing> ListRemoteFiles(const Address& address, Wanted wanted, const RemoteSettings& settings,
                                              HttpClient& client, const Tick& tick) {
  if (!IsBelowOneOf(address.text, settings.rules.allowed)) {
    return absl::PermissionDeniedError(
        fmt::format("{} is not below a prefix of this worker's --allow-remote", address.text));
  }
  const bool is_web = address.kind == AddressKind::kWeb;
  const ListingCall call{.settings = settings,
                         .client = client,
                         .keeps = [&](const std::string& name) { return is_web || Means(address.path, name); },
                         .tick = tick};
  REGROUP_ASSIGN_OR_RETURN(RemoteListing listing, ListHost(address, wanted, call));
  const bool is_web_folder = address.kind == AddressKind::kWeb && wanted == Wanted::kCheckpoint;
  const bool is_whole = address.path.empty() || is_web_folder;
  if (is_whole) {
    if (wanted == Wanted::kCheckpoint) listing.files = OfCheckpoint(listing.files);
    Move(listing.files, LastPart(LocalName(address)));
  } else {
    listing.files = Below(listing.files, address.path);
    if (wanted == Wanted::kCheckpoint) {
      const std::string folder = LastPart(address.path);
      for (RemoteFile& file : listing.files)
        file.name = file.name.substr(std::min(folder.size() + 1, file.name.size()));
      listing.files = OfCheckpoint(listing.files);
      Move(listing.files, folder);
    }
  }
  REGROUP_RETURN_IF_ERROR(CheckListing(listing, address));
  return listing;
}

HttpRequest MakeReadRequest(const Address& address, const RemoteFile& file, uint64_t offset,
                            const RemoteSettings& settings) {
  if (address.kind == AddressKind::kBucket) return MakeBucketRead(address, file, offset, settings);
  HttpRequest request =
      address.kind == AddressKind::kHub ? MakeHubRead(file, settings) : HttpRequest{.url = file.locator};
  if (offset > 0) request.headers["range"] = fmt::format("bytes={}-", offset);
  // A compressed transfer would have another length.
  request.headers["accept-encoding"] = "identity";
  if (!file.entity_tag.empty()) request.headers["if-match"] = file.entity_tag;
  return request;
}

bool IsFileName(const std::string& name) {
  if (name.empty() || name.size() > 1024 || name.front() == '/' || name.ends_with('/')) return false;
  const auto is_odd = [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; };
  if (std::any_of(name.begin(), name.end(), is_odd)) return false;
  const std::string framed = "/" + name + "/";
  return framed.find("/../") == std::string::npos && framed.find("/./") == std::string::npos &&
         framed.find("//") == std::string::npos;
}

absl::Status CheckCount(size_t files, const Address& address) {
  if (files <= kMostFiles) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} names more than {} files; write a longer prefix", address.text, kMostFiles));
}

absl::StatusOr<HttpResponse> SendPatiently(const std::function<HttpRequest()>& make, std::string_view what,
                                           const RemoteSettings& settings, HttpClient& client, const Tick& tick) {
  const auto keep_alive = [&](uint64_t) {
    tick();
    return true;
  };
  for (int tried = 1;; ++tried) {
    const uint64_t version = settings.credentials->version();
    const HttpRequest request = make();
    absl::StatusOr<HttpResponse> response = client.Send(request, nullptr, keep_alive);
    const absl::Status status = response.ok() ? StatusOf(*response, what) : response.status();
    if (status.ok()) return response;
    if (response.ok() && settings.AdaptTo(request, *response, version)) {
      tried = 0;
      continue;
    }
    if (!absl::IsUnavailable(status) || tried == kTries) return status;
    LogWarning("a request will be sent again",
               {{"request", std::string(what)}, {"reason", std::string(status.message())}});
    RestAfter(tried, response.ok() ? RetryAfterSeconds(*response) : std::nullopt, tick);
  }
}

absl::StatusOr<HttpResponse> SendPatiently(const std::function<HttpRequest()>& make, std::string_view what,
                                           const ListingCall& call) {
  return SendPatiently(make, what, call.settings, call.client, call.tick);
}

}  // namespace regroup
