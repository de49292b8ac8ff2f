#include "trainer/stages/job_text.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <optional>

#include <nlohmann/json.hpp>

#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "trainer/stages/job_source.h"

namespace regroup {
namespace {

// Counts what changes the tokens of the same text and the same files.
constexpr int kFormat = 2;
constexpr int64_t kDigestLength = 64;

std::filesystem::path StorePath(const StageContext& context, const std::string& digest) {
  return context.work_folder / "tokens" / (digest + ".tokens");
}

/// Identifies the tokens of a given part of the file.
class StoreKey {
 public:
  /// Takes the digests that `inspect` made, so that the files are read again only if their tokens are not there.
  static absl::StatusOr<StoreKey> Of(const StageContext& context, std::string_view key, const std::string& data,
                                     const SourceModel& source, DataKind kind) {
    StoreKey result;
    result.kind_ = kind;
    if (const std::optional<std::string> inspected = InspectedDataDigest(context, data)) {
      result.data_ = *inspected;
    } else {
      auto digest = FileDigest(data);
      if (!digest.ok()) return AtKey(key, digest.status());
      result.data_ = *std::move(digest);
    }
    REGROUP_ASSIGN_OR_RETURN(const std::optional<InspectedSource> inspected, ReadInspectedSource(context));
    if (inspected) {
      result.tokenizer_ = inspected->tokenizer;
    } else {
      REGROUP_ASSIGN_OR_RETURN(result.tokenizer_, TokenizerDigest(source.folder().path()));
    }
    return result;
  }

  /// SHA-256 of the data file.
  const std::string& data() const { return data_; }

  std::string Digest(int64_t enough_tokens) const {
    const nlohmann::json key = {{"format", kFormat},
                                {"data", data_},
                                {"tokenizer", tokenizer_},
                                {"instructions", kind_ == DataKind::kInstructions},
                                {"enough_tokens", enough_tokens}};
    return Sha256Of(key.dump());
  }

 private:
  std::string data_, tokenizer_;
  DataKind kind_ = DataKind::kTexts;
};

bool IsIntact(const std::filesystem::path& path) {
  const auto store = TokenStore::Open(path);
  const absl::Status status = store.ok() ? store->Verify() : store.status();
  if (!status.ok() && !absl::IsNotFound(status)) {
    LogWarning(fmt::format("re-tokenising: {}", std::string(status.message())));
  }
  return status.ok();
}

/// Tokenises the file, whose content must have the digest of `store`.
absl::Status MakeStore(StageContext& context, std::string_view key, const std::string& data, const SourceModel& source,
                       const TokenWindowsOptions& options, const StoreKey& store, const std::filesystem::path& path) {
  context.link.SetProgress("tokenise", 0, 0);
  const auto tokenizer = LoadSourceTokenizer(context, source);
  if (!tokenizer.ok()) return AtKey("source.checkpoint", tokenizer.status());
  REGROUP_RETURN_IF_ERROR(MakeFolders(path.parent_path()));
  REGROUP_ASSIGN_OR_RETURN(TokenStoreWriter writer, TokenStoreWriter::Create(path, (*tokenizer)->vocabulary_size(),
                                                                             options.kind == DataKind::kInstructions));
  REGROUP_ASSIGN_OR_RETURN(const int64_t enough, EnoughTokens(options));
  const auto show = [&](const TokeniseProgress& progress) {
    context.link.SetProgress("tokenise", static_cast<int64_t>(progress.bytes_read),
                             static_cast<int64_t>(progress.file_bytes));
  };
  const TokeniseOptions reading{.kind = options.kind, .enough_tokens = enough, .progress = show};
  const auto digest = Tokenise(data, **tokenizer, reading,
                               [&](const TokenisedText& text) { return writer.Add(text.ids, text.prompt); });
  // A line that cannot be read may be one that `inspect` never saw.
  const std::string found = digest.ok() ? *digest : FileDigest(data).value_or(store.data());
  if (found != store.data()) return AtKey(key, DataChanged(data));
  if (!digest.ok()) return AtKey(key, digest.status());
  return writer.Finish();
}

/// Returns the digest of an intact file, creating the file if necessary.
absl::StatusOr<std::string> FindOrMakeStore(StageContext& context, std::string_view key, const std::string& data,
                                            const SourceModel& source, const TokenWindowsOptions& options) {
  context.link.SetProgress("read the tokens", 0, 0);
  REGROUP_ASSIGN_OR_RETURN(const StoreKey store, StoreKey::Of(context, key, data, source, options.kind));
  auto enough = EnoughTokens(options);
  if (!enough.ok()) return AtKey(key, enough.status());
  // A file with all tokens serves every request.
  std::error_code error;
  const std::string whole = store.Digest(0), wanted = store.Digest(*enough);
  if (std::filesystem::exists(StorePath(context, whole), error) && IsIntact(StorePath(context, whole))) return whole;
  if (wanted != whole && IsIntact(StorePath(context, wanted))) return wanted;
  REGROUP_RETURN_IF_ERROR(MakeStore(context, key, data, source, options, store, StorePath(context, wanted)));
  return wanted;
}

/// Sends rank 0's digest to every rank.
absl::StatusOr<std::string> Spread(StageContext& context, const std::string& digest) {
  at::Tensor bytes = at::zeros({kDigestLength}, at::kByte);
  if (context.leads()) std::memcpy(bytes.mutable_data_ptr(), digest.data(), kDigestLength);
  REGROUP_RETURN_IF_ERROR(context.communicator.Broadcast(bytes, 0));
  return std::string(static_cast<const char*>(bytes.const_data_ptr()), kDigestLength);
}

}  // namespace

absl::Status AtKey(std::string_view key, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", key, std::string(status.message())));
}

absl::StatusOr<TokenWindows> ReadWindows(StageContext& context, std::string_view key, const std::string& data,
                                         const SourceModel& source, TokenWindowsOptions options) {
  std::string digest;
  if (context.leads()) {
    REGROUP_ASSIGN_OR_RETURN(digest, FindOrMakeStore(context, key, data, source, options));
  }
  REGROUP_RETURN_IF_ERROR(context.communicator.RestingBarrier());
  REGROUP_ASSIGN_OR_RETURN(digest, Spread(context, digest));
  REGROUP_ASSIGN_OR_RETURN(TokenStore store, TokenStore::Open(StorePath(context, digest)));
  auto windows = TokenWindows::Cut(std::move(store), data, options);
  if (!windows.ok()) return AtKey(key, windows.status());
  return windows;
}

std::vector<int64_t> WindowsOfRank(int64_t windows, int64_t rank, int64_t ranks) {
  std::vector<int64_t> own;
  for (int64_t window = rank; window < windows; window += ranks) own.push_back(window);
  return own;
}

}  // namespace regroup
