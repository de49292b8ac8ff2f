#define PCRE2_CODE_UNIT_WIDTH 8
#include "trainer/data/tokenizer/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/regex_syntax.h"

namespace regroup {
namespace {

std::string Pcre2Message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

uint32_t LimitOf(uint32_t which) {
  uint32_t limit = 0;
  pcre2_config(which, &limit);
  return limit;
}

/// Returns why the matcher gave up; for one of PCRE2's limits, which one and how large it is.
std::string ReasonOf(int code) {
  switch (code) {
    case PCRE2_ERROR_MATCHLIMIT:
      return fmt::format("more than {} steps, PCRE2's limit", LimitOf(PCRE2_CONFIG_MATCHLIMIT));
    case PCRE2_ERROR_DEPTHLIMIT:
      return fmt::format("more than {} levels of backtracking, PCRE2's limit", LimitOf(PCRE2_CONFIG_DEPTHLIMIT));
    case PCRE2_ERROR_HEAPLIMIT:
      return fmt::format("more than {} KiB of memory, PCRE2's limit", LimitOf(PCRE2_CONFIG_HEAPLIMIT));
    default:
      return Pcre2Message(code);
  }
}

PCRE2_SPTR Bytes(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

/// Finds one match at or after `start`. The machine code has a small stack; if that overflows, the interpreter takes
/// over.
int MatchFrom(const pcre2_code* code, std::string_view text, size_t start, pcre2_match_data* match) {
  const int result = pcre2_match(code, Bytes(text), text.size(), start, PCRE2_NO_UTF_CHECK, match, nullptr);
  if (result != PCRE2_ERROR_JIT_STACKLIMIT) return result;
  return pcre2_match(code, Bytes(text), text.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, nullptr);
}

size_t NextCharacterStart(std::string_view text, size_t position) {
  do ++position;
  while (position < text.size() && (static_cast<unsigned char>(text[position]) & 0xc0) == 0x80);
  return position;
}

}  // namespace

absl::StatusOr<Regex> Regex::FromPcre(std::string_view pattern) {
  int error = 0;
  size_t offset = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  std::shared_ptr<pcre2_code> code(
      pcre2_compile(Bytes(pattern), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                    &error, &offset, context),
      pcre2_code_free);
  pcre2_compile_context_free(context);
  if (code == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("regular expression \"{}\": {} at byte {}", pattern, Pcre2Message(error), offset));
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // If this fails, the interpreter is used.
  return Regex(std::move(code), std::string(pattern));
}

absl::StatusOr<Regex> Regex::FromRuby(std::string_view pattern) {
  REGROUP_ASSIGN_OR_RETURN(const std::string translated, TranslateRubyRegex(pattern));
  return FromPcre(translated);
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) {
  std::string pattern;
  for (const char byte : text) {
    if (std::string_view("\\^$.[]|()?*+{}#-").find(byte) != std::string_view::npos) pattern += '\\';
    pattern += byte;
  }
  return FromPcre(pattern);
}

absl::StatusOr<std::vector<ByteRange>> Regex::FindAll(std::string_view text) const {
  std::vector<ByteRange> matches;
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create_from_pattern(code_.get(), nullptr), pcre2_match_data_free);
  size_t position = 0;
  while (position <= text.size()) {
    const int result = MatchFrom(code_.get(), text, position, match.get());
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      return absl::DataLossError(fmt::format("the regular expression \"{}\" gives up on a text of {} bytes: {}",
                                             pattern_, text.size(), ReasonOf(result)));
    }
    const size_t* ends = pcre2_get_ovector_pointer(match.get());
    const bool repeats_end = ends[0] == ends[1] && !matches.empty() && matches.back().end == ends[1];
    if (!repeats_end) matches.push_back({ends[0], ends[1]});
    position = repeats_end ? NextCharacterStart(text, position) : ends[1];
  }
  return matches;
}

}  // namespace regroup
