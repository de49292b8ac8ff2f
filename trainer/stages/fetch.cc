// fetch: copies what the job file names by address into the results of this task, where later tasks find it by
// LocalName. Files come from the cache in the working folder, or are read into it first. It also checks that the bucket
// for the result has room for it under that name, before the work for the result begins.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/for_each_index.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/local_paths.h"
#include "services/common/remote/blob_cache.h"
#include "services/common/remote/upload.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/byte_progress.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr size_t kThreads = 4;

/// An address and the files that it names.
struct Listed {
  Address address;
  RemoteListing listing;
};

/// One file to provide, and the place at which later tasks look for it.
struct Item {
  const Listed* listed;
  const RemoteFile* file;
  fs::path target;
};

absl::StatusOr<std::vector<Listed>> ListAll(const v1::JobSpec& spec, const RemoteSettings& settings, const Tick& tick) {
  std::vector<Listed> all;
  for (const std::string& text : AddressesToFetch(spec)) {
    REGROUP_ASSIGN_OR_RETURN(Address address, ParseAddress(text));
    const bool is_source = text == spec.source().checkpoint();
    const Wanted wanted = is_source ? Wanted::kCheckpoint : Wanted::kAllFiles;
    HttpClient client(settings.HttpRulesOf(address.kind));
    REGROUP_ASSIGN_OR_RETURN(RemoteListing listing, ListRemoteFiles(address, wanted, settings, client, tick));
    all.push_back({std::move(address), std::move(listing)});
  }
  return all;
}

absl::Status CheckTargets(const v1::JobSpec& spec, const RemoteSettings& settings, const Tick& tick) {
  HttpClient client(settings.HttpRulesOf(AddressKind::kBucket));
  for (const std::string& text : AddressesToUpload(spec)) {
    REGROUP_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
    REGROUP_RETURN_IF_ERROR(CheckIsFree(address, settings, client, tick));
  }
  return absl::OkStatus();
}

/// Returns the files of all listings, the largest first, so that no thread is left with a large one at the end.
std::vector<Item> ItemsOf(const std::vector<Listed>& all, const fs::path& out) {
  std::vector<Item> items;
  for (const Listed& listed : all) {
    const fs::path folder = (out / LocalName(listed.address)).parent_path();
    for (const RemoteFile& file : listed.listing.files) items.push_back({&listed, &file, folder / file.name});
  }
  std::stable_sort(items.begin(), items.end(),
                   [](const Item& one, const Item& other) { return one.file->bytes > other.file->bytes; });
  return items;
}

uint64_t BytesOf(const RemoteListing& listing) {
  uint64_t bytes = 0;
  for (const RemoteFile& file : listing.files) bytes += file.bytes;
  return bytes;
}

absl::Status ProvideAll(const std::vector<Item>& items, const BlobCache& cache, const RemoteSettings& settings,
                        const CountBytes& count) {
  std::vector<absl::Status> results(std::min(kThreads, items.size()));
  std::atomic<size_t> next = 0;
  std::atomic<bool> has_failed = false;
  ForEachIndex(results.size(), results.size(), [&](size_t thread) {
    std::map<AddressKind, HttpClient> clients;
    for (size_t i = next++; i < items.size() && !has_failed; i = next++) {
      const Item& item = items[i];
      const Address& address = item.listed->address;
      HttpClient& client = clients.try_emplace(address.kind, settings.HttpRulesOf(address.kind)).first->second;
      results[thread] = cache.Provide(address, *item.file, settings, client, count, item.target);
      if (!results[thread].ok()) has_failed = true;
    }
  });
  for (const absl::Status& result : results) REGROUP_RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::Status WriteFetched(const std::vector<Listed>& all, const fs::path& out) {
  nlohmann::ordered_json fetched = nlohmann::ordered_json::array();
  for (const auto& [address, listing] : all) {
    fetched.push_back({{"address", address.text}, {"files", listing.files.size()}, {"bytes", BytesOf(listing)}});
    if (!listing.commit.empty()) fetched.back()["commit"] = listing.commit;
  }
  return WriteFileAtomically(out / attempt_files::kFetched, fetched.dump(1) + "\n");
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunFetch(StageContext& context) {
  REGROUP_ASSIGN_OR_RETURN(const RemoteSettings settings, ReadRemoteSettings());
  context.link.SetProgress("listing", 0, 0);
  const Tick tick = [&] { context.link.activity().Tick(); };
  REGROUP_RETURN_IF_ERROR(CheckTargets(context.assignment.spec(), settings, tick));
  REGROUP_ASSIGN_OR_RETURN(const std::vector<Listed> all, ListAll(context.assignment.spec(), settings, tick));
  uint64_t total = 0;
  for (const Listed& listed : all) total += BytesOf(listed.listing);
  const v1::AttemptId& attempt = context.assignment.attempt();
  const BlobCache cache(context.work_folder / artifacts::kFetchedFiles,
                        fmt::format("{}/{}", attempt.job(), attempt.epoch()));
  ByteProgress progress(context.link, total);
  REGROUP_RETURN_IF_ERROR(ProvideAll(ItemsOf(all, context.out()), cache, settings, progress.Counter()));
  // What this job uses is in its own folder by now.
  cache.Evict({.bytes = settings.rules.cache_bytes});
  REGROUP_RETURN_IF_ERROR(WriteFetched(all, context.out()));
  v1::TaskOutcome outcome;
  (*outcome.mutable_figures())["fetched_bytes"] = static_cast<double>(total);
  return outcome;
}

}  // namespace regroup
