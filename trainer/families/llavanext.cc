// LLaVA-NeXT (1.6): LLaVA with images in several tiles.
#include "trainer/families/family.h"

namespace regroup {

Family LlavanextFamily() {
  return {.models = "LLaVA-NeXT",
          .architecture = "LlavaNextForConditionalGeneration",
          .composite = Composite{.text_type = "llama"}};
}

}  // namespace regroup
