// Layout of OLMo 2 and 3.
#pragma once

#include "trainer/families/llama_layout.h"

namespace regroup {

std::vector<NameRule> Olmo2Names();

}  // namespace regroup
