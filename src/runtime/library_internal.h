#pragma once
// What the library steps share: a shape seen along one dimension, and how work is cut into chunks.

#include "base/checked.h"
#include "base/sym_int.h"
#include "runtime/library_steps.h"

#include <algorithm>
#include <cstdint>
#include <span>

namespace coregrad {

/// A contiguous shape as [outer, extent, inner] around a dimension.
struct AlongDim {
  int64_t outer = 1, extent = 1, inner = 1;
  int64_t numel() const { return outer * extent * inner; }
};

inline AlongDim along_dim(std::span<const int64_t> shape, int64_t dim, std::string_view what) {
  checked_numel(shape, what);
  if (shape.empty()) return {};  // a scalar is one line of one element
  COREGRAD_CHECK(dim >= 0 && dim < static_cast<int64_t>(shape.size()));
  const auto at = static_cast<size_t>(dim);
  return {checked_numel(shape.first(at), what), shape[at],
          checked_numel(shape.subspan(at + 1), what)};
}

/// Sets range, cost and chunk.
inline void set_work(LibraryStep& step, int64_t range, double cost_ns) {
  step.range = range;
  step.cost_ns = cost_ns;
  step.chunk = library_chunk(range, cost_ns);
}

template <class Context>
const Context& context_of(const StepArgs* args) {
  return *static_cast<const Context*>(args->context);
}

template <class T>
T* buffer(const StepArgs* args, int i) {
  return static_cast<T*>(args->buffers[i]);
}

}  // namespace coregrad
