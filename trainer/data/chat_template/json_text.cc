#include "trainer/data/chat_template/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "trainer/data/chat_template/failure.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup::chat {
namespace {

class Writer {
 public:
  Writer(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  std::string Run(const Value& value) {
    Write(value, 0);
    return std::move(text_);
  }

 private:
  void Add(std::string_view part) {
    budget_.Make(part.size());
    text_ += part;
  }

  void Write(const Value& value, size_t level) {
    budget_.Step();
    switch (value.kind()) {
      case Kind::kNone:
        return Add("null");
      case Kind::kBool:
        return Add(value.integer() != 0 ? "true" : "false");
      case Kind::kInt:
        return Add(std::to_string(value.integer()));
      case Kind::kFloat:
        return WriteFloat(value.number());
      case Kind::kString:
      case Kind::kMarkup:
        return WriteText(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return WriteItems(value.items(), level);
      case Kind::kMapping:
        return WriteMapping(value.mapping(), level);
      default:
        WrongValue(fmt::format("tojson of {}", value.IsUndefined() ? "'" + value.text() + "', which is undefined"
                                                                   : std::string(TypeName(value))));
    }
  }

  void WriteFloat(double number) {
    if (std::isnan(number)) return Add("NaN");
    if (std::isinf(number)) return Add(number > 0 ? "Infinity" : "-Infinity");
    Add(FloatText(number));
  }

  void WriteText(const std::string& content) {
    budget_.Make(content.size());
    text_ += '"';
    for (size_t position = 0; position < content.size();) {
      const size_t begin = position;
      const char32_t character = NextCharacter(content, position);
      constexpr std::u32string_view kEscaped = U"\"\\\n\r\t\f\b";
      const size_t known = kEscaped.find(character);
      if (known != std::u32string_view::npos) {
        text_ += '\\';
        text_ += "\"\\nrtfb"[known];
      } else if (character < 0x20 || (style_.only_ascii && character >= 0x7f)) {
        WriteCode(character);
      } else {
        text_.append(content, begin, position - begin);
      }
    }
    text_ += '"';
  }

  void WriteCode(char32_t character) {
    const auto code = static_cast<uint32_t>(character);
    if (code < 0x10000) {
      Add(fmt::format("\\u{:04x}", code));
    } else {
      Add(fmt::format("\\u{:04x}\\u{:04x}", 0xd7c0 + (code >> 10), 0xdc00 + (code & 0x3ff)));
    }
  }

  /// Begins item `index` of a list or an object.
  void Separate(size_t index, size_t level) {
    if (index > 0) Add(style_.item_separator);
    BreakLine(level);
  }
  void BreakLine(size_t level) {
    if (!style_.indent) return;
    Add("\n");
    for (size_t i = 0; i < level; ++i) Add(*style_.indent);
  }

  void WriteItems(const std::vector<Value>& items, size_t level) {
    if (items.empty()) return Add("[]");
    Add("[");
    for (size_t i = 0; i < items.size(); ++i) {
      Separate(i, level + 1);
      Write(items[i], level + 1);
    }
    BreakLine(level);
    Add("]");
  }

  void WriteMapping(const Mapping& mapping, size_t level) {
    if (mapping.entries.empty()) return Add("{}");
    std::vector<const std::pair<std::string, Value>*> entries;
    for (const auto& entry : mapping.entries) entries.push_back(&entry);
    if (style_.sorts_keys) {
      std::sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
    }
    Add("{");
    for (size_t i = 0; i < entries.size(); ++i) {
      Separate(i, level + 1);
      WriteText(entries[i]->first);
      Add(style_.key_separator);
      Write(entries[i]->second, level + 1);
    }
    BreakLine(level);
    Add("}");
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string text_;
};

}  // namespace

std::string JsonText(Budget& budget, const Value& value, const JsonStyle& style) {
  return Writer(budget, style).Run(value);
}

}  // namespace regroup::chat
