#pragma once
// The random bits of Op::Random: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", 2011), defined once for the interpreter, the library and the code generator.
//
// Definition. For the element with row-major number i of a Random node with seed and stream:
//
//   block(b) = philox4x32_10(counter = {lo(b), hi(b), lo(stream), hi(stream)}, key = {lo(seed),
//   hi(seed)})
//
// where lo and hi are the low and high 32 bits.
//   bool     word = block(i / 4)[i % 4]; value = top bit of word
//   int32    word = block(i / 4)[i % 4]; value = its bits
//   float32  word = block(i / 4)[i % 4]; value = (word >> 8) * 2^-24, in [0, 1)
//   int64    pair = block(i / 2)[2 * (i % 2)] | block(i / 2)[2 * (i % 2) + 1] << 32; value = its
//   bits float64  pair as for int64; value = (pair >> 11) * 2^-53, in [0, 1)

#include <array>
#include <cstdint>

namespace coregrad::philox {

inline constexpr uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
inline constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
inline constexpr int kRounds = 10;

using Block = std::array<uint32_t, 4>;

/// One block of four random words.
constexpr Block block(uint64_t seed, uint64_t stream, uint64_t counter) {
  Block x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
             static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)};
  auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kMultiplier0) * x[0];
    const uint64_t p1 = static_cast<uint64_t>(kMultiplier1) * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return x;
}

/// 32 bits of element i: bool, int32 and float32.
constexpr uint32_t bits32(uint64_t seed, uint64_t stream, uint64_t i) {
  return block(seed, stream, i / 4)[i % 4];
}

/// 64 bits of element i: int64 and float64.
constexpr uint64_t bits64(uint64_t seed, uint64_t stream, uint64_t i) {
  const Block b = block(seed, stream, i / 2);
  const uint64_t first = 2 * (i % 2);
  return b[first] | static_cast<uint64_t>(b[first + 1]) << 32;
}

/// Uniform in [0, 1) with 24 bits.
constexpr float to_float(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }
/// Uniform in [0, 1) with 53 bits.
constexpr double to_double(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

// Known answers of the Random123 distribution (kat_vectors).
static_assert(block(0, 0, 0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
static_assert(block(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88) ==
              Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});

}  // namespace coregrad::philox
