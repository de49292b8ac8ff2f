#include "trainer/data/parquet/parquet_rows.h"

#include <dlfcn.h>

namespace regroup {

ParquetRows::Open ParquetRows::Load(std::string& error) {
  // The module stays loaded. RTLD_LOCAL keeps the symbols of Arrow, which exports those of other libraries in it,
  // apart.
  void* module = dlopen("libregroup_parquet.so", RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    error = dlerror();
    return nullptr;
  }
  return reinterpret_cast<Open>(dlsym(module, "RegroupOpenParquet"));
}

}  // namespace regroup
