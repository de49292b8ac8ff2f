#include "services/common/rpc/request_limits.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <map>
#include <string>
#include <vector>

#include "services/common/base/error.h"

namespace regroup {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

/// The limit of protobuf's own parser.
constexpr size_t kDeepest = 100;
constexpr char kUnknownFields[] = "unknown fields";

/// Reads an encoded message field by field and counts the entries of its repeated fields, without keeping any.
class EntryCount {
 public:
  EntryCount(const Descriptor& type, CodedInputStream* input, size_t most) : type_(type), input_(*input), most_(most) {}

  absl::Status Check() {
    const bool is_whole = ReadMessage(&type_, 0) && input_.ConsumedEntireMessage();
    if (!excess_.empty()) {
      FieldViolation violation;
      violation.set_field(excess_);
      violation.set_description(fmt::format("has more than {} entries", most_));
      return InvalidFields({violation});
    }
    return is_whole ? absl::OkStatus()
                    : absl::InvalidArgumentError(fmt::format("the request is not a {}", type_.full_name()));
  }

 private:
  /// Reads fields to the end of the message, or of the unknown group with number `group`. A null type has no known
  /// fields. Returns false to stop.
  bool ReadMessage(const Descriptor* type, int group) {
    if (path_.size() > kDeepest) return false;
    while (const uint32_t tag = input_.ReadTag()) {
      const int number = WireFormatLite::GetTagFieldNumber(tag);
      if (number == 0) return false;
      const auto wire = WireFormatLite::GetTagWireType(tag);
      if (wire == WireFormatLite::WIRETYPE_END_GROUP) return number == group;
      const FieldDescriptor* field = type == nullptr ? nullptr : type->FindFieldByNumber(number);
      path_.push_back(field);
      if (!ReadValue(field, wire, number)) return false;
      path_.pop_back();
    }
    return group == 0;
  }

  bool ReadValue(const FieldDescriptor* field, WireFormatLite::WireType wire, int number) {
    uint64_t ignored = 0;
    switch (wire) {
      case WireFormatLite::WIRETYPE_VARINT:
        return Count(field, 1) && input_.ReadVarint64(&ignored);
      case WireFormatLite::WIRETYPE_FIXED64:
        return Count(field, 1) && input_.Skip(sizeof(uint64_t));
      case WireFormatLite::WIRETYPE_FIXED32:
        return Count(field, 1) && input_.Skip(sizeof(uint32_t));
      case WireFormatLite::WIRETYPE_START_GROUP:
        return Count(nullptr, 1) && ReadMessage(nullptr, number);
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
        return ReadLengthDelimited(field);
      case WireFormatLite::WIRETYPE_END_GROUP:
        break;
    }
    return false;
  }

  bool ReadLengthDelimited(const FieldDescriptor* field) {
    int length = 0;
    if (!input_.ReadVarintSizeAsInt(&length)) return false;
    if (field != nullptr && field->is_packable()) return CountPacked(*field, length);
    if (!Count(field, 1)) return false;
    const Descriptor* type = field == nullptr ? nullptr : field->message_type();
    if (type == nullptr) return input_.Skip(length);
    const CodedInputStream::Limit limit = input_.PushLimit(length);
    const bool is_whole = ReadMessage(type, 0) && input_.BytesUntilLimit() == 0;
    input_.PopLimit(limit);
    return is_whole;
  }

  bool CountPacked(const FieldDescriptor& field, int length) {
    const int size = PackedSize(field);
    if (size > 0) return Count(&field, static_cast<size_t>(length / size)) && input_.Skip(length);
    const CodedInputStream::Limit limit = input_.PushLimit(length);
    uint64_t ignored = 0;
    while (input_.BytesUntilLimit() > 0) {
      if (!Count(&field, 1) || !input_.ReadVarint64(&ignored)) return false;
    }
    input_.PopLimit(limit);
    return true;
  }

  /// Returns the bytes of one packed value; 0 if they differ.
  static int PackedSize(const FieldDescriptor& field) {
    switch (field.type()) {
      case FieldDescriptor::TYPE_DOUBLE:
      case FieldDescriptor::TYPE_FIXED64:
      case FieldDescriptor::TYPE_SFIXED64:
        return sizeof(uint64_t);
      case FieldDescriptor::TYPE_FLOAT:
      case FieldDescriptor::TYPE_FIXED32:
      case FieldDescriptor::TYPE_SFIXED32:
        return sizeof(uint32_t);
      default:
        return 0;
    }
  }

  /// Returns false if the field now has too many entries.
  bool Count(const FieldDescriptor* field, size_t entries) {
    if (field != nullptr && !field->is_repeated()) return true;
    if ((counts_[field] += entries) <= most_) return true;
    excess_ = Path();
    return false;
  }

  std::string Path() const {
    std::string path;
    for (const FieldDescriptor* field : path_) {
      const std::string name = field == nullptr ? kUnknownFields : field->name();
      path += path.empty() ? name : "." + name;
    }
    return path;
  }

  const Descriptor& type_;
  CodedInputStream& input_;
  const size_t most_;
  /// Entries of each repeated field; those of unknown fields under null.
  std::map<const FieldDescriptor*, size_t> counts_;
  /// The fields that hold the current position, outermost first.
  std::vector<const FieldDescriptor*> path_;
  /// The field with too many entries.
  std::string excess_;
};

}  // namespace

absl::Status CheckRequest(const Descriptor& type, const grpc::ByteBuffer& request, const RequestLimits& limits) {
  if (request.Length() > limits.bytes) {
    return MakeError(
        absl::StatusCode::kResourceExhausted, v1::LIMIT_REACHED,
        fmt::format("the request has {} bytes; a {} has at most {}", request.Length(), type.name(), limits.bytes));
  }
  grpc::ByteBuffer bytes = request;
  grpc::ProtoBufferReader reader(&bytes);
  if (!reader.status().ok()) return absl::InternalError("the request's bytes cannot be read");
  CodedInputStream input(&reader);
  return EntryCount(type, &input, limits.entries).Check();
}

}  // namespace regroup
