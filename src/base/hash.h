#pragma once
// Hashing for interning and structure keys (xxHash3).

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace coregrad {

inline uint64_t hash_bytes(const void* data, size_t size, uint64_t seed = 0) {
  return XXH3_64bits_withSeed(data, size, seed);
}

inline uint64_t hash_string(std::string_view text, uint64_t seed = 0) {
  return hash_bytes(text.data(), text.size(), seed);
}

inline uint64_t hash_ints(std::span<const int64_t> values, uint64_t seed = 0) {
  return hash_bytes(values.data(), values.size_bytes(), seed);
}

}  // namespace coregrad
