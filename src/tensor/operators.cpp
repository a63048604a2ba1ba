// Functions of tensors that are not operators of the table: their parameters are not a builder's.

#include "base/checked.h"
#include "coregrad/ops.h"
#include "ir/print.h"
#include "ops/linalg.h"
#include "ops/primitives.h"
#include "tensor/recorded.h"

#include <algorithm>

namespace coregrad {

using Nodes = std::span<const NodeId>;

Tensor cast(const Tensor& x, DType dtype) {
  return record_move("cast", {x}, [&](Graph& g, Nodes n) { return ops::cast(g, n[0], dtype); });
}

Tensor slice(const Tensor& x, int64_t dim, int64_t start, int64_t stop, int64_t step) {
  if (step < 1) raise<ValueError>("slice: the step must be positive, got {}", step);
  const int64_t extent = x.size(dim);
  const auto clamp = [extent](int64_t at) {
    return std::clamp<int64_t>(at < 0 ? at + extent : at, 0, extent);
  };
  const int64_t first = clamp(start);
  const int64_t last = std::max(first, clamp(stop));
  return record_move("slice", {x}, [&](Graph& g, Nodes n) {
    return ops::narrow(g, n[0], ops::normalize_dim(dim, g.rank(n[0]), "slice"), first, last, step);
  });
}

Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  const int64_t extent = x.size(dim);
  if (index < -extent || index >= extent)
    raise<IndexError>("select: index {} is out of range for dimension {} of {}", index, dim,
                      type_text(x.dtype(), x.shape()));
  const int64_t at = index < 0 ? index + extent : index;
  const int64_t d = ops::normalize_dim(dim, x.ndim(), "select");
  return record_move("select", {x}, [&](Graph& g, Nodes n) {
    return ops::squeeze(g, ops::narrow(g, n[0], d, at, at + 1), Dims{d});
  });
}

Tensor squeeze(const Tensor& x) {
  Dims ones;
  for (int64_t d = 0; d < x.ndim(); ++d)
    if (x.shape()[d] == 1) ones.push_back(d);
  return squeeze(x, ones);
}

Tensor pad(const Tensor& x, const Dims& low, const Dims& high, double fill) {
  return record_move("pad", {x}, [&](Graph& g, Nodes n) {
    const Dims interior(low.size(), 0);
    return ops::pad(g, n[0], low, high, interior, Scalar::of(g.dtype(n[0]), fill));
  });
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim) {
  if (size < 1) raise<ValueError>("split: the size must be positive, got {}", size);
  Dims sizes;
  for (int64_t left = x.size(dim); left > 0; left -= size) sizes.push_back(std::min(size, left));
  return split_with_sizes(x, sizes, dim);
}

Tensor max(const Tensor& x, const Dims& dims, bool keepdim) { return amax(x, dims, keepdim); }
Tensor min(const Tensor& x, const Dims& dims, bool keepdim) { return amin(x, dims, keepdim); }

Tensor einsum(std::string_view equation, std::span<const Tensor> operands) {
  return record("einsum", operands, [&](Graph& g, Nodes n) { return ops::einsum(g, equation, n); });
}

}  // namespace coregrad
