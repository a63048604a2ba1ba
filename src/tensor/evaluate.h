#pragma once
// From a structure to numbers: the cache of plans, and running one over buffers.

#include "coregrad/dtype.h"
#include "tensor/structure.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace coregrad {

struct Plan;

/// A value that is computed besides the roots, because gradients will read it.
struct KeptValue {
  int64_t number;  ///< of the structure's node
  DType dtype;
  std::vector<int64_t> shape;
};

/// A structure made runnable. Immutable; any number of threads may run it at once.
class Executable {
 public:
  virtual ~Executable() = default;
  /// `outputs[i]` gets root i, and after those the kept values, row-major; none overlaps an input.
  virtual void run(std::span<const void* const> inputs, std::span<void* const> outputs) const = 0;
  /// How many steps one run takes, and how many of them are products.
  virtual int64_t num_steps() const = 0;
  virtual int64_t num_products() const = 0;

  const std::vector<KeptValue>& kept() const { return kept_; }

 protected:
  std::vector<KeptValue> kept_;
};

/// The roots and the values to keep, which are listed in `kept`; shapes are those of hints.
std::vector<NodeId> results_of(StandaloneGraph& standalone, std::vector<KeptValue>& kept);

/// A plan over the inputs and then `literals`, as they lie in memory.
std::shared_ptr<const Executable> make_executable(std::shared_ptr<const Plan> plan,
                                                  std::vector<KeptValue> kept,
                                                  std::vector<uint64_t> literals = {});

struct EvaluationStats {
  int64_t compiled = 0;
  int64_t hits = 0;  ///< structures that a plan was there for
  int64_t runs = 0;
  int64_t steps = 0;     ///< of all runs
  int64_t products = 0;  ///< of the steps, matrix products and convolutions
};

/// The executable of a structure, from the cache when one with the same key was made before, or
/// one that serves it (tensor/structure_family.h),
/// unless it is to be for these sizes alone.
std::shared_ptr<const Executable> executable_for(const Structure& structure, bool any_sizes = true);

EvaluationStats evaluation_stats();
void count_run(const Executable& executable);

}  // namespace coregrad
