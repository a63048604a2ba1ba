#pragma once
// From a structure to numbers: the cache of plans, and running one over buffers.

#include "ir/dtype.h"
#include "tensor/structure.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace coregrad {

/// A structure made runnable. Immutable; any number of threads may run it at once.
class Executable {
 public:
  virtual ~Executable() = default;
  /// `outputs[i]` gets root i, row-major, and overlaps no input.
  virtual void run(std::span<const void* const> inputs, std::span<void* const> outputs) const = 0;
};

struct EvaluationStats {
  int64_t compiled = 0;
  int64_t hits = 0;
  int64_t runs = 0;
};

/// The executable of a structure, from the cache when one with the same key was made before.
std::shared_ptr<const Executable> executable_for(const Structure& structure);

EvaluationStats evaluation_stats();
void count_run();

}  // namespace coregrad
