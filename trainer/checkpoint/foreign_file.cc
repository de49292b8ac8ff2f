#include "trainer/checkpoint/foreign_file.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace regroup {
namespace {

bool StartsWithIgnoringCase(std::string_view text, std::string_view beginning) {
  if (text.size() < beginning.size()) return false;
  return std::equal(beginning.begin(), beginning.end(), text.begin(),
                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

/// Returns true for a safetensors file: JSON follows the eight bytes of its length.
bool LooksLikeSafetensors(std::string_view begin) {
  return begin.size() > 8 && begin.substr(6, 2) == std::string_view("\0\0", 2) && begin[8] == '{';
}

struct Kind {
  std::string_view magic;
  std::string_view sentence;
};

constexpr std::string_view kGit = "version https://git-lfs.github.com/spec/";
constexpr std::string_view kZip = "PK\3\4";
constexpr std::array<Kind, 5> kKinds = {{
    {kGit, "is a pointer of Git LFS, not the file itself; run `git lfs pull` in its folder"},
    {"GGUF",
     "is a GGUF file; convert it with from_pretrained(folder, gguf_file=NAME) and save_pretrained in Transformers"},
    {"\x1f\x8b", "is compressed by gzip; unpack it"},
    {"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it"},
    {"\x89HDF\r\n", "is an HDF5 file of TensorFlow; convert it with from_tf in an earlier version of Transformers"},
}};

}  // namespace

std::string ForeignFile(std::string_view begin, KnownFormat expected) {
  for (const Kind& kind : kKinds) {
    if (begin.starts_with(kind.magic)) return std::string(kind.sentence);
  }
  if (StartsWithIgnoringCase(begin, "<!doctype html") || StartsWithIgnoringCase(begin, "<html")) {
    return "is a page of HTML, which a failed download leaves; download the file again";
  }
  if (expected != KnownFormat::kTorch && begin.starts_with(kZip)) {
    return expected == KnownFormat::kSafetensors
               ? "is an archive of torch.save, not a safetensors file; name it pytorch_model.bin"
               : "is a zip file; unpack it";
  }
  if (expected == KnownFormat::kTorch && LooksLikeSafetensors(begin)) {
    return "is a safetensors file; name it model.safetensors";
  }
  if (expected == KnownFormat::kTorch && begin.starts_with("\x80\x02\x8a\x0a")) {
    return "was written by torch before 1.6, in a format of several pickles; load it with torch.load(FILE, "
           "weights_only=True) and save it again with torch.save";
  }
  return "";
}

}  // namespace regroup
