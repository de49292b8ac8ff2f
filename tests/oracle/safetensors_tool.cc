// Lets a Python oracle drive our safetensors reader and writers: reads one JSON request per line, prints one answer
// each.
//
// {"read": file}                    -> {"tensors": {name: {"dtype", "shape", "hex"}}, "metadata"}
// {"rewrite": file, "to": file}     -> {} after every tensor was read and written again
// {"weights": file}                 -> {"tensors": ...} of a file of any format
// {"folder": folder}                -> {"tensors": {name: [dtype, shape]}, "digest", "dtypes"}
// {"shard": folder, "to": folder, "bytes": n} -> {"files"} after the folder's tensors were written in shards
// Any failure is {"error": text}.
#include <iostream>
#include <string>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "services/common/base/status_macros.h"
#include "trainer/checkpoint/checkpoint_folder.h"
#include "trainer/checkpoint/checkpoint_writer.h"
#include "trainer/checkpoint/safetensors_file.h"
#include "trainer/checkpoint/safetensors_writer.h"

namespace regroup {
namespace {

using Json = nlohmann::json;

std::string HexOf(const at::Tensor& tensor) {
  const at::Tensor bytes = tensor.contiguous();
  return absl::BytesToHexString({static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()});
}

absl::StatusOr<Json> TensorsOf(const WeightsFile& file) {
  Json tensors = Json::object();
  for (const TensorInfo& info : file.tensors()) {
    REGROUP_ASSIGN_OR_RETURN(const at::Tensor tensor, file.Tensor(info.name));
    tensors[info.name] = {
        {"dtype", SafetensorsDtypeName(info.dtype)}, {"shape", tensor.sizes().vec()}, {"hex", HexOf(tensor)}};
  }
  return tensors;
}

absl::StatusOr<Json> Read(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  REGROUP_ASSIGN_OR_RETURN(const Json tensors, TensorsOf(*file));
  return Json{{"tensors", tensors}, {"metadata", file->metadata()}};
}

absl::StatusOr<Json> ReadWeights(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(const auto file, OpenWeightsFile(path));
  REGROUP_ASSIGN_OR_RETURN(const Json tensors, TensorsOf(*file));
  return Json{{"tensors", tensors}};
}

absl::StatusOr<Json> Rewrite(const std::string& from, const std::string& to) {
  REGROUP_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(from));
  std::vector<NamedTensor> tensors;
  for (const std::string& name : file->names()) {
    REGROUP_ASSIGN_OR_RETURN(at::Tensor tensor, file->Tensor(name));
    tensors.emplace_back(name, std::move(tensor));
  }
  REGROUP_RETURN_IF_ERROR(WriteSafetensors(to, tensors, file->metadata()));
  return Json::object();
}

absl::StatusOr<Json> Describe(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(const auto folder, CheckpointFolder::Open(path));
  const std::string digest = DigestOf(folder->Digests());
  Json tensors = Json::object();
  for (const TensorInfo& tensor : folder->tensors()) {
    tensors[tensor.name] = {SafetensorsDtypeName(tensor.dtype), tensor.shape};
  }
  return Json{{"tensors", tensors}, {"digest", digest}, {"dtypes", DtypeSummary(folder->tensors())}};
}

absl::StatusOr<Json> Shard(const std::string& from, const std::string& to, uint64_t bytes) {
  REGROUP_ASSIGN_OR_RETURN(const auto folder, CheckpointFolder::Open(from));
  size_t next = 0;
  const TensorGenerator generator = [&]() -> absl::StatusOr<std::optional<NamedTensor>> {
    if (next == folder->tensors().size()) return std::nullopt;
    const std::string& name = folder->tensors()[next++].name;
    REGROUP_ASSIGN_OR_RETURN(at::Tensor tensor, folder->Tensor(name));
    return NamedTensor(name, std::move(tensor));
  };
  REGROUP_ASSIGN_OR_RETURN(const WrittenCheckpoint written, WriteCheckpoint(to, generator, bytes));
  return Json{{"files", written.files}};
}

absl::StatusOr<Json> Answer(const Json& request) {
  if (request.contains("read")) return Read(request["read"]);
  if (request.contains("weights")) return ReadWeights(request["weights"]);
  if (request.contains("rewrite")) return Rewrite(request["rewrite"], request["to"]);
  if (request.contains("folder")) return Describe(request["folder"]);
  return Shard(request.at("shard"), request.at("to"), request.at("bytes"));
}

}  // namespace
}  // namespace regroup

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<nlohmann::json> answer = regroup::Answer(nlohmann::json::parse(line));
    const nlohmann::json shown =
        answer.ok() ? *answer : nlohmann::json{{"error", std::string(answer.status().message())}};
    std::cout << shown.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  }
  return 0;
}
