#include "trainer/data/token_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "services/common/base/files.h"
#include "services/common/base/hardware_names.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr char kMagic[17] = "regroup tokens 1";
constexpr size_t kDigestLength = 64;

struct Header {
  char magic[16] = {};
  int64_t tokens = 0;
  int64_t texts = 0;
  int32_t element_bytes = 0;
  int32_t has_answers = 0;
  char digest[kDigestLength] = {};
  char unused[24] = {};
};
static_assert(sizeof(Header) == 128);

int64_t Padded(int64_t bytes) { return (bytes + 7) / 8 * 8; }

/// Returns nullopt for a header that no writer produces.
std::optional<int64_t> BodyBytes(const Header& header, int64_t most) {
  const bool plausible = header.tokens >= 0 && header.tokens <= most && header.texts >= 0 && header.texts <= most &&
                         (header.element_bytes == 2 || header.element_bytes == 4) &&
                         (header.has_answers == 0 || header.has_answers == 1);
  if (!plausible || std::memcmp(header.magic, kMagic, sizeof header.magic) != 0) return std::nullopt;
  return Padded(header.tokens * header.element_bytes) + 8 * header.texts * (1 + header.has_answers);
}

absl::Status Damaged(const std::filesystem::path& path) {
  return absl::DataLossError(fmt::format("{}: the tokens are corrupt", path.string()));
}

/// Returns the file's bytes, which stay mapped as long as the pointer lives.
absl::StatusOr<std::pair<std::shared_ptr<const char>, int64_t>> MapFile(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return ErrnoStatus(errno, "open", path);
  struct stat info = {};
  const bool known = fstat(file, &info) == 0;
  const auto bytes = static_cast<size_t>(info.st_size);
  void* const data = known && bytes > 0 ? mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
  const int error = errno;
  close(file);
  if (data != MAP_FAILED) {
    const auto unmap = [bytes](const char* mapped) { munmap(const_cast<char*>(mapped), bytes); };
    return std::pair(std::shared_ptr<const char>(static_cast<const char*>(data), unmap), static_cast<int64_t>(bytes));
  }
  return known && bytes == 0 ? Damaged(path) : ErrnoStatus(error, "map", path);
}

template <typename Value>
std::string_view BytesOf(const std::vector<Value>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value)};
}

}  // namespace

TokenStore TokenStore::InMemory(std::vector<int32_t> tokens, std::vector<int64_t> starts,
                                std::vector<int64_t> answers) {
  struct Owned {
    std::vector<int32_t> tokens;
    std::vector<int64_t> starts, answers;
  };
  const auto owned = std::make_shared<const Owned>(Owned{std::move(tokens), std::move(starts), std::move(answers)});
  TokenStore store;
  store.data_ = reinterpret_cast<const char*>(owned->tokens.data());
  store.tokens_ = static_cast<int64_t>(owned->tokens.size());
  store.starts_ = owned->starts;
  store.answers_ = owned->answers;
  Sha256 digest;
  digest.Update(BytesOf(owned->tokens)).Update(BytesOf(owned->starts)).Update(BytesOf(owned->answers));
  store.digest_ = digest.Finish();
  store.owner_ = owned;
  return store;
}

absl::StatusOr<TokenStore> TokenStore::Open(const std::filesystem::path& path) {
  REGROUP_ASSIGN_OR_RETURN(const auto mapped, MapFile(path));
  const auto& [bytes, size] = mapped;
  Header header;
  if (size < static_cast<int64_t>(sizeof header)) return Damaged(path);
  std::memcpy(&header, bytes.get(), sizeof header);
  const int64_t body = size - static_cast<int64_t>(sizeof header);
  if (BodyBytes(header, size) != body) return Damaged(path);
  TokenStore store;
  store.owner_ = bytes;
  store.data_ = bytes.get() + sizeof header;
  store.tokens_ = header.tokens;
  store.element_bytes_ = header.element_bytes;
  const auto* places =
      reinterpret_cast<const int64_t*>(store.data_ + Padded(header.tokens * int64_t{header.element_bytes}));
  const auto texts = static_cast<size_t>(header.texts);
  store.starts_ = {places, texts};
  if (header.has_answers != 0) store.answers_ = {places + texts, texts};
  store.digest_.assign(header.digest, kDigestLength);
  store.path_ = path;
  store.body_ = {store.data_, static_cast<size_t>(body)};
  return store;
}

absl::Status TokenStore::Verify() const {
  if (path_.empty() || Sha256Of(body_) == digest_) return absl::OkStatus();
  return Damaged(path_);
}

struct TokenStoreWriter::State {
  std::filesystem::path path, temporary;
  std::ofstream stream;
  Header header;
  Sha256 digest;
  std::vector<int64_t> starts, answers;

  absl::Status Write(std::string_view bytes) {
    digest.Update(bytes);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return stream ? absl::OkStatus() : ErrnoStatus(errno != 0 ? errno : EIO, "write", temporary);
  }
};

TokenStoreWriter::TokenStoreWriter(std::unique_ptr<State> state) : state_(std::move(state)) {}
TokenStoreWriter::TokenStoreWriter(TokenStoreWriter&&) noexcept = default;
TokenStoreWriter& TokenStoreWriter::operator=(TokenStoreWriter&&) noexcept = default;
TokenStoreWriter::~TokenStoreWriter() {
  std::error_code ignored;
  if (state_ != nullptr) std::filesystem::remove(state_->temporary, ignored);
}

absl::StatusOr<TokenStoreWriter> TokenStoreWriter::Create(const std::filesystem::path& path, int64_t vocabulary,
                                                          bool instructions) {
  auto state = std::make_unique<State>();
  state->path = path;
  // Two jobs on two machines may write the same file at the same time.
  state->temporary = path.string() + fmt::format(".{}-{}.tmp", HostName(), getpid());
  errno = 0;
  state->stream.open(state->temporary, std::ios::binary | std::ios::trunc);
  if (!state->stream) return ErrnoStatus(errno != 0 ? errno : EIO, "open", state->temporary);
  std::memcpy(state->header.magic, kMagic, sizeof state->header.magic);
  state->header.element_bytes = vocabulary > 0 && vocabulary <= 1 << 16 ? 2 : 4;
  state->header.has_answers = instructions ? 1 : 0;
  // Reserves space for the header; its values are written last.
  state->stream.write(reinterpret_cast<const char*>(&state->header), sizeof state->header);
  return TokenStoreWriter(std::move(state));
}

absl::Status TokenStoreWriter::Add(std::span<const int32_t> ids, int64_t answer) {
  Header& header = state_->header;
  state_->starts.push_back(header.tokens);
  if (header.has_answers != 0) state_->answers.push_back(header.tokens + answer);
  header.tokens += static_cast<int64_t>(ids.size());
  if (header.element_bytes == 4) {
    return state_->Write({reinterpret_cast<const char*>(ids.data()), ids.size_bytes()});
  }
  const auto fits = [](int32_t id) { return id >= 0 && id < 1 << 16; };
  if (!std::all_of(ids.begin(), ids.end(), fits)) {
    return absl::InternalError("the tokenizer returned an id outside its vocabulary");
  }
  return state_->Write(BytesOf(std::vector<uint16_t>(ids.begin(), ids.end())));
}

int64_t TokenStoreWriter::tokens() const { return state_->header.tokens; }

absl::Status TokenStoreWriter::Finish() {
  Header& header = state_->header;
  const int64_t bytes = header.tokens * header.element_bytes;
  REGROUP_RETURN_IF_ERROR(state_->Write(std::string(static_cast<size_t>(Padded(bytes) - bytes), '\0')));
  REGROUP_RETURN_IF_ERROR(state_->Write(BytesOf(state_->starts)));
  REGROUP_RETURN_IF_ERROR(state_->Write(BytesOf(state_->answers)));
  header.texts = static_cast<int64_t>(state_->starts.size());
  state_->digest.Finish().copy(header.digest, kDigestLength);
  state_->stream.seekp(0);
  state_->stream.write(reinterpret_cast<const char*>(&header), sizeof header);
  state_->stream.close();
  if (!state_->stream) return ErrnoStatus(errno != 0 ? errno : EIO, "write", state_->temporary);
  REGROUP_RETURN_IF_ERROR(SyncPath(state_->temporary));
  std::error_code error;
  std::filesystem::rename(state_->temporary, state_->path, error);
  if (error) return ErrnoStatus(error.value(), "rename", state_->temporary);
  return SyncPath(state_->path.parent_path());
}

}  // namespace regroup
