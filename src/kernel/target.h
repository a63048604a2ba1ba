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

/// From how much work on a program is computed in another way. Values differ by the rounding of
/// sums at most. Tests make all of it small (COREGRAD_MACHINE=tiny), so that small programs take
/// every way that large ones take.
struct Thresholds {
  int64_t stream_bytes = 16 * 1024 * 1024;  ///< a step that touches more writes past the caches

  int64_t split_elements = 64 * 1024;    ///< few sums of so many elements are made of parts,
  int64_t part_elements = 8 * 1024;      ///< of so many each
  int64_t column_elements = 512 * 1024;  ///< so are sums of so many elements down columns,
  int64_t column_part = 64 * 1024;       ///< of so many each,
  int64_t column_bytes = 64 * 1024;      ///< in rows of results where parts have so many bytes

  int64_t merge_elements = 32 * 1024;  ///< kernels of more are not merged into too few units
  int64_t lane_block = 1024;           ///< most elements along the lanes in one unit
  int64_t chunk_ns = 10000;            ///< work of a chunk
  int64_t serial_ns = 5000;            ///< steps of less stay on the calling thread

  int64_t contract_side_bytes = 1024;  ///< rows or lanes of a block of a contraction
  int64_t contract_steps = 1024;       ///< most steps of k of a block
  int64_t contract_unit = 1'000'000;   ///< multiply-adds of a unit
  int64_t contract_loop = 4'000'000;   ///< loops over k of more take several steps at once
  int64_t contract_phase = 4'000'000;  ///< windows that divide are taken apart from here on
};

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
  bool has_amx = false;     ///< AMX: products of bfloat16 in tiles of 16 x 32
  bool only_tiles = false;  ///< tests: tiles wherever they can be used, not where they are faster
  int64_t l1_bytes = 32 * 1024, l2_bytes = 1024 * 1024, l3_bytes = 16 * 1024 * 1024;
  int threads = 1;  ///< into how many shares work should fall; no result depends on it
  Thresholds thresholds;
  std::string machine;  ///< what COREGRAD_MACHINE made of caches, threads and thresholds

  int lanes(int element_bytes) const { return vector_bytes / element_bytes; }
  /// Whether stores can go around the caches.
  bool can_stream() const { return isa == Isa::Avx2 || has_avx512; }
};

/// The target with other caches, threads or thresholds: "tiny", or settings as in
/// "l2=65536,stream=256,threads=3", or both. ValueError for a setting that does not exist.
Target with_machine(Target target, std::string_view settings);

}  // namespace coregrad
