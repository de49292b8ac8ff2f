// Recognises files that are not what their names say: what is left of a download, or another format. Pure functions,
// for any thread; they do not use libtorch.
#pragma once

#include <string>
#include <string_view>

namespace regroup {

/// The format that a file should have.
enum class KnownFormat { kSafetensors, kTorch, kJson };

/// Returns what the file is instead and what to do, as the end of a sentence that begins with its name; empty if its
/// first bytes are not known to belong to something else.
std::string ForeignFile(std::string_view begin, KnownFormat expected);

}  // namespace regroup
