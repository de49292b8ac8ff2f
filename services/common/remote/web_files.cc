// Files of a web server, which lists none: for a checkpoint, the names that Transformers writes are tried.
#include <fmt/format.h>

#include <array>
#include <set>

#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "services/common/remote/remote_hosts.h"

namespace regroup {
namespace {

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kOneFile[] = "model.safetensors";
constexpr std::array kOptional = {"added_tokens.json",
                                  "chat_template.jinja",
                                  "generation_config.json",
                                  "merges.txt",
                                  "preprocessor_config.json",
                                  "source.spm",
                                  "special_tokens_map.json",
                                  "spiece.model",
                                  "target.spm",
                                  "tokenizer.json",
                                  "tokenizer.model",
                                  "tokenizer_config.json",
                                  "vocab.json",
                                  "vocab.txt"};

/// Describes one file; NOT_FOUND if there is none.
absl::StatusOr<RemoteFile> Describe(const std::string& url, std::string name, const ListingCall& call) {
  REGROUP_ASSIGN_OR_RETURN(const HttpResponse response,
                           SendPatiently([&] { return HttpRequest{.method = "HEAD", .url = url}; }, url, call));
  RemoteFile file{.name = std::move(name), .locator = url};
  const auto length = response.headers.find("content-length");
  if (length == response.headers.end() || !absl::SimpleAtoi(length->second, &file.bytes)) {
    return absl::InvalidArgumentError(fmt::format("{}: the server does not say how long the file is", url));
  }
  const auto tag = response.headers.find("etag");
  // A weak tag does not promise the same bytes.
  if (tag != response.headers.end() && !tag->second.starts_with("W/")) file.entity_tag = tag->second;
  return file;
}

/// Returns the names of the files in which the weights lie.
absl::StatusOr<std::set<std::string>> WeightFiles(const std::string& folder, const ListingCall& call) {
  const std::string url = fmt::format("{}/{}", folder, kIndex);
  const absl::StatusOr<HttpResponse> response = SendPatiently([&] { return HttpRequest{.url = url}; }, url, call);
  if (absl::IsNotFound(response.status())) return std::set<std::string>{kOneFile};
  REGROUP_RETURN_IF_ERROR(response.status());
  std::set<std::string> names = {kIndex};
  const absl::StatusOr<nlohmann::json> index = ParseJson(response->body);
  try {
    REGROUP_RETURN_IF_ERROR(index.status());
    for (const auto& [tensor, file] : index->at("weight_map").items()) {
      const auto name = file.get<std::string>();
      if (!IsFileName(name))
        return absl::InvalidArgumentError(fmt::format("{} names a file outside of its folder", url));
      names.insert(name);
    }
  } catch (const nlohmann::json::exception&) {
    return absl::DataLossError(fmt::format("{} is not an index of weights", url));
  }
  return names;
}

absl::StatusOr<RemoteListing> ListCheckpoint(const Address& address, const ListingCall& call) {
  const std::string& folder = address.text;
  REGROUP_ASSIGN_OR_RETURN(std::set<std::string> needed, WeightFiles(folder, call));
  REGROUP_RETURN_IF_ERROR(CheckCount(needed.size(), address));
  needed.insert("config.json");
  RemoteListing listing;
  for (const std::string& name : needed) {
    REGROUP_ASSIGN_OR_RETURN(RemoteFile file,
                             Describe(fmt::format("{}/{}", folder, PercentEncoded(name, true)), name, call));
    listing.files.push_back(std::move(file));
  }
  for (const char* name : kOptional) {
    absl::StatusOr<RemoteFile> file = Describe(fmt::format("{}/{}", folder, name), name, call);
    if (absl::IsNotFound(file.status())) continue;
    REGROUP_RETURN_IF_ERROR(file.status());
    listing.files.push_back(std::move(*file));
  }
  return listing;
}

}  // namespace

absl::StatusOr<RemoteListing> ListWeb(const Address& address, Wanted wanted, const ListingCall& call) {
  if (wanted == Wanted::kCheckpoint) return ListCheckpoint(address, call);
  REGROUP_ASSIGN_OR_RETURN(RemoteFile file, Describe(address.text, address.path, call));
  return RemoteListing{.files = {std::move(file)}};
}

}  // namespace regroup
