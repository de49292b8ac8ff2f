// For loops that are compiled for several processors and chosen at the first call.
#pragma once

/// Sixteen floats; the compiler uses as many registers for them as the processor needs.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));
inline constexpr int kLanes = 16;

// The choice is made before a sanitizer is ready, and other compilers spell it differently.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define REGROUP_FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define REGROUP_FOR_EACH_PROCESSOR
#endif
#define REGROUP_INLINE inline __attribute__((always_inline))
