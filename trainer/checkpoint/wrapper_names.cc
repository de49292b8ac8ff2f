#include "trainer/checkpoint/wrapper_names.h"

#include <algorithm>
#include <array>

namespace regroup {
namespace {

constexpr std::array<std::string_view, 3> kAnywhere = {"_orig_mod.", "_fsdp_wrapped_module.",
                                                       "_checkpoint_wrapped_module."};
constexpr std::string_view kAtBeginning = "module.";

}  // namespace

std::string WithoutWrappers(std::string_view name) {
  std::string kept;
  while (!name.empty()) {
    const auto starts = [&](std::string_view wrapper) { return name.starts_with(wrapper); };
    const auto* const wrapper = std::find_if(kAnywhere.begin(), kAnywhere.end(), starts);
    if (wrapper != kAnywhere.end()) {
      name.remove_prefix(wrapper->size());
    } else if (kept.empty() && starts(kAtBeginning)) {
      name.remove_prefix(kAtBeginning.size());
    } else {
      const std::string_view part = name.substr(0, std::min(name.find('.'), name.size() - 1) + 1);
      kept += part;
      name.remove_prefix(part.size());
    }
  }
  return kept;
}

}  // namespace regroup
