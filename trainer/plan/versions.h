// Versions of Regroup and of libtorch that this program was built from, for reports.
#pragma once

#include <string>

namespace regroup {

std::string RegroupVersion();
std::string TorchVersion();

}  // namespace regroup
