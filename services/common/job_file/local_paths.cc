#include "services/common/job_file/local_paths.h"

#include <algorithm>

#include "services/common/base/staging_folder.h"
#include "services/common/job_file/address.h"
#include "services/common/job_file/allowed_paths.h"

namespace regroup {
namespace {

constexpr char kResultFolder[] = "result";

bool IsOfOutput(std::string_view field) { return field.starts_with("output."); }

}  // namespace

std::vector<std::string> AddressesToFetch(const v1::JobSpec& spec) {
  std::vector<std::string> addresses;
  v1::JobSpec copy = spec;
  ForEachPath(copy, [&](const std::string& field, const std::string& path) {
    const bool is_new = std::find(addresses.begin(), addresses.end(), path) == addresses.end();
    if (!IsOfOutput(field) && IsAddress(path) && is_new) addresses.push_back(path);
  });
  return addresses;
}

std::vector<std::string> AddressesToUpload(const v1::JobSpec& spec) {
  std::vector<std::string> addresses;
  for (const std::string& output : {spec.output().checkpoint(), spec.output().also()}) {
    if (IsAddress(output)) addresses.push_back(output);
  }
  return addresses;
}

std::filesystem::path LocalOutput(const v1::JobSpec& spec, const std::filesystem::path& job_folder) {
  const std::string& output = spec.output().checkpoint();
  return IsAddress(output) ? job_folder / kResultFolder : NamedFolder(output);
}

v1::JobSpec WithLocalPaths(v1::JobSpec spec, const std::filesystem::path& job_folder,
                           const std::filesystem::path& fetched) {
  ForEachPath(spec, [&](const std::string& field, std::string& path) {
    if (!IsAddress(path)) return;
    if (field == "output.checkpoint") {
      path = LocalOutput(spec, job_folder);
    } else if (const auto address = ParseAddress(path); address.ok() && !IsOfOutput(field)) {
      path = fetched / LocalName(*address);
    }
  });
  return spec;
}

std::map<std::string, std::string> AddressesByPath(const v1::JobSpec& written, const v1::JobSpec& local) {
  std::map<std::string, std::string> of_field, of_path;
  v1::JobSpec copy = written;
  ForEachPath(copy, [&](const std::string& field, const std::string& text) { of_field[field] = text; });
  copy = local;
  ForEachPath(copy, [&](const std::string& field, const std::string& path) {
    if (IsAddress(of_field[field])) of_path[path] = of_field[field];
  });
  return of_path;
}

}  // namespace regroup
