// Compiles loops for several CPU types and chooses one at the first call.
#pragma once

/// Sixteen floats; the compiler uses as many registers for them as the CPU needs.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));
inline constexpr int kLanes = 16;

// Not under a sanitizer, because the choice is made before it is ready; other compilers use another syntax.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define REGROUP_FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define REGROUP_FOR_EACH_PROCESSOR
#endif
#define REGROUP_INLINE inline __attribute__((always_inline))
