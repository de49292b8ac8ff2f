#include "trainer/data/tokenizer/sentencepiece_model.h"

#include <dlfcn.h>

namespace regroup {
namespace {

/// Loads the module, which stays loaded. Returns null and sets `error` on failure.
ParseSentencePiece LoadModule(std::string& error) {
  // RTLD_DEEPBIND makes the module prefer its own symbols: see the header.
  void* module = dlopen("libregroup_sentencepiece.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (module == nullptr) {
    error = dlerror();
    return nullptr;
  }
  return reinterpret_cast<ParseSentencePiece>(dlsym(module, "RegroupParseSentencePiece"));
}

}  // namespace

std::unique_ptr<SentencePieceModel> SentencePieceModel::Parse(std::string_view content, std::string& error) {
  static std::string module_error;
  static const ParseSentencePiece parse = LoadModule(module_error);
  if (parse == nullptr) {
    error = module_error;
    return nullptr;
  }
  return std::unique_ptr<SentencePieceModel>(parse(content, error));
}

}  // namespace regroup
