#include "trainer/data/tokenizer/post_processor.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using PostProcessorPtr = std::shared_ptr<const PostProcessor>;
using Ids = std::vector<int32_t>;

class Sequence : public PostProcessor {
 public:
  explicit Sequence(std::vector<PostProcessorPtr> parts) : parts_(std::move(parts)) {}
  Ids Process(Ids ids) const override {
    for (const PostProcessorPtr& part : parts_) ids = part->Process(std::move(ids));
    return ids;
  }

 private:
  std::vector<PostProcessorPtr> parts_;
};

class Surround : public PostProcessor {
 public:
  Surround(Ids before, Ids after) : before_(std::move(before)), after_(std::move(after)) {}
  Ids Process(Ids ids) const override {
    ids.insert(ids.begin(), before_.begin(), before_.end());
    ids.insert(ids.end(), after_.begin(), after_.end());
    return ids;
  }

 private:
  Ids before_, after_;
};

absl::StatusOr<PostProcessorPtr> ParseSequence(const nlohmann::json& parts) {
  std::vector<PostProcessorPtr> parsed;
  for (const nlohmann::json& part : parts) {
    REGROUP_ASSIGN_OR_RETURN(parsed.emplace_back(), ParsePostProcessor(part));
  }
  return std::make_shared<Sequence>(std::move(parsed));
}

absl::StatusOr<int32_t> ParseId(const nlohmann::json& json) {
  if (const std::optional<int32_t> id = IntegerIn<int32_t>(json)) return *id;
  return absl::InvalidArgumentError(fmt::format("post_processor: {} is not the id of a token", json.dump()));
}

absl::StatusOr<PostProcessorPtr> ParseTemplate(const nlohmann::json& json) {
  Ids before, after;
  int texts = 0;
  for (const nlohmann::json& item : json.at("single")) {
    if (item.contains("Sequence")) {
      ++texts;
      continue;
    }
    const std::string token = item.at("SpecialToken").at("id");
    Ids& side = texts == 0 ? before : after;
    for (const nlohmann::json& id : json.at("special_tokens").at(token).at("ids")) {
      REGROUP_ASSIGN_OR_RETURN(side.emplace_back(), ParseId(id));
    }
  }
  if (texts != 1) {
    return absl::UnimplementedError(
        "post_processor: a template that does not contain the text exactly once is not supported");
  }
  return std::make_shared<Surround>(std::move(before), std::move(after));
}

/// Parses "cls", added before the text, and "sep", added after it; each is [token, id].
absl::StatusOr<PostProcessorPtr> ParseClsSep(const nlohmann::json& json) {
  REGROUP_ASSIGN_OR_RETURN(const int32_t cls, ParseId(json.at("cls").at(1)));
  REGROUP_ASSIGN_OR_RETURN(const int32_t sep, ParseId(json.at("sep").at(1)));
  return std::make_shared<Surround>(Ids{cls}, Ids{sep});
}

}  // namespace

absl::StatusOr<PostProcessorPtr> ParsePostProcessor(const nlohmann::json& json) {
  if (json.is_null()) return std::make_shared<Sequence>(std::vector<PostProcessorPtr>());
  const std::string type = json.at("type");
  if (type == "ByteLevel") return std::make_shared<Sequence>(std::vector<PostProcessorPtr>());
  if (type == "Sequence") return ParseSequence(json.at("processors"));
  if (type == "TemplateProcessing") return ParseTemplate(json);
  if (type == "BertProcessing" || type == "RobertaProcessing") return ParseClsSep(json);
  return absl::UnimplementedError(fmt::format("post_processor \"{}\" is not supported", type));
}

}  // namespace regroup
