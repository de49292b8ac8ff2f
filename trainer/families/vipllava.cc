// ViP-LLaVA: LLaVA that reads several layers of its vision tower.
#include "trainer/families/family.h"

namespace regroup {

Family VipllavaFamily() {
  return {.models = "ViP-LLaVA",
          .architecture = "VipLlavaForConditionalGeneration",
          .composite = Composite{.text_type = "llama"}};
}

}  // namespace regroup
