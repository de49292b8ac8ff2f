#include "letter_windows.h"

#include <cstdlib>
#include <fstream>
#include <random>

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

}  // namespace

TokenWindows LetterWindows(const std::filesystem::path& file, int texts, int64_t sequence_length) {
  std::mt19937 random(17);
  std::ofstream stream(file);
  for (int text = 0; text < texts; ++text) {
    std::string letters;
    for (int i = 0; i < 20; ++i) letters += static_cast<char>('a' + random() % 22);
    stream << "{\"text\": \"" << letters << "\"}\n";
  }
  stream.close();
  auto windows = TokenWindows::Build(file, LetterTokenizer(), {.sequence_length = sequence_length, .threads = 1});
  if (!windows.ok()) std::abort();
  return *std::move(windows);
}

}  // namespace regroup
