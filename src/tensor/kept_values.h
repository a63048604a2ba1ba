#pragma once
// Which values of a computation its gradient should find, so that it need not compute them again.

#include "tensor/structure.h"

#include <cstdint>
#include <vector>

namespace coregrad {

/// Numbers of nodes, none of them a root. Adds the gradient's nodes to the graph.
///
/// These are what the gradient reads of the computation, followed back to values that are dear
/// (reductions, products, library steps) or that a product has in memory anyway; elementwise
/// functions and views of those are cheaper to compute again inside the gradient's own kernels than
/// to write and read. Empty where the gradient does not exist: asking for it says why.
std::vector<int64_t> values_to_keep(StandaloneGraph& computation);

}  // namespace coregrad
