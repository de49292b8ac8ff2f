// Parses the JSON of a safetensors header event by event. It builds no document, so a hostile header can neither nest
// deeply nor repeat a name undetected. safetensors_header.cc checks the values.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

/// Returns the entries in the order of the text, and the metadata. DATA_LOSS names the file and the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsJson(std::string_view json, std::string_view file);

/// Returns the name as errors show it: quoted, and shortened if it is very long.
std::string ShownName(std::string_view name);

}  // namespace regroup
