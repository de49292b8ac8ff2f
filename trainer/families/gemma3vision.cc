// Gemma 3 with images: the language model of gemma3.cc beside a vision tower and its projector.
#include "trainer/families/family.h"

namespace regroup {

Family Gemma3visionFamily() {
  return {.models = "Gemma 3 with images",
          .architecture = "Gemma3ForConditionalGeneration",
          .composite = Composite{.text_type = "gemma3_text", .tied = true}};
}

}  // namespace regroup
