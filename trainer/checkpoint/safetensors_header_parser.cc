#include "trainer/checkpoint/safetensors_header_parser.h"

#include <fmt/format.h>

#include <limits>
#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

namespace regroup {
namespace {

constexpr size_t kMaxDimensions = 64;

/// A state machine over JSON events. A handler sets error_ and returns false to stop.
class HeaderEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader TakeHeader() { return std::move(header_); }
  const std::string& error() const { return error_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override { return Unexpected("the number " + text); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(fmt::format("the header is not valid JSON at byte {}", position));
  }

 private:
  enum class State {
    kStart,
    kTop,
    kEntry,
    kMetadataValue,
    kMetadata,
    kMetadataText,
    kInfo,
    kDtype,
    kShape,
    kShapeItems,
    kOffsets,
    kOffsetsItems,
    kDone
  };

  bool Fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
    return false;
  }
  bool FailInTensor(std::string_view what) { return Fail(fmt::format("tensor {}: {}", ShownName(entry_.name), what)); }
  bool Unexpected(std::string_view found);
  bool TopKey(string_t& name);
  bool InfoKey(const string_t& name);
  bool Dtype(const string_t& name);
  bool FinishEntry();
  bool SeenFirst(bool& seen, std::string_view name) {
    if (seen) return FailInTensor(fmt::format("\"{}\" is given twice", name));
    return seen = true;
  }

  State state_ = State::kStart;
  SafetensorsHeader header_;
  std::unordered_set<std::string> names_;
  std::string error_;
  std::string metadata_key_;
  SafetensorsEntry entry_;
  int offsets_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

bool HeaderEvents::Unexpected(std::string_view found) {
  switch (state_) {
    case State::kStart:
    case State::kTop:
    case State::kDone:
      return Fail(fmt::format("the header must be a JSON object, not {}", found));
    case State::kMetadataValue:
    case State::kMetadata:
    case State::kMetadataText:
      return Fail(fmt::format("\"__metadata__\" must map strings to strings; found {}", found));
    case State::kEntry:
      return FailInTensor(fmt::format("must be an object with dtype, shape and data_offsets, not {}", found));
    case State::kDtype:
      return FailInTensor(fmt::format("\"dtype\" must be a string, not {}", found));
    case State::kShape:
    case State::kShapeItems:
      return FailInTensor(fmt::format("\"shape\" must be a list of integers; found {}", found));
    default:
      return FailInTensor(fmt::format("\"data_offsets\" must be a list of two integers; found {}", found));
  }
}

bool HeaderEvents::number_unsigned(number_unsigned_t value) {
  if (state_ == State::kShapeItems) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return FailInTensor("its shape overflows");
    if (entry_.shape.size() == kMaxDimensions) return FailInTensor("it has too many dimensions");
    entry_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (state_ != State::kOffsetsItems) return Unexpected("a number");
  if (offsets_ == 2) return Unexpected("a third number");
  (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
  return true;
}

bool HeaderEvents::string(string_t& value) {
  if (state_ == State::kDtype) return Dtype(value);
  if (state_ != State::kMetadataText) return Unexpected("a string");
  header_.metadata[metadata_key_] = std::move(value);
  state_ = State::kMetadata;
  return true;
}

bool HeaderEvents::Dtype(const string_t& name) {
  const std::optional<SafetensorsDtype> dtype = SafetensorsDtypeFromName(name);
  if (!dtype) {
    return FailInTensor(fmt::format("dtype {} is not supported; convert it to F32, F16 or BF16", ShownName(name)));
  }
  entry_.dtype = *dtype;
  state_ = State::kInfo;
  return true;
}

bool HeaderEvents::start_object(size_t) {
  switch (state_) {
    case State::kStart:
      state_ = State::kTop;
      return true;
    case State::kEntry:
      state_ = State::kInfo;
      return true;
    case State::kMetadataValue:
      state_ = State::kMetadata;
      return true;
    default:
      return Unexpected("an object");
  }
}

bool HeaderEvents::key(string_t& name) {
  if (state_ == State::kTop) return TopKey(name);
  if (state_ == State::kInfo) return InfoKey(name);
  if (header_.metadata.contains(name)) return Fail(fmt::format("metadata {} is given twice", ShownName(name)));
  metadata_key_ = std::move(name);
  state_ = State::kMetadataText;
  return true;
}

bool HeaderEvents::TopKey(string_t& name) {
  if (!names_.insert(name).second) return Fail(fmt::format("tensor {} is listed twice", ShownName(name)));
  state_ = name == "__metadata__" ? State::kMetadataValue : State::kEntry;
  entry_ = SafetensorsEntry();
  entry_.name = std::move(name);
  offsets_ = 0;
  has_dtype_ = has_shape_ = has_offsets_ = false;
  return true;
}

bool HeaderEvents::InfoKey(const string_t& name) {
  if (name == "dtype") {
    state_ = State::kDtype;
    return SeenFirst(has_dtype_, name);
  }
  if (name == "shape") {
    state_ = State::kShape;
    return SeenFirst(has_shape_, name);
  }
  if (name == "data_offsets") {
    state_ = State::kOffsets;
    return SeenFirst(has_offsets_, name);
  }
  return FailInTensor(fmt::format("{} is not a known property", ShownName(name)));
}

bool HeaderEvents::end_object() {
  if (state_ == State::kInfo) return FinishEntry();
  state_ = state_ == State::kMetadata ? State::kTop : State::kDone;
  return true;
}

bool HeaderEvents::FinishEntry() {
  if (!has_dtype_) return FailInTensor("\"dtype\" is missing");
  if (!has_shape_) return FailInTensor("\"shape\" is missing");
  if (!has_offsets_) return FailInTensor("\"data_offsets\" is missing");
  header_.entries.push_back(std::move(entry_));
  state_ = State::kTop;
  return true;
}

bool HeaderEvents::start_array(size_t) {
  if (state_ == State::kShape) {
    state_ = State::kShapeItems;
    return true;
  }
  if (state_ != State::kOffsets) return Unexpected("a list");
  state_ = State::kOffsetsItems;
  return true;
}

bool HeaderEvents::end_array() {
  if (state_ == State::kOffsetsItems && offsets_ != 2) return Unexpected("fewer");
  state_ = State::kInfo;
  return true;
}

}  // namespace

std::string ShownName(std::string_view name) {
  constexpr size_t kShownBytes = 200;
  if (name.size() <= kShownBytes) return fmt::format("\"{}\"", name);
  return fmt::format("\"{}...\"", name.substr(0, kShownBytes));
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsJson(std::string_view json, std::string_view file) {
  // The JSON reader treats a NUL as the end of its input and would ignore the rest.
  if (const size_t nul = json.find('\0'); nul != json.npos) {
    return absl::DataLossError(fmt::format("{}: the header is not valid JSON at byte {}", file, nul));
  }
  HeaderEvents events;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &events)) {
    return absl::DataLossError(fmt::format("{}: {}", file, events.error()));
  }
  return events.TakeHeader();
}

}  // namespace regroup
