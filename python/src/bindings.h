#pragma once
// What the parts of the extension module share.

#include "base/shape_env.h"
#include "coregrad/ops.h"
#include "coregrad/options.h"
#include "ir/graph.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace coregrad::python {

namespace nb = nanobind;

/// A node together with the graph it lives in.
struct NodeRef {
  std::shared_ptr<Graph> graph;
  NodeId id;
};

using GraphPtr = std::shared_ptr<Graph>;
using MaybeNode = std::optional<NodeRef>;

/// What Python sees of a SymInt that is no number, with what owns it.
struct SymbolicSize {
  std::shared_ptr<ShapeEnv> env;
  SymInt size;
};

/// One dimension, several, or none for all.
struct DimList {
  Dims values;
};

/// One extent, or several.
struct Extents {
  Dims values;
};

/// One size, several, or none.
struct SizeList {
  std::vector<SymInt> values;
};

/// One number, several, or none.
struct NumberList {
  std::vector<double> values;
};

/// The node's id; ValueError that names the operation if the node is not of this graph.
NodeId id_in(const GraphPtr& graph, const NodeRef& node, std::string_view operation);
std::optional<NodeId> maybe_id(const GraphPtr& graph, const MaybeNode& node,
                               std::string_view operation);
std::vector<NodeId> ids_in(const GraphPtr& graph, const std::vector<NodeRef>& nodes,
                           std::string_view operation);

/// What a builder gives as Python sees it.
inline NodeRef refer(const GraphPtr& g, NodeId node) { return {g, node}; }
inline std::pair<NodeRef, NodeRef> refer(const GraphPtr& g, std::pair<NodeId, NodeId> nodes) {
  return {refer(g, nodes.first), refer(g, nodes.second)};
}
std::vector<NodeRef> refer(const GraphPtr& g, const std::vector<NodeId>& nodes);

/// A Python int, float or bool as a literal of `dtype`; integers keep all 64 bits. What is no
/// number or does not fit is an error that names the operation.
Scalar to_scalar(nb::handle value, DType dtype, std::string_view operation);

// What Python gives for arguments (arguments.cpp); nothing for what is none.
/// A DType, its name, a dtype or scalar type of NumPy's, or bool, int (int64) or float (float64).
std::optional<DType> read_dtype(nb::handle source) noexcept;
/// A number of Python's or NumPy's that int64 or float64 hold.
std::optional<Number> read_number(nb::handle source) noexcept;
/// A copy of a NumPy array.
std::optional<Tensor> read_array(nb::handle source) noexcept;
/// The same, which raises for element types that tensors do not have.
Tensor copy_array(nb::handle array);
/// Extents or dimensions given as several arguments: none, or what is no int, fits another
/// overload.
Dims dims_of(const nb::args& extents);
/// Where NumPy's functions pass an array to write to: None.
struct NoArray {};
using Device = std::optional<std::string>;
/// ValueError for another device than the CPU.
void require_cpu(const Device& device, std::string_view operation);

/// Turns the C++ exception that is being handled into the matching Python error, for functions that
/// CPython calls directly.
void set_python_error();

/// "none", "mean" or "sum"; ValueError names the operation.
Reduction to_reduction(const std::string& word, std::string_view operation);

void bind_errors(nb::module_& m);
void bind_sizes(nb::module_& m);
void bind_graph(nb::module_& m);
void bind_program(nb::module_& m);
void bind_tensor(nb::module_& m);
/// Methods of tensors and functions that move memory from and to arrays.
void bind_arrays(nb::module_& m, nb::class_<Tensor>& tensor);
/// Slots of the type Tensor: the buffer protocol.
PyType_Slot* array_slots();
void bind_optim(nb::module_& m);
void bind_checkpoint(nb::module_& m);
void bind_functional(nb::module_& m);

/// Methods of graphs for random numbers and recurrent layers.
void bind_graph_series(nb::class_<Graph>& graph);

// The rows of ops/operators.def.
/// Whether a row with a formula has the name.
bool is_operator(std::string_view name);
void bind_graph_operators(nb::class_<Graph>& graph);
/// Functions of `m` and methods.
void bind_tensor_operators(nb::module_& m, nb::class_<Tensor>& tensor);
/// Functions of networks, from where bind_tensor_operators() put them.
void bind_network_operators(nb::module_& from, nb::module_& functional);

}  // namespace coregrad::python

namespace nanobind::detail {

/// One number, whole if T is, or a sequence of them.
template <class T>
bool read_numbers(handle source, uint32_t flags, cleanup_list* cleanup,
                  std::vector<T>& numbers) noexcept {
  const bool is_index = PyIndex_Check(source.ptr()) && !PySequence_Check(source.ptr());
  if (is_index || (std::is_floating_point_v<T> && PyFloat_Check(source.ptr()))) {
    make_caster<T> one;
    if (!one.from_python(source, flags, cleanup)) return false;
    numbers = {one.value};
    return true;
  }
  make_caster<std::vector<T>> several;
  if (!several.from_python(source, flags, cleanup)) return false;
  numbers = std::move(several.value);
  return true;
}

/// A size: an int where it is a number.
template <>
struct type_caster<coregrad::SymInt> {
  NB_TYPE_CASTER(coregrad::SymInt, const_name("int | SymInt"))

  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    if (isinstance<coregrad::python::SymbolicSize>(source)) {
      value = inst_ptr<coregrad::python::SymbolicSize>(source)->size;
      return true;
    }
    make_caster<int64_t> number;
    if (!PyIndex_Check(source.ptr()) || !number.from_python(source, flags, cleanup)) return false;
    if (number.value < -coregrad::kUnbounded) return false;  // such numbers stand for symbols
    value = number.value;
    return true;
  }
  static handle from_cpp(coregrad::SymInt x, rv_policy, cleanup_list* cleanup) noexcept {
    if (x.is_number()) return PyLong_FromLongLong(x.number());
    return make_caster<coregrad::python::SymbolicSize>::from_cpp(
        coregrad::python::SymbolicSize{x.expr().env->shared_from_this(), x}, rv_policy::move,
        cleanup);
  }
};

template <>
struct type_caster<coregrad::python::SizeList> {
  NB_TYPE_CASTER(coregrad::python::SizeList,
                 const_name("int | collections.abc.Sequence[int] | None"))

  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    value.values.clear();
    if (source.is_none()) return true;
    make_caster<coregrad::SymInt> one;
    if (one.from_python(source, flags, cleanup)) {
      value.values = {one.value};
      return true;
    }
    make_caster<std::vector<coregrad::SymInt>> several;
    if (!several.from_python(source, flags, cleanup)) return false;
    value.values = std::move(several.value);
    return true;
  }
};

template <>
struct type_caster<coregrad::python::DimList> {
  NB_TYPE_CASTER(coregrad::python::DimList,
                 const_name("int | collections.abc.Sequence[int] | None"))

  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    value.values.clear();
    return source.is_none() || read_numbers(source, flags, cleanup, value.values);
  }
};

template <>
struct type_caster<coregrad::python::NumberList> {
  NB_TYPE_CASTER(coregrad::python::NumberList,
                 const_name("float | collections.abc.Sequence[float] | None"))

  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    value.values.clear();
    return source.is_none() || read_numbers(source, flags, cleanup, value.values);
  }
};

template <>
struct type_caster<coregrad::python::Extents> {
  NB_TYPE_CASTER(coregrad::python::Extents, const_name("int | collections.abc.Sequence[int]"))

  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    return read_numbers(source, flags, cleanup, value.values);
  }
};

template <>
struct type_caster<coregrad::python::NoArray> {
  NB_TYPE_CASTER(coregrad::python::NoArray, const_name("None"))

  bool from_python(handle source, uint32_t, cleanup_list*) noexcept { return source.is_none(); }
};

/// What names a dtype.
template <>
struct type_caster<coregrad::DType> {
  NB_TYPE_CASTER(coregrad::DType, const_name("coregrad._core.DType | str | type | numpy.dtype"))

  bool from_python(handle source, uint32_t, cleanup_list* cleanup) noexcept {
    int64_t number = 0;
    if (NB_CALL(enum_from_python)(NB_CTX_C(cleanup), &typeid(coregrad::DType), source.ptr(),
                                  &number, 0)) {
      value = static_cast<coregrad::DType>(number);
      return true;
    }
    PyErr_Clear();
    const std::optional<coregrad::DType> named = coregrad::python::read_dtype(source);
    if (named) value = *named;
    return named.has_value();
  }
  static handle from_cpp(coregrad::DType dtype, rv_policy, cleanup_list* cleanup) noexcept {
    return NB_CALL(enum_from_cpp)(NB_CTX_C(cleanup), &typeid(coregrad::DType),
                                  static_cast<int64_t>(dtype));
  }
};

template <>
struct type_caster<coregrad::Number> {
  template <class>
  using Cast = coregrad::Number;
  template <class>
  static constexpr bool can_cast() {
    return true;
  }
  static constexpr auto Name = const_name("float");
  static constexpr bool IsClass = false;

  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    const std::optional<coregrad::Number> number = coregrad::python::read_number(source);
    if (number) value = *number;
    return number.has_value();
  }
  static handle from_cpp(coregrad::Number number, rv_policy, cleanup_list*) noexcept {
    return number.is_floating() ? PyFloat_FromDouble(number.to_double())
                                : PyLong_FromLongLong(number.value().i);
  }
  explicit operator coregrad::Number() { return value; }

  coregrad::Number value = 0;
};

/// A tensor, a number or a NumPy array; anything else is another class's business.
template <>
struct type_caster<coregrad::Operand> {
  template <class>
  using Cast = coregrad::Operand;
  template <class>
  static constexpr bool can_cast() {
    return true;
  }
  static constexpr auto Name = const_name("Tensor | float | numpy.ndarray");
  static constexpr bool IsClass = false;

  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    make_caster<coregrad::Tensor> tensor;
    if (tensor.from_python(source, flags, cleanup)) {
      value = coregrad::Operand(tensor.operator coregrad::Tensor&());
      return true;
    }
    if (const std::optional<coregrad::Number> number = coregrad::python::read_number(source)) {
      value = coregrad::Operand(*number);
      return true;
    }
    if (const std::optional<coregrad::Tensor> array = coregrad::python::read_array(source)) {
      value = coregrad::Operand(*array);
      return true;
    }
    return false;
  }
  explicit operator coregrad::Operand() { return value; }

  coregrad::Operand value{0.0};
};

}  // namespace nanobind::detail
