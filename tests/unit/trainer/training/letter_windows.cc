#include "letter_windows.h"

#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

namespace regroup {
namespace {

class LetterTokenizer final : public Tokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override { return EncodeOrdinary(text); }
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char letter : text) ids.push_back(letter - 'a');
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const int32_t>) const override {
    return absl::UnimplementedError("not needed");
  }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return 22; }
  int64_t vocabulary_size() const override { return 23; }
};

std::string Letters(std::mt19937& random, size_t count) {
  std::string letters;
  for (size_t i = 0; i < count; ++i) letters += static_cast<char>('a' + random() % 22);
  return letters;
}

TokenWindows Build(const std::filesystem::path& file, int64_t sequence_length, DataKind kind) {
  auto windows =
      TokenWindows::Build(file, LetterTokenizer(), {.sequence_length = sequence_length, .threads = 1, .kind = kind});
  if (!windows.ok()) std::abort();
  return *std::move(windows);
}

}  // namespace

TokenWindows LetterWindows(const std::filesystem::path& file, int texts, int64_t sequence_length) {
  std::mt19937 random(17);
  std::ofstream stream(file);
  for (int text = 0; text < texts; ++text) stream << "{\"text\": \"" << Letters(random, 20) << "\"}\n";
  stream.close();
  return Build(file, sequence_length, DataKind::kTexts);
}

TokenWindows LetterInstructions(const std::filesystem::path& file, int texts, int64_t sequence_length) {
  std::mt19937 random(18);
  std::ofstream stream(file);
  for (int text = 0; text < texts; ++text) {
    stream << "{\"prompt\": \"" << Letters(random, 12) << "\", \"completion\": \"" << Letters(random, 1 + random() % 8)
           << "\"}\n";
  }
  stream.close();
  return Build(file, sequence_length, DataKind::kInstructions);
}

}  // namespace regroup
