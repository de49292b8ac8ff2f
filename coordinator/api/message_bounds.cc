#include "coordinator/api/message_bounds.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/api/requests.h"
#include "services/common/base/error.h"

namespace regroup {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kLongestString = 256;
constexpr int kLongestList = 1000;
constexpr size_t kMostViolations = 10;

/// Bytes of a string, or entries of a list.
const std::map<std::string_view, size_t>& OwnBounds() {
  // Paths have at most 4096 bytes, log lines 16 KiB: the worker cuts longer ones.
  static const std::map<std::string_view, size_t> bounds = {
      {"regroup.v1.RegisterWorkerRequest.running", kMostRunning},
      {"regroup.v1.HeartbeatRequest.running", kMostRunning},
      {"regroup.v1.AttemptReport.logs", 20000},
      {"regroup.v1.AttemptReport.metrics", 20000},
      {"regroup.v1.LogEntry.message", 64 << 10},
      {"regroup.v1.Progress.phase", 4096},
      {"regroup.v1.Failure.message", 64 << 10},
      {"regroup.v1.Failure.log_tail", 100},
      {"regroup.v1.TaskOutcome.figures", 10000},
      {"regroup.v1.TaskOutcome.report_folder", 4096},
      {"regroup.v1.Publication.staged", 4096},
      {"regroup.v1.Publication.published", 4096},
      {"regroup.v1.ModelSummary.data_digests", 10000},
      {"regroup.v1.ModelSummary.DataDigestsEntry.key", 4096},
  };
  return bounds;
}

size_t BoundOf(const FieldDescriptor& field, size_t otherwise) {
  const auto found = OwnBounds().find(field.full_name());
  return found == OwnBounds().end() ? otherwise : found->second;
}

/// Bytes of each string in a list: those of a log line, the only such list.
size_t StringBound(const FieldDescriptor& field) {
  return field.is_repeated() ? 64 << 10 : BoundOf(field, kLongestString);
}

class Walk {
 public:
  void Visit(const Message& message, const std::string& path) {
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      if (violations_.size() >= kMostViolations) return;
      const std::string name = path.empty() ? field->name() : fmt::format("{}.{}", path, field->name());
      if (field->is_repeated()) {
        VisitList(message, *field, name);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Visit(message.GetReflection()->GetMessage(message, field), name);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        std::string scratch;
        CheckString(message.GetReflection()->GetStringReference(message, field, &scratch), *field, name);
      }
    }
  }

  absl::Status status() const { return violations_.empty() ? absl::OkStatus() : InvalidFields(violations_); }

 private:
  void VisitList(const Message& message, const FieldDescriptor& field, const std::string& name) {
    const int length = message.GetReflection()->FieldSize(message, &field);
    const size_t bound = BoundOf(field, kLongestList);
    if (static_cast<size_t>(length) > bound) {
      violations_.push_back(Violation(name, fmt::format("send at most {} entries instead of {}", bound, length)));
      return;
    }
    for (int i = 0; i < length && violations_.size() < kMostViolations; ++i) {
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Visit(message.GetReflection()->GetRepeatedMessage(message, &field, i), fmt::format("{}[{}]", name, i));
      } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        std::string scratch;
        CheckString(message.GetReflection()->GetRepeatedStringReference(message, &field, i, &scratch), field,
                    fmt::format("{}[{}]", name, i));
      }
    }
  }

  void CheckString(const std::string& text, const FieldDescriptor& field, const std::string& name) {
    const size_t bound = StringBound(field);
    if (text.size() <= bound) return;
    violations_.push_back(Violation(name, fmt::format("send at most {} bytes instead of {}", bound, text.size())));
  }

  std::vector<FieldViolation> violations_;
};

}  // namespace

absl::Status CheckBounds(const Message& message) {
  Walk walk;
  walk.Visit(message, "");
  return walk.status();
}

}  // namespace regroup
