// Lets a Python oracle drive our chat templates: reads one JSON request per line, prints one answer each.
//
// {"folder": folder}                   -> {}, once tokenizer and chat template of the folder are loaded
// {"source": template, "tokens": {}}   -> {}, once the template is parsed
// {"messages": [], "tools": [], "variables": {}, "asks_for_answer": b} -> {"text", "ids"}; without a folder there are
// no ids Any failure is {"error": text, "unsupported": whether Jinja may accept it}.
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/chat_template/chat_template.h"
#include "trainer/data/json_lines_reader.h"
#include "trainer/data/tokenizer.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

class ChatTemplateTool {
 public:
  absl::StatusOr<Json> Answer(const Json& request) {
    if (request.contains("folder")) {
      const std::string folder = request["folder"];
      REGROUP_ASSIGN_OR_RETURN(tokenizer_, LoadTokenizer(folder));
      return Keep(ChatTemplate::Load(folder));
    }
    if (request.contains("source")) {
      tokenizer_ = nullptr;
      return Keep(ChatTemplate::Parse(request["source"].get<std::string>(), "template",
                                      request["tokens"].get<std::map<std::string, std::string>>()));
    }
    if (!chat_) return absl::FailedPreconditionError("no template is loaded");
    const Conversation conversation{.messages = request.at("messages"),
                                    .tools = request.value("tools", Json()),
                                    .variables = request.value("variables", Json()),
                                    .asks_for_answer = request.value("asks_for_answer", false)};
    REGROUP_ASSIGN_OR_RETURN(const std::string text, chat_->Render(conversation, kMaxLineBytes));
    Json answer{{"text", text}};
    if (tokenizer_ != nullptr) {
      REGROUP_ASSIGN_OR_RETURN(answer["ids"], tokenizer_->EncodeOrdinary(text));
    }
    return answer;
  }

 private:
  absl::StatusOr<Json> Keep(absl::StatusOr<ChatTemplate> chat) {
    chat_.reset();
    REGROUP_RETURN_IF_ERROR(chat.status());
    chat_ = *std::move(chat);
    return Json::object();
  }

  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
};

}  // namespace
}  // namespace regroup

int main() {
  regroup::ChatTemplateTool tool;
  for (std::string line; std::getline(std::cin, line);) {
    const auto answer = tool.Answer(nlohmann::ordered_json::parse(line));
    const nlohmann::ordered_json shown =
        answer.ok() ? *answer
                    : nlohmann::ordered_json{{"error", std::string(answer.status().message())},
                                             {"unsupported", absl::IsUnimplemented(answer.status())}};
    std::cout << shown.dump() << std::endl;
  }
  return 0;
}
