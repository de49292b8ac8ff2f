// Fills a protobuf message from a YAML tree by reflection. Not thread-safe.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "services/common/job_file/yaml_tree.h"

namespace regroup {

/// Reads one tree into one message and keeps every mistake it meets. Handles the field types that JobSpec has: text,
/// bool, integers, double, messages, lists of these, and maps from text to text.
class MessageReader {
 public:
  explicit MessageReader(std::string_view file_name) : file_name_(file_name) {}

  /// `node` must be a mapping.
  void Read(const YamlNode& node, google::protobuf::Message& message);

  /// One "file:line:column: ..." each, in the order of the file; empty when all was well.
  const std::vector<std::string>& mistakes() const { return mistakes_; }
  /// Where each key stands, by its path.
  const std::map<std::string, Position>& positions() const { return positions_; }

 private:
  using Message = google::protobuf::Message;
  using Field = google::protobuf::FieldDescriptor;
  using Descriptor = google::protobuf::Descriptor;

  void ReadMapping(const YamlNode& node, const std::string& path, Message& message);
  void ReadField(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadList(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadTextMap(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadMessage(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void ReadScalar(const YamlNode& node, const std::string& path, const Field& field, Message& message);
  void RefuseKey(const YamlNode::Entry& entry, const Descriptor& descriptor);
  void Refuse(Position position, std::string_view message);

  std::string file_name_;
  const Descriptor* root_ = nullptr;
  std::vector<std::string> mistakes_;
  std::map<std::string, Position> positions_;
};

}  // namespace regroup
