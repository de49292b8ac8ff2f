// Lets a Python oracle drive our tokenizers and perplexity windows: reads one JSON request per line, prints one answer
// each.
//
// {"load": folder}           -> {"bos", "eos", "size"}
// {"encode": text}           -> {"ids", "ordinary"}
// {"decode": ids}            -> {"text"}
// {"windows": file, "length": n, "max": m, "threads": t} -> {"windows": [[ids]]}
// {"match": pattern, "text": text} -> {"matches": [[begin, end]]} of the pattern as tokenizer.json writes it, in bytes
// Any failure is {"error": text}.
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/token_windows.h"
#include "trainer/data/tokenizer.h"
#include "trainer/data/tokenizer/regex.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

class TokenizeTool {
 public:
  absl::StatusOr<Json> Answer(const Json& request) {
    if (request.contains("load")) return Load(request["load"]);
    if (request.contains("match")) return Match(request["match"], request["text"]);
    if (tokenizer_ == nullptr) return absl::FailedPreconditionError("no tokenizer is loaded");
    if (request.contains("encode")) return Encode(request["encode"]);
    if (request.contains("decode")) return Decode(request["decode"]);
    return Windows(request);
  }

 private:
  absl::StatusOr<Json> Load(const std::string& folder) {
    REGROUP_ASSIGN_OR_RETURN(tokenizer_, LoadTokenizer(folder));
    Json answer{{"bos", nullptr}, {"eos", nullptr}, {"size", tokenizer_->vocabulary_size()}};
    if (tokenizer_->bos_id()) answer["bos"] = *tokenizer_->bos_id();
    if (tokenizer_->eos_id()) answer["eos"] = *tokenizer_->eos_id();
    return answer;
  }

  static absl::StatusOr<Json> Match(const std::string& pattern, const std::string& text) {
    REGROUP_ASSIGN_OR_RETURN(const Regex regex, Regex::FromRuby(pattern));
    REGROUP_ASSIGN_OR_RETURN(const std::vector<ByteRange> matches, regex.FindAll(text));
    Json list = Json::array();
    for (const ByteRange& match : matches) list.push_back({match.begin, match.end});
    return Json{{"matches", list}};
  }

  absl::StatusOr<Json> Encode(const std::string& text) const {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_->Encode(text));
    REGROUP_ASSIGN_OR_RETURN(const std::vector<int32_t> ordinary, tokenizer_->EncodeOrdinary(text));
    return Json{{"ids", ids}, {"ordinary", ordinary}};
  }

  absl::StatusOr<Json> Decode(const std::vector<int32_t>& ids) const {
    REGROUP_ASSIGN_OR_RETURN(const std::string text, tokenizer_->Decode(ids));
    return Json{{"text", text}};
  }

  absl::StatusOr<Json> Windows(const Json& request) const {
    TokenWindowsOptions options;
    options.sequence_length = request.at("length");
    options.max_windows = request.value("max", 0);
    options.threads = request.value("threads", 0);
    REGROUP_ASSIGN_OR_RETURN(const TokenWindows windows,
                             TokenWindows::Build(request.at("windows").get<std::string>(), *tokenizer_, options));
    Json rows = Json::array();
    for (int64_t i = 0; i < windows.windows(); ++i) rows.push_back(windows.Window(i));
    return Json{{"windows", rows}};
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace
}  // namespace regroup

int main() {
  regroup::TokenizeTool tool;
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<nlohmann::json> answer = tool.Answer(nlohmann::json::parse(line));
    const nlohmann::json shown =
        answer.ok() ? *answer : nlohmann::json{{"error", std::string(answer.status().message())}};
    std::cout << shown.dump() << std::endl;
  }
  return 0;
}
