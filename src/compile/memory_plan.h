#pragma once
// Offsets for temporaries in one block: lifetimes that do not meet share memory.

#include <cstdint>
#include <vector>

namespace coregrad {

/// A buffer that lives from the step that writes it to the last step that reads it (inclusive).
struct Lifetime {
  int64_t bytes = 0;
  int64_t first_step = 0, last_step = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  ///< one per lifetime, multiples of 64
  int64_t total_bytes = 0;
  std::vector<int64_t> guard_pages;  ///< offsets of pages that nobody may touch
};

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes);

/// The same for finding accesses outside of buffers: nothing is shared, and each buffer has pages
/// of its own (runtime/guarded_memory.h).
MemoryPlan plan_guarded_memory(const std::vector<Lifetime>& lifetimes);

}  // namespace coregrad
