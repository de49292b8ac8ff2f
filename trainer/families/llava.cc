// LLaVA 1.5: a language model beside a vision tower and its projector.
#include "trainer/families/family.h"

namespace regroup {

Family LlavaFamily() {
  return {.models = "LLaVA 1.5",
          .architecture = "LlavaForConditionalGeneration",
          .composite = Composite{.text_type = "llama", .reads_tied_of_text = true}};
}

}  // namespace regroup
