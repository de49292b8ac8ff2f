// Assertions of fuzz targets: a property that does not hold ends the program, so that the fuzzer keeps the input.
#pragma once

#include <cstdio>
#include <cstdlib>

#define REGROUP_REQUIRE(condition)                                                       \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
