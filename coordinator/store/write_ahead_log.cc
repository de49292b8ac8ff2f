#include "coordinator/store/write_ahead_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <vector>

namespace regroup {
namespace {

constexpr int64_t kHeaderBytes = 32;
constexpr int64_t kFrameHeaderBytes = 24;
/// The last bit tells the order of bytes in the words that are summed.
constexpr uint32_t kMagic = 0x377f0682;
constexpr uint32_t kSmallestPage = 512;
constexpr uint32_t kLargestPage = 65536;

using Sum = std::array<uint32_t, 2>;

uint32_t BigEndian(const char* bytes) {
  uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return std::endian::native == std::endian::big ? word : __builtin_bswap32(word);
}

Sum SumAt(const char* bytes) { return {BigEndian(bytes), BigEndian(bytes + 4)}; }

/// Continues the sum of all bytes before.
Sum Add(Sum sum, const char* bytes, int64_t count, bool is_big_endian) {
  for (int64_t i = 0; i + 8 <= count; i += 8) {
    std::array<uint32_t, 2> words = SumAt(bytes + i);
    if (!is_big_endian) words = {__builtin_bswap32(words[0]), __builtin_bswap32(words[1])};
    sum[0] += words[0] + sum[1];
    sum[1] += words[1] + sum[0];
  }
  return sum;
}

struct Header {
  bool is_big_endian = false;
  uint32_t page_bytes = 0;
  Sum salt{};
  Sum sum{};
};

std::optional<Header> HeaderOf(const std::array<char, kHeaderBytes>& bytes) {
  const uint32_t magic = BigEndian(bytes.data());
  const Header header = {.is_big_endian = (magic & 1U) != 0,
                         .page_bytes = BigEndian(&bytes[8]),
                         .salt = SumAt(&bytes[16]),
                         .sum = SumAt(&bytes[24])};
  const bool is_log = (magic & ~1U) == kMagic && std::has_single_bit(header.page_bytes) &&
                      header.page_bytes >= kSmallestPage && header.page_bytes <= kLargestPage;
  if (!is_log || Add({}, bytes.data(), kHeaderBytes - 8, header.is_big_endian) != header.sum) return std::nullopt;
  return header;
}

/// A frame as the log has it, whether or not it matches its checksum.
class Frame {
 public:
  explicit Frame(uint32_t page_bytes) : bytes_(kFrameHeaderBytes + page_bytes) {}

  bool ReadFrom(std::istream& log) {
    return bool(log.read(bytes_.data(), static_cast<std::streamsize>(bytes_.size())));
  }
  /// Returns true if the frame is of this log, and not left of what the file held before it started anew.
  bool IsOf(const Header& header) const { return SumAt(&bytes_[8]) == header.salt; }
  bool EndsCommit() const { return BigEndian(&bytes_[4]) != 0; }
  Sum StoredSum() const { return SumAt(&bytes_[16]); }
  bool Follows(const Sum& before, const Header& header) const {
    const Sum sum = Add(Add(before, bytes_.data(), 8, header.is_big_endian), &bytes_[kFrameHeaderBytes],
                        static_cast<int64_t>(bytes_.size()) - kFrameHeaderBytes, header.is_big_endian);
    return IsOf(header) && sum == StoredSum();
  }

 private:
  std::vector<char> bytes_;
};

/// Returns the first frame that does not follow from the one before it and the commits of the longest run of frames
/// from there on that follow from one another. Frames of several commits that failed may lie there too, over one
/// another; they do not form such a run.
std::optional<LogDamage> DamageIn(std::istream& log, const Header& header) {
  std::optional<LogDamage> damage;
  Frame frame(header.page_bytes);
  Sum before = header.sum;
  int64_t commits = 0;
  for (int64_t offset = kHeaderBytes; frame.ReadFrom(log); offset += kFrameHeaderBytes + header.page_bytes) {
    const bool follows = frame.Follows(before, header);
    before = frame.StoredSum();
    if (!damage && follows) continue;
    if (!damage) damage = LogDamage{.offset = offset};
    const bool ends_commit = frame.IsOf(header) && frame.EndsCommit();
    commits = (follows ? commits : 0) + (ends_commit ? 1 : 0);
    damage->commits = std::max(damage->commits, commits);
  }
  return damage;
}

}  // namespace

absl::StatusOr<std::optional<LogDamage>> FindLogDamage(const std::filesystem::path& log) {
  std::error_code missing;
  const uintmax_t bytes = std::filesystem::file_size(log, missing);
  if (missing || bytes <= static_cast<uintmax_t>(kHeaderBytes)) return std::nullopt;
  std::ifstream file(log, std::ios::binary);
  std::array<char, kHeaderBytes> start{};
  if (!file.read(start.data(), kHeaderBytes)) {
    return absl::UnavailableError(fmt::format("cannot read {}", log.string()));
  }
  const std::optional<Header> header = HeaderOf(start);
  // SQLite syncs the header before it writes the first frame.
  if (!header) return LogDamage{};
  std::optional<LogDamage> damage = DamageIn(file, *header);
  if (file.bad()) return absl::UnavailableError(fmt::format("cannot read {}", log.string()));
  if (damage && damage->commits < 2) damage.reset();
  return damage;
}

}  // namespace regroup
