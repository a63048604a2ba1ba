#pragma once
// Rare cases of elementary functions that generated code calls: exact, and as slow as need be.
//
// jit_link.cpp resolves them by these names; generated code passes all lanes of a vector at once.

#include <cstdint>

namespace coregrad::vector_math {

/// x[i] = q pi/2 + r with |r| <= pi/4 for any x[i] >= 0; q modulo 4. Infinity and NaN give r = NaN.
void reduce_huge_f32(const float* x, float* r, int32_t* q, int64_t lanes);
void reduce_huge_f64(const double* x, double* r, int64_t* q, int64_t lanes);

/// fmod(x[i], y[i]).
void fmod_exact(const double* x, const double* y, double* result, int64_t lanes);

inline constexpr const char* kReduceHugeF32 = "coregrad_reduce_huge_f32";
inline constexpr const char* kReduceHugeF64 = "coregrad_reduce_huge_f64";
inline constexpr const char* kFmodExact = "coregrad_fmod_exact";

}  // namespace coregrad::vector_math
