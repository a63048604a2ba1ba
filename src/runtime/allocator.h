#pragma once
// The caching allocator: 64-byte aligned blocks, reused by size class, huge pages for large ones.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace coregrad {

struct MemoryStats {
  int64_t allocated_bytes = 0;  ///< in use now
  int64_t peak_allocated_bytes = 0;
  int64_t cached_bytes = 0;  ///< free, kept for reuse
  int64_t allocations = 0;   ///< requests so far
  int64_t cache_hits = 0;
};

/// A block of at least `bytes` (0 gives a valid pointer). Thread-safe. OutOfMemoryError if the
/// system refuses, after the cache was emptied once.
void* allocate(int64_t bytes);
void deallocate(void* block);

MemoryStats memory_stats();
void reset_peak_memory_stats();
/// Gives cached blocks back to the system.
void empty_cache();

/// Owns one block.
struct BlockDeleter {
  void operator()(void* p) const { deallocate(p); }
};
using Block = std::unique_ptr<void, BlockDeleter>;
inline Block allocate_block(int64_t bytes) { return Block(allocate(bytes)); }

}  // namespace coregrad
