#pragma once
// The reference interpreter: every primitive, slowly and plainly. The oracle for the compiler.

#include "ir/graph.h"

#include <cstddef>
#include <span>
#include <vector>

namespace coregrad {

/// A dense row-major array of one dtype.
struct Array {
  DType dtype = DType::Float32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;

  template <class T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(data.data()), data.size() / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }
  int64_t numel() const { return static_cast<int64_t>(data.size()) / size_of(dtype); }
};

/// Storage of one input: element (i, j, ..) is at data + sum(i * stride) elements.
struct InputView {
  const void* data;
};

/// Values of `roots`, computed node by node in index order (no recursion); memory of a node is
/// freed after its last use. `inputs[k].data` belongs to Op::Input k, whose strides are in the
/// node. Throws IndexError for a bad index, UnsupportedError for Op::External.
std::vector<Array> interpret(const Graph& graph, std::span<const NodeId> roots,
                             std::span<const InputView> inputs);

}  // namespace coregrad
