// Reads the JSON of a safetensors header, event by event: no document is built, so that a hostile header can neither
// nest deeply nor repeat a name unseen. What the numbers mean is checked in safetensors_header.cc.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "trainer/checkpoint/safetensors_header.h"

namespace regroup {

/// Entries in the order of the text, and the metadata. INVALID_ARGUMENT names the file and the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsJson(std::string_view json, std::string_view file);

/// A name as it is shown in errors: quoted, and cut where it is very long.
std::string ShownName(std::string_view name);

}  // namespace regroup
