#pragma once
// What the generated code may assume about the machine.

#include <cstdint>
#include <string>
#include <string_view>

namespace coregrad {

/// Amx is Avx512 and tile registers, whose products of bfloat16 matrices have a unit of their own.
enum class Isa { Generic, Neon, Avx2, Avx512, Amx };

/// The name COREGRAD_ISA knows it by.
std::string_view name_of(Isa isa);

/// The vector description every generator works from.
struct Target {
  Isa isa = Isa::Generic;
  std::string cpu;        ///< LLVM's name
  std::string features;   ///< LLVM's feature string
  int vector_bytes = 16;  ///< widest vector worth using
  int num_registers = 16;
  bool has_masks = false;  ///< masked loads and stores cost about as much as plain ones
  bool has_fma = false;  ///< llvm.fma is one instruction; otherwise it would be a slow library call
  bool has_float16 = false;  ///< float16 from and to float32 is one instruction
  bool has_avx512 = false;
  bool has_tiles = false;   ///< AMX: products of bfloat16 in tiles of 16 x 32
  bool only_tiles = false;  ///< tests: tiles wherever they can be used, not where they are faster
  int64_t l1_bytes = 32 * 1024, l2_bytes = 1024 * 1024, l3_bytes = 16 * 1024 * 1024;
  int threads = 1;  ///< into how many shares work should fall; no result depends on it

  int lanes(int element_bytes) const { return vector_bytes / element_bytes; }
};

/// Whether this machine can run code for `isa`.
bool host_supports(Isa isa);
/// The host, narrowed by COREGRAD_ISA. Throws ValueError for an ISA the host does not have.
const Target& host_target();
/// The host as if it had only `isa`. Throws ValueError for an ISA the host does not have.
Target target_for(Isa isa);

}  // namespace coregrad
