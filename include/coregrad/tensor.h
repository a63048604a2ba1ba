#pragma once
// Tensor: a light handle on a node of the recorded graph, and what becomes of it: values,
// gradients.
//
// Operations (coregrad/ops.h) record; nothing is computed until a value is asked for. These ask:
// realize(), item(), to_vector(), data(), backward() for its own tensor's value only, and
// set_requires_grad(true), which gives a leaf data of its own.

#include "coregrad/dtype.h"
#include "coregrad/error.h"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad {

struct TensorState;
using Dims = std::vector<int64_t>;

/// A value of the graph. Copies are the same tensor; safe to use from many threads at once.
class Tensor {
 public:
  /// No tensor; every use but assignment is a ValueError.
  Tensor() = default;
  explicit Tensor(std::shared_ptr<TensorState> state) : state_(std::move(state)) {}

  bool is_defined() const { return state_ != nullptr; }
  DType dtype() const;
  const Dims& shape() const;
  int64_t ndim() const { return static_cast<int64_t>(shape().size()); }
  /// Extent of a dimension, which may be negative (counted from the end).
  int64_t size(int64_t dim) const;
  int64_t numel() const;
  /// In elements. Row-major until and after realisation, except over memory that came with others.
  Dims strides() const;
  bool is_contiguous() const;

  bool is_realized() const;
  /// Computes the value if it is not there; returns this tensor.
  const Tensor& realize() const;
  /// First byte of the values, realised if need be; element i,j,.. lies at sum(i * stride).
  const void* data() const;
  /// The same address, keeping the values alive.
  std::shared_ptr<const void> storage() const;
  /// The values row by row, converted from dtype(); realised if need be.
  template <class T>
  std::vector<T> to_vector() const;
  /// The only value of a tensor with one element.
  double item() const;

  bool requires_grad() const;
  /// Marks a leaf (ValueError for a computed tensor, DTypeError unless floating); realises it.
  const Tensor& set_requires_grad(bool on) const;
  /// Adds d(this)/d(leaf) to grad() of every leaf this depends on. Lazy: gradients are realised
  /// when asked for. `gradient` is needed unless this has one element. AutogradError if this is not
  /// realised, does not depend on a leaf, or was already differentiated without `keep_graph`.
  void backward(const Tensor& gradient = {}, bool keep_graph = false) const;
  /// The gradient so far; undefined if there is none.
  Tensor grad() const;
  /// Replaces the gradient (undefined: none); ShapeError or DTypeError if it does not match.
  void set_grad(const Tensor& gradient) const;
  void zero_grad() const { set_grad({}); }
  /// The same value without a way back for gradients.
  Tensor detach() const;
  /// Makes this tensor stand for another one's value; for optimisers. Shape and dtype must match.
  /// A leaf stays a leaf: it takes the realised value without the way it was computed.
  void assign(const Tensor& value) const;

  const std::shared_ptr<TensorState>& state() const { return state_; }

 private:
  std::shared_ptr<TensorState> state_;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// Computes all that is pending in one plan.
void realize(std::span<const Tensor> tensors);
inline void realize(std::initializer_list<Tensor> tensors) {
  realize(std::span<const Tensor>(tensors.begin(), tensors.size()));
}

/// While one lives, this thread records operations whose results need no gradient.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};
bool grad_enabled();

/// The value of a scalar function and its gradient for each argument, recorded together and lazy.
struct ValueAndGrad {
  Tensor value;
  std::vector<Tensor> gradients;
};
using ScalarFunction = std::function<Tensor(std::span<const Tensor>)>;
/// AutogradError if the value is not one floating element or does not depend on an argument.
ValueAndGrad value_and_grad(const ScalarFunction& function, std::span<const Tensor> arguments);
inline std::vector<Tensor> grad(const ScalarFunction& function, std::span<const Tensor> arguments) {
  return value_and_grad(function, arguments).gradients;
}

/// What the tensor layer did so far, for tests and reports.
struct SessionStats {
  int64_t nodes = 0;           ///< in the graph now
  int64_t live_data = 0;       ///< realised values held now
  int64_t plans_compiled = 0;  ///< structures met for the first time
  int64_t plan_hits = 0;       ///< structures met again
  int64_t realizations = 0;    ///< plans run
  int64_t steps = 0;           ///< of the plans run
  int64_t products = 0;        ///< of those steps, matrix products and convolutions
};
SessionStats session_stats();

}  // namespace coregrad
#pragma GCC visibility pop
