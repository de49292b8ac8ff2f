// LLaVA 1.5, LLaVA-NeXT and ViP-LLaVA: a language model beside a vision tower and its projector.
#include "trainer/families/family.h"

namespace regroup {

Family LlavaFamily() {
  return {.models = "LLaVA 1.5, LLaVA-NeXT, ViP-LLaVA",
          .architecture = "LlavaForConditionalGeneration",
          .composite = Composite{.text_type = "llama"}};
}

}  // namespace regroup
