// Runs a fuzz target without libFuzzer: over its seeds, then over damaged copies of them.
//
// usage: <target> <folder of seeds, or one file> <damaged inputs> <seed of the random numbers>
//
// The same arguments give the same inputs on every machine. If the target aborts, the input is in the file that is
// named at the start.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Inputs = std::vector<std::string>;

constexpr size_t kLongestInput = 16384;

std::string Content(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Inputs ReadSeeds(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {Content(path)};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  Inputs seeds;
  for (const auto& file : files) seeds.push_back(Content(file));
  return seeds;
}

class Damage {
 public:
  Damage(const Inputs& seeds, uint64_t seed) : seeds_(seeds), random_(seed) {}

  std::string Next() {
    std::string input = AnySeed();
    for (size_t times = 1 + Below(4); times > 0; --times) Once(input);
    if (input.size() > kLongestInput) input.resize(kLongestInput);
    return input;
  }

 private:
  // Not std::uniform_int_distribution, whose numbers differ between libraries.
  size_t Below(size_t end) { return end == 0 ? 0 : random_() % end; }
  const std::string& AnySeed() { return seeds_[Below(seeds_.size())]; }

  /// Returns a part of any seed: a key, a number, half of the document.
  std::string Part() {
    const std::string& seed = AnySeed();
    const size_t begin = Below(seed.size());
    return seed.substr(begin, 1 + Below(Below(2) == 0 ? 8 : 64));
  }

  std::string Token() {
    static const char* const tokens[] = {"0",
                                         "-1",
                                         "1e999",
                                         "1.5",
                                         "true",
                                         "null",
                                         "\"\"",
                                         "[]",
                                         "{}",
                                         "\\u0000",
                                         "\\ud800",
                                         "\xff",
                                         "\xc3",
                                         "\n",
                                         "    ",
                                         ":",
                                         ",",
                                         "&a ",
                                         "!!int",
                                         "*a",
                                         "\"",
                                         "'",
                                         "[",
                                         "{",
                                         "]",
                                         "}",
                                         "- ",
                                         "..",
                                         "/",
                                         "2147483648",
                                         "9223372036854775808",
                                         "18446744073709551616"};
    return tokens[Below(std::size(tokens))];
  }

  void Once(std::string& input) {
    const size_t at = Below(input.size() + 1);
    switch (Below(7)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(random_());
        break;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << Below(8)));
        break;
      case 2:
        input.erase(at, 1 + Below(16));
        break;
      case 3:
        input.insert(at, Part());
        break;
      case 4:
        input.replace(at, 1 + Below(8), Token());
        break;
      case 5:
        input.insert(at, Token());
        break;
      default:
        input.replace(at, Below(32), Part());
    }
  }

  const Inputs& seeds_;
  std::mt19937_64 random_;
};

void Run(const std::filesystem::path& kept, const std::string& input) {
  std::ofstream(kept, std::ios::binary | std::ios::trunc) << input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s <seeds> <damaged inputs> <random seed>\n", argv[0]);
    return 2;
  }
  const Inputs seeds = ReadSeeds(argv[1]);
  if (seeds.empty()) {
    std::fprintf(stderr, "%s holds no seeds\n", argv[1]);
    return 2;
  }
  const std::filesystem::path kept = std::filesystem::path(argv[0]).filename().string() + ".input";
  const uint64_t count = std::strtoull(argv[2], nullptr, 10), seed = std::strtoull(argv[3], nullptr, 10);
  std::printf("%zu seeds, %llu damaged inputs of seed %llu; the last input is in %s\n", seeds.size(),
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(seed),
              std::filesystem::absolute(kept).c_str());
  std::fflush(stdout);
  for (const std::string& input : seeds) Run(kept, input);
  Damage damage(seeds, seed);
  for (uint64_t i = 0; i < count; ++i) Run(kept, damage.Next());
  std::filesystem::remove(kept);
  return 0;
}
