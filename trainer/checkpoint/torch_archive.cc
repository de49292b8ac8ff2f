#include "trainer/checkpoint/torch_archive.h"

#include <c10/util/Exception.h>
#include <caffe2/serialize/inline_container.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/foreign_file.h"
#include "trainer/checkpoint/safetensors_header_parser.h"

namespace regroup {
namespace {

using caffe2::serialize::PyTorchStreamReader;

/// Members that describe the archive, if it has them.
constexpr char kByteOrder[] = "byteorder";
constexpr char kAlignment[] = ".storage_alignment";
constexpr std::array<const char*, 3> kSettings = {".format_version", kAlignment, kByteOrder};

/// Lets libtorch read from memory.
class MemoryReader : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit MemoryReader(std::string_view bytes) : bytes_(bytes) {}
  size_t size() const override { return bytes_.size(); }
  size_t read(uint64_t position, void* buffer, size_t count, const char*) const override {
    const std::string_view rest = position < bytes_.size() ? bytes_.substr(position, count) : std::string_view();
    std::copy(rest.begin(), rest.end(), static_cast<char*>(buffer));
    return rest.size();
  }

 private:
  std::string_view bytes_;
};

/// Runs a function of libtorch, whose errors are exceptions, and returns the first line of such an error.
template <typename Function>
absl::Status Caught(const Function& function) {
  std::string what;
  try {
    function();
    return absl::OkStatus();
  } catch (const c10::Error& error) {
    what = error.what_without_backtrace();
  } catch (const std::exception& error) {
    what = error.what();
  }
  return absl::DataLossError(what.substr(0, what.find('\n')));
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char letter) { return static_cast<unsigned char>(letter) < 0x80; });
}

uint64_t LittleEndian(std::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

/// Position and number of the descriptions of an archive's members.
struct Directory {
  uint64_t begin;
  uint64_t members;
};

/// Finds the directory as libtorch does: by the last record of its end, or the longer record in front of that.
std::optional<Directory> FindDirectory(std::string_view archive) {
  constexpr uint64_t kEndBytes = 22, kLocatorBytes = 20, kLongEndBytes = 56, kMostCommentBytes = 0xffff;
  if (archive.size() < kEndBytes) return std::nullopt;
  const size_t end = archive.rfind("PK\5\6", archive.size() - kEndBytes);
  if (end == archive.npos || archive.size() - end > kEndBytes + kMostCommentBytes) return std::nullopt;
  const auto number = [&](uint64_t place, uint64_t bytes) { return LittleEndian(archive.substr(place, bytes)); };
  if (end >= kLocatorBytes + kLongEndBytes && archive.substr(end - kLocatorBytes).starts_with("PK\6\7")) {
    const uint64_t long_end = number(end - kLocatorBytes + 8, 8);
    if (long_end <= archive.size() - kLongEndBytes && archive.substr(long_end).starts_with("PK\6\6")) {
      return Directory{.begin = number(long_end + 48, 8), .members = number(long_end + 32, 8)};
    }
  }
  return Directory{.begin = number(end + 16, 4), .members = number(end + 10, 2)};
}

/// Checks that the archive holds plain data, and that no member is compressed: libtorch unpacks some of them on its
/// own, at whatever size they claim.
absl::Status CheckMembers(std::string_view archive, std::string_view file) {
  constexpr std::string_view kSignature = "PK\1\2";
  constexpr uint64_t kHeaderBytes = 46;
  const std::optional<Directory> directory = FindDirectory(archive);
  uint64_t place = directory ? directory->begin : archive.size();
  std::optional<std::string_view> compressed;
  bool is_script = false;
  for (uint64_t left = directory ? directory->members : 1; left > 0; --left) {
    if (place > archive.size() || archive.size() - place < kHeaderBytes ||
        !archive.substr(place).starts_with(kSignature)) {
      return absl::DataLossError(
          fmt::format("{} is not an archive of torch.save, or is truncated (its directory is not complete)", file));
    }
    const auto number = [&](uint64_t offset) { return LittleEndian(archive.substr(place + offset, 2)); };
    const std::string_view name = archive.substr(place + kHeaderBytes, number(28));
    is_script |= name.ends_with("/constants.pkl");
    if (!compressed && number(10) != 0) compressed = name;
    place += kHeaderBytes + number(28) + number(30) + number(32);
  }
  if (is_script) {
    return absl::DataLossError(fmt::format(
        "{} holds a program of TorchScript, which is never run; save the model's state_dict() instead", file));
  }
  if (!compressed) return absl::OkStatus();
  return absl::DataLossError(fmt::format("{}: its member {} is compressed, which torch.save does not do; save it again",
                                         file, ShownName(*compressed)));
}

/// Returns true if the header of a member says that its bytes are stored as they are.
bool IsStoredPlainly(std::string_view archive, uint64_t header) {
  constexpr std::string_view kSignature = "PK\3\4";
  constexpr uint64_t kHeaderBytes = 30;
  constexpr uint64_t kEncrypted = 1;
  if (header > archive.size() || archive.size() - header < kHeaderBytes) return false;
  const std::string_view bytes = archive.substr(header, kHeaderBytes);
  return bytes.starts_with(kSignature) && (LittleEndian(bytes.substr(6, 2)) & kEncrypted) == 0 &&
         LittleEndian(bytes.substr(8, 2)) == 0;
}

}  // namespace

TorchArchive::TorchArchive(std::string_view archive, std::string_view file) : archive_(archive), file_(file) {}
TorchArchive::TorchArchive(TorchArchive&&) noexcept = default;
TorchArchive& TorchArchive::operator=(TorchArchive&&) noexcept = default;
TorchArchive::~TorchArchive() = default;

absl::StatusOr<TorchArchive> TorchArchive::Open(std::string_view bytes, std::string_view file) {
  const std::string foreign = ForeignFile(bytes, KnownFormat::kTorch);
  if (!foreign.empty()) return absl::DataLossError(fmt::format("{} {}", file, foreign));
  REGROUP_RETURN_IF_ERROR(CheckMembers(bytes, file));
  TorchArchive archive(bytes, file);
  bool is_foreign = false;
  std::vector<std::string> settings;
  const absl::Status opened = Caught([&] {
    archive.reader_ = std::make_unique<PyTorchStreamReader>(std::make_shared<MemoryReader>(bytes));
    // Listing the members also checks that all of them lie in one folder.
    for (const std::string& name : archive.reader_->getAllRecords()) is_foreign |= !IsAscii(name);
    for (const char* name : kSettings) {
      if (archive.reader_->hasRecord(name)) settings.emplace_back(name);
    }
  });
  if (!opened.ok()) {
    return absl::DataLossError(
        fmt::format("{} is not an archive of torch.save, or is truncated ({})", file, std::string(opened.message())));
  }
  if (is_foreign) return absl::DataLossError(fmt::format("{} has members that torch.save does not write", file));
  for (const std::string& name : settings) REGROUP_RETURN_IF_ERROR(archive.CheckSetting(name));
  return archive;
}

absl::Status TorchArchive::CheckSetting(const std::string& name) {
  REGROUP_ASSIGN_OR_RETURN(const std::string_view value, Member(name));
  REGROUP_RETURN_IF_ERROR(CheckMember(name));
  if (name == kAlignment) {
    const bool is_number = !value.empty() && std::all_of(value.begin(), value.end(),
                                                         [](char letter) { return letter >= '0' && letter <= '9'; });
    if (!is_number) return absl::DataLossError(fmt::format("{}: its member {} is not a number", file_, name));
  }
  if (name != kByteOrder || value == "little") return absl::OkStatus();
  return absl::DataLossError(fmt::format("{} was written on a machine of the byte order {}; save it again on this one",
                                         file_, ShownName(value)));
}

absl::StatusOr<std::string_view> TorchArchive::Locate(const std::string& name) {
  uint64_t header = 0, offset = 0, size = 0;
  REGROUP_RETURN_IF_ERROR(Caught([&] {
    header = reader_->getRecordHeaderOffset(name);
    offset = reader_->getRecordOffset(name);
    size = reader_->getRecordSize(name);
  }));
  if (!IsStoredPlainly(archive_, header)) {
    return absl::DataLossError("it is compressed or encrypted, which torch.save does not do");
  }
  if (offset > archive_.size() || size > archive_.size() - offset) {
    return absl::DataLossError("it lies beyond the end of the file; is the file truncated?");
  }
  return archive_.substr(offset, size);
}

absl::StatusOr<std::string_view> TorchArchive::Member(const std::string& name) {
  auto member = Locate(name);
  if (member.ok()) return member;
  return absl::DataLossError(fmt::format("{}: its member {} cannot be read: {}", file_, ShownName(name),
                                         std::string(member.status().message())));
}

absl::Status TorchArchive::CheckMember(const std::string& name) {
  REGROUP_ASSIGN_OR_RETURN(const std::string_view member, Member(name));
  bool is_same = false;
  absl::Status read = Caught([&] {
    const auto [data, size] = reader_->getRecord(name);
    is_same = std::string_view(static_cast<const char*>(data.get()), size) == member;
  });
  // The reader takes nothing from a member whose compressed size, as the directory has it, is zero.
  if (read.ok() && !is_same) read = absl::DataLossError("the directory gives it another size");
  if (read.ok()) return read;
  return absl::DataLossError(
      fmt::format("{}: its member {} is damaged: {}", file_, ShownName(name), std::string(read.message())));
}

}  // namespace regroup
