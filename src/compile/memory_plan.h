#pragma once
// Offsets for temporaries in one block: lifetimes that do not meet share memory.

#include <cstdint>
#include <span>
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

/// Where buffers go, but for their sizes: which are alive together, and in which order places are
/// given. What is settled here is not settled anew for each set of sizes.
class MemoryLayout {
 public:
  MemoryLayout() = default;
  /// With estimates for sizes.
  explicit MemoryLayout(std::vector<Lifetime> lifetimes);
  /// For these sizes, one a buffer.
  MemoryPlan place(std::span<const int64_t> bytes) const;

 private:
  std::vector<Lifetime> lifetimes_;
  std::vector<uint32_t> order_;  ///< empty for very many
  /// For each place in the order, up to where `together_` has what is alive with it and placed
  /// before.
  std::vector<uint32_t> ends_, together_;
};

/// Places for finding accesses outside of buffers: nothing is shared, and each buffer has pages
/// of its own (runtime/guarded_memory.h).
MemoryPlan plan_guarded_memory(std::span<const int64_t> bytes);

}  // namespace coregrad
