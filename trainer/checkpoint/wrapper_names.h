// Names of tensors without the parts that wrappers of a model add to them. A pure function, for any thread.
#pragma once

#include <string>
#include <string_view>

namespace regroup {

/// Returns the name without "module." at its beginning (DataParallel, DeepSpeed) and without the parts "_orig_mod."
/// (torch.compile), "_fsdp_wrapped_module." and "_checkpoint_wrapped_module." anywhere in it.
std::string WithoutWrappers(std::string_view name);

}  // namespace regroup
