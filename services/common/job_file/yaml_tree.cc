#include "services/common/job_file/yaml_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

#include "absl/status/status.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace regroup {
namespace {

Position PositionOf(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

/// Exception that ends yaml-cpp's parser from inside an event; never leaves this file.
struct Refusal : std::runtime_error {
  Refusal(Position where, const std::string& message) : std::runtime_error(message), position(where) {}
  Position position;
};

/// Builds the tree from yaml-cpp's events.
class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw Refusal(PositionOf(mark), "the file must hold one document; remove the second '---'");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Add({.kind = YamlNode::Kind::kNull, .position = PositionOf(mark)});
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal(PositionOf(mark), "aliases (*name) are not allowed; write the value itself");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    // yaml-cpp's own marks: "?" for a plain scalar, "!" for a quoted one; everything else was written by the user.
    if (tag != "?" && tag != "!" && !tag.empty()) RefuseTag(mark, tag);
    Add({.kind = YamlNode::Kind::kScalar, .position = PositionOf(mark), .text = value, .quoted = tag == "!"});
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMapping);
  }
  void OnMapEnd() override { Close(); }

 private:
  /// A collection that is still open, and in a mapping the key whose value is still missing.
  struct OpenNode {
    YamlNode node;
    /// Lines of the keys so far, so that a large mapping is not searched for each key.
    std::unordered_map<std::string, int> lines_of_keys;
    bool has_key = false;
    std::string key;
    Position key_position;
  };

  static void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0)
      throw Refusal(PositionOf(mark), "anchors (&name) are not allowed; write the value where it is used");
  }

  [[noreturn]] static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    throw Refusal(PositionOf(mark), fmt::format("tags are not allowed; remove '{}'", tag));
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    RefuseAnchor(mark, anchor);
    if (tag != "?" && !tag.empty()) RefuseTag(mark, tag);
    RefuseCollectionAsKey(mark);
    if (open_.size() >= kMaximumDepth) {
      throw Refusal(PositionOf(mark), fmt::format("more than {} levels of nesting", kMaximumDepth));
    }
    open_.push_back({.node = {.kind = kind, .position = PositionOf(mark)}});
  }

  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Add(std::move(node));
  }

  void RefuseCollectionAsKey(const YAML::Mark& mark) const {
    if (open_.empty()) return;
    const OpenNode& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kMapping && !parent.has_key) {
      throw Refusal(PositionOf(mark), "a key must be plain text");
    }
  }

  void Add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    OpenNode& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else if (parent.has_key) {
      parent.node.entries.push_back({parent.key, parent.key_position, std::move(node)});
      parent.has_key = false;
    } else {
      SetKey(parent, std::move(node));
    }
  }

  static void SetKey(OpenNode& parent, YamlNode node) {
    if (node.kind != YamlNode::Kind::kScalar) throw Refusal(node.position, "a key must be plain text");
    const auto [first, is_new] = parent.lines_of_keys.emplace(node.text, node.position.line);
    if (!is_new) {
      throw Refusal(node.position,
                    fmt::format("duplicate key '{}'; it is already given at line {}", node.text, first->second));
    }
    parent.key = std::move(node.text);
    parent.key_position = node.position;
    parent.has_key = true;
  }

  YamlNode root_;
  std::vector<OpenNode> open_;
  int documents_ = 0;
};

absl::Status Refused(std::string_view file_name, Position position, std::string_view message) {
  return absl::InvalidArgumentError(AtPosition(file_name, position, message));
}

Position EndOf(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return {static_cast<int>(lines) + 1, static_cast<int>(offset - line_start) + 1};
}

absl::Status CheckBytes(std::string_view text, std::string_view file_name) {
  if (text.size() > kMaximumBytes) {
    return Refused(file_name, {},
                   fmt::format("the file has {} bytes; at most {} are allowed", text.size(), kMaximumBytes));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 || byte == '\n' || byte == '\r' || byte == '\t') continue;
    return Refused(file_name, EndOf(text, i),
                   fmt::format("control character 0x{:02x}; the file must be plain text", byte));
  }
  return absl::OkStatus();
}

}  // namespace

std::string AtPosition(std::string_view file_name, Position position, std::string_view message) {
  return fmt::format("{}:{}:{}: {}", file_name, position.line, position.column, message);
}

absl::StatusOr<YamlNode> ParseYamlTree(std::string_view text, std::string_view file_name) {
  if (absl::Status bytes = CheckBytes(text, file_name); !bytes.ok()) return bytes;
  std::istringstream stream{std::string(text)};
  TreeBuilder builder;
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refusal& refusal) {
    return Refused(file_name, refusal.position, refusal.what());
  } catch (const YAML::Exception& error) {
    return Refused(file_name, PositionOf(error.mark), fmt::format("not valid YAML: {}", error.msg));
  }
  YamlNode root = builder.TakeRoot();
  if (root.kind == YamlNode::Kind::kNull) root.kind = YamlNode::Kind::kMapping;
  if (root.kind != YamlNode::Kind::kMapping) {
    return Refused(file_name, root.position, "the file must be a mapping, such as 'name: ...'");
  }
  return root;
}

}  // namespace regroup
