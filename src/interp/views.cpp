// Views by index arithmetic: every result is a copy, nothing is shared.

#include "interp/kernels.h"

#include <algorithm>

namespace coregrad::interp {
namespace {

/// out[index] = x[start + sum(index * strides)].
void copy_from(const Array& x, SymInts strides, int64_t start, Array& out) {
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* const from = x.as<T>().data();
    T* const to = out.as<T>().data();
    walk(out.shape, strides, start, [&](int64_t i, int64_t offset) { to[i] = from[offset]; });
  });
}

/// out[start + sum(index * strides)] = x[index].
void copy_to(const Array& x, SymInts strides, int64_t start, Array& out) {
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* const from = x.as<T>().data();
    T* const to = out.as<T>().data();
    walk(x.shape, strides, start, [&](int64_t i, int64_t offset) { to[offset] = from[i]; });
  });
}

void pad(const Graph& graph, NodeId id, const Array& x, Array& out) {
  const Scalar fill = graph.literal(id);
  dispatch(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const std::span<T> to = out.as<T>();
    std::fill(to.begin(), to.end(), element_from<T>(fill));
  });
  std::vector<int64_t> strides = row_major(out.shape);
  int64_t start = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    start += graph.attr(id, 3 * d) * strides[d];
    strides[d] *= graph.attr(id, 3 * d + 2) + 1;
  }
  copy_to(x, strides, start, out);
}

void concat(int64_t dim, Operands parts, Array& out) {
  const std::vector<int64_t> strides = row_major(out.shape);
  int64_t start = 0;
  for (const Array* part : parts) {
    copy_to(*part, strides, start, out);
    start += part->shape[dim] * strides[dim];
  }
}

/// The windowed dimension steps by its stride, the offset inside the window by the dilation.
void window(SymInts attrs, const Array& x, Array& out) {
  const std::vector<int64_t> own = row_major(x.shape);
  std::vector<int64_t> strides = own;
  for (size_t w = 0; w < attrs.size(); w += 4) {
    const auto dim = static_cast<size_t>(attrs[w]);
    strides[dim] = own[dim] * attrs[w + 2];
    strides.push_back(own[dim] * attrs[w + 3]);
  }
  copy_from(x, strides, 0, out);
}

}  // namespace

Array run_view(const Graph& graph, NodeId id, Operands operands) {
  const Op op = graph[id].op;
  Array out = make_array(graph.dtype(id), graph.shape(id));
  if (op == Op::Concat) {
    concat(graph.attr(id, 0), operands, out);
    return out;
  }
  const Array& x = *operands[0];
  if (op == Op::Pad) {
    pad(graph, id, x, out);
    return out;
  }
  if (op == Op::Reshape) {
    COREGRAD_CHECK(x.data.size() == out.data.size());
    out.data = x.data;
    return out;
  }

  if (op == Op::Window) {
    window(graph.attrs(id), x, out);
    return out;
  }

  // The others read x along strides of their own.
  const std::vector<int64_t> own = row_major(x.shape);
  std::vector<int64_t> strides(out.shape.size());
  int64_t start = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    if (op == Op::Permute) {
      strides[d] = own[graph.attr(id, d)];
    } else if (op == Op::Expand) {
      strides[d] = x.shape[d] == 1 ? 0 : own[d];
    } else if (op == Op::Slice) {
      start += graph.attr(id, 2 * d) * own[d];
      strides[d] = graph.attr(id, 2 * d + 1) * own[d];
    } else {
      COREGRAD_CHECK(op == Op::Flip);
      const bool flipped = graph.attr(id, d) != 0;
      if (flipped) start += (x.shape[d] - 1) * own[d];
      strides[d] = flipped ? -own[d] : own[d];
    }
  }
  copy_from(x, strides, start, out);
  return out;
}

}  // namespace coregrad::interp
