// coregrad._core.Graph: the graph builder, one method for each function of ops/primitives.h.
//
// Elementwise operations and reductions are bound from the table of primitives, by their printed
// names; a name that Python reserves has an underscore behind it.

#include "base/checked.h"
#include "base/error.h"
#include "grad/gradient.h"
#include "ir/print.h"
#include "ops/math.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace coregrad::python {
namespace {

using Ints = std::vector<int64_t>;
using GraphPtr = std::shared_ptr<Graph>;

std::vector<NodeId> ids_in(const GraphPtr& graph, const std::vector<NodeRef>& nodes,
                           std::string_view operation) {
  std::vector<NodeId> ids;
  ids.reserve(nodes.size());
  for (const NodeRef& n : nodes) ids.push_back(id_in(graph, n, operation));
  return ids;
}

std::string method_name(Op op) {
  std::string name(name_of(op));
  if (op == Op::Not || op == Op::And || op == Op::Or) name += '_';
  return name;
}

ScatterMode scatter_mode(const std::string& name) {
  if (name == "set") return ScatterMode::Set;
  if (name == "add") return ScatterMode::Add;
  if (name == "mul") return ScatterMode::Mul;
  if (name == "max") return ScatterMode::Max;
  if (name == "min") return ScatterMode::Min;
  raise<ValueError>("scatter: mode must be set, add, mul, max or min, got {}", name);
}

DType small_integer(const std::string& name) {
  for (const DType dtype : {DType::Int8, DType::UInt8, DType::Int16})
    if (name == name_of(dtype)) return dtype;
  raise<DTypeError>("small integers are int8, uint8 and int16, got {}", name);
}

using MapTuple = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;

std::vector<DimMap> dim_maps(const std::vector<MapTuple>& rows) {
  std::vector<DimMap> maps;
  maps.reserve(rows.size());
  for (const auto& [u, v, a, b, c, s] : rows) maps.push_back({u, v, a, b, c, s});
  return maps;
}

/// A node, or a number that becomes a literal of `like`'s dtype.
NodeRef operand_like(const NodeRef& like, nb::handle value) {
  NodeRef node;
  if (nb::try_cast(value, node)) return node;
  return {like.graph,
          ops::literal(*like.graph, to_scalar(value, like.graph->dtype(like.id), "literal"))};
}

/// Python operators with another node or a number on either side.
void bind_operators(nb::class_<NodeRef>& node) {
  const auto both = [&](const char* name, const char* reflected, Op op) {
    const auto make = [op](const NodeRef& a, const NodeRef& b) {
      return NodeRef{a.graph, ops::binary(*a.graph, op, a.id, id_in(a.graph, b, name_of(op)))};
    };
    node.def(name, [make](const NodeRef& a, nb::handle b) { return make(a, operand_like(a, b)); });
    node.def(reflected,
             [make](const NodeRef& b, nb::handle a) { return make(operand_like(b, a), b); });
  };
  both("__add__", "__radd__", Op::Add);
  both("__sub__", "__rsub__", Op::Sub);
  both("__mul__", "__rmul__", Op::Mul);
  both("__truediv__", "__rtruediv__", Op::Div);
  both("__and__", "__rand__", Op::And);
  both("__or__", "__ror__", Op::Or);
  node.def("__neg__", [](const NodeRef& a) { return NodeRef{a.graph, ops::neg(*a.graph, a.id)}; });
  node.def("__invert__",
           [](const NodeRef& a) { return NodeRef{a.graph, ops::unary(*a.graph, Op::Not, a.id)}; });
  const auto compare = [&](const char* name, Op op, bool exchanged) {
    node.def(name, [op, exchanged](const NodeRef& a, nb::handle value) {
      const NodeRef b = operand_like(a, value);
      const NodeId left = exchanged ? id_in(a.graph, b, name_of(op)) : a.id;
      const NodeId right = exchanged ? a.id : id_in(a.graph, b, name_of(op));
      return NodeRef{a.graph, ops::compare(*a.graph, op, left, right)};
    });
  };
  compare("__lt__", Op::Lt, false);
  compare("__le__", Op::Le, false);
  compare("__gt__", Op::Lt, true);
  compare("__ge__", Op::Le, true);
}

void bind_elementwise(nb::class_<Graph>& graph) {
  for (int i = 0; i < kNumOps; ++i) {
    const Op op = static_cast<Op>(i);
    const std::string name = method_name(op);
    const Family family = family_of(op);
    if (family == Family::Unary)
      graph.def(
          name.c_str(),
          [op](const GraphPtr& g, const NodeRef& x) {
            return NodeRef{g, ops::unary(*g, op, id_in(g, x, name_of(op)))};
          },
          nb::arg("x"));
    else if (family == Family::Binary)
      graph.def(
          name.c_str(),
          [op](const GraphPtr& g, const NodeRef& a, const NodeRef& b) {
            return NodeRef{g,
                           ops::binary(*g, op, id_in(g, a, name_of(op)), id_in(g, b, name_of(op)))};
          },
          nb::arg("a"), nb::arg("b"));
    else if (family == Family::Compare)
      graph.def(
          name.c_str(),
          [op](const GraphPtr& g, const NodeRef& a, const NodeRef& b) {
            return NodeRef{
                g, ops::compare(*g, op, id_in(g, a, name_of(op)), id_in(g, b, name_of(op)))};
          },
          nb::arg("a"), nb::arg("b"));
    else if (family == Family::Reduce && op != Op::ArgMax && op != Op::ArgMin)
      graph.def(
          name.c_str(),
          [op](const GraphPtr& g, const NodeRef& x, const Ints& dims, bool keepdim) {
            return NodeRef{g, ops::reduce(*g, op, id_in(g, x, name_of(op)), dims, keepdim)};
          },
          nb::arg("x"), nb::arg("dims") = Ints{}, nb::arg("keepdim") = false);
    else if (family == Family::Scan)
      graph.def(
          name.c_str(),
          [op](const GraphPtr& g, const NodeRef& x, int64_t dim) {
            return NodeRef{g, ops::scan(*g, op, id_in(g, x, name_of(op)), dim)};
          },
          nb::arg("x"), nb::arg("dim"));
  }
  graph.def(
      "hypot",
      [](const GraphPtr& g, const NodeRef& a, const NodeRef& b) {
        return NodeRef{g, ops::hypot(*g, id_in(g, a, "hypot"), id_in(g, b, "hypot"))};
      },
      nb::arg("a"), nb::arg("b"));
}

void bind_leaves(nb::class_<Graph>& graph) {
  graph
      .def(
          "input",
          [](const GraphPtr& g, int64_t index, DType dtype, const Ints& shape,
             const Ints& strides) {
            return NodeRef{g, ops::input(*g, index, dtype, shape, strides)};
          },
          nb::arg("index"), nb::arg("dtype"), nb::arg("shape"), nb::arg("strides") = Ints{},
          "Input `index`, with strides in elements (none: contiguous).")
      .def(
          "small_input",
          [](const GraphPtr& g, int64_t index, const std::string& dtype, const Ints& shape,
             const Ints& strides) {
            return NodeRef{g, ops::input(*g, index, small_integer(dtype), shape, strides)};
          },
          nb::arg("index"), nb::arg("dtype"), nb::arg("shape"), nb::arg("strides") = Ints{},
          "The same where memory holds int8, uint8 or int16: as int32.")
      .def(
          "small_output",
          [](const GraphPtr& g, const NodeRef& x, const std::string& dtype) {
            return NodeRef{
                g, ops::to_small_integer(*g, id_in(g, x, "small_output"), small_integer(dtype))};
          },
          nb::arg("x"), nb::arg("dtype"),
          "What an output of int8, uint8 or int16 is; nothing else reads it.")
      .def(
          "literal",
          [](const GraphPtr& g, DType dtype, nb::handle value) {
            return NodeRef{g, ops::literal(*g, to_scalar(value, dtype, "literal"))};
          },
          nb::arg("dtype"), nb::arg("value"))
      .def(
          "full",
          [](const GraphPtr& g, const Ints& shape, DType dtype, nb::handle value) {
            return NodeRef{g, ops::full(*g, shape, to_scalar(value, dtype, "full"))};
          },
          nb::arg("shape"), nb::arg("dtype"), nb::arg("value"))
      .def(
          "iota",
          [](const GraphPtr& g, DType dtype, int64_t n) {
            return NodeRef{g, ops::iota(*g, dtype, n)};
          },
          nb::arg("dtype"), nb::arg("n"))
      .def(
          "random",
          [](const GraphPtr& g, const NodeRef& seed, DType dtype, const Ints& shape,
             int64_t stream) {
            return NodeRef{g, ops::random(*g, id_in(g, seed, "random"), dtype, shape, stream)};
          },
          nb::arg("seed"), nb::arg("dtype"), nb::arg("shape"), nb::arg("stream"),
          "Uniform floats in [0, 1) or raw bits, a function of (seed, stream, element).")
      .def(
          "external",
          [](const GraphPtr& g, int64_t id, int64_t number, const std::vector<NodeRef>& operands,
             DType dtype, const Ints& shape) {
            return NodeRef{
                g, ops::external(*g, id, number, ids_in(g, operands, "external"), dtype, shape)};
          },
          nb::arg("id"), nb::arg("number"), nb::arg("operands"), nb::arg("dtype"), nb::arg("shape"),
          "Result `number` of external call `id`.");
}

void bind_views(nb::class_<Graph>& graph) {
  graph
      .def(
          "reshape",
          [](const GraphPtr& g, const NodeRef& x, const Ints& shape) {
            return NodeRef{g, ops::reshape(*g, id_in(g, x, "reshape"), shape)};
          },
          nb::arg("x"), nb::arg("shape"))
      .def(
          "permute",
          [](const GraphPtr& g, const NodeRef& x, const Ints& order) {
            return NodeRef{g, ops::permute(*g, id_in(g, x, "permute"), order)};
          },
          nb::arg("x"), nb::arg("order"))
      .def(
          "transpose",
          [](const GraphPtr& g, const NodeRef& x, int64_t a, int64_t b) {
            return NodeRef{g, ops::transpose(*g, id_in(g, x, "transpose"), a, b)};
          },
          nb::arg("x"), nb::arg("dim_a"), nb::arg("dim_b"))
      .def(
          "broadcast_to",
          [](const GraphPtr& g, const NodeRef& x, const Ints& shape) {
            return NodeRef{g, ops::broadcast_to(*g, id_in(g, x, "broadcast_to"), shape)};
          },
          nb::arg("x"), nb::arg("shape"))
      .def(
          "slice",
          [](const GraphPtr& g, const NodeRef& x, const Ints& starts, const Ints& stops,
             const Ints& steps) {
            return NodeRef{g, ops::slice(*g, id_in(g, x, "slice"), starts, stops, steps)};
          },
          nb::arg("x"), nb::arg("starts"), nb::arg("stops"), nb::arg("steps"))
      .def(
          "narrow",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim, int64_t start, int64_t stop,
             int64_t step) {
            return NodeRef{g, ops::narrow(*g, id_in(g, x, "narrow"), dim, start, stop, step)};
          },
          nb::arg("x"), nb::arg("dim"), nb::arg("start"), nb::arg("stop"), nb::arg("step") = 1)
      .def(
          "flip",
          [](const GraphPtr& g, const NodeRef& x, const Ints& dims) {
            return NodeRef{g, ops::flip(*g, id_in(g, x, "flip"), dims)};
          },
          nb::arg("x"), nb::arg("dims"))
      .def(
          "pad",
          [](const GraphPtr& g, const NodeRef& x, const Ints& low, const Ints& high,
             const Ints& interior, nb::handle fill) {
            const NodeId id = id_in(g, x, "pad");
            return NodeRef{
                g, ops::pad(*g, id, low, high, interior, to_scalar(fill, g->dtype(id), "pad"))};
          },
          nb::arg("x"), nb::arg("low"), nb::arg("high"), nb::arg("interior"), nb::arg("fill"))
      .def(
          "window",
          [](const GraphPtr& g, const NodeRef& x,
             const std::vector<std::tuple<int64_t, int64_t, int64_t, int64_t>>& rows) {
            std::vector<ops::WindowDim> windows;
            windows.reserve(rows.size());
            for (const auto& [dim, size, stride, dilation] : rows)
              windows.push_back({dim, size, stride, dilation});
            return NodeRef{g, ops::window(*g, id_in(g, x, "window"), windows)};
          },
          nb::arg("x"), nb::arg("windows"),
          "Sliding windows given as (dimension, size, stride, dilation).")
      .def(
          "concat",
          [](const GraphPtr& g, const std::vector<NodeRef>& parts, int64_t dim) {
            return NodeRef{g, ops::concat(*g, ids_in(g, parts, "concat"), dim)};
          },
          nb::arg("parts"), nb::arg("dim"))
      .def(
          "unsqueeze",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim) {
            return NodeRef{g, ops::unsqueeze(*g, id_in(g, x, "unsqueeze"), dim)};
          },
          nb::arg("x"), nb::arg("dim"))
      .def(
          "squeeze",
          [](const GraphPtr& g, const NodeRef& x, const Ints& dims) {
            return NodeRef{g, ops::squeeze(*g, id_in(g, x, "squeeze"), dims)};
          },
          nb::arg("x"), nb::arg("dims"));
}

void bind_others(nb::class_<Graph>& graph) {
  graph
      .def(
          "select",
          [](const GraphPtr& g, const NodeRef& condition, const NodeRef& a, const NodeRef& b) {
            return NodeRef{g, ops::select(*g, id_in(g, condition, "select"), id_in(g, a, "select"),
                                          id_in(g, b, "select"))};
          },
          nb::arg("condition"), nb::arg("a"), nb::arg("b"))
      .def(
          "cast",
          [](const GraphPtr& g, const NodeRef& x, DType dtype) {
            return NodeRef{g, ops::cast(*g, id_in(g, x, "cast"), dtype)};
          },
          nb::arg("x"), nb::arg("dtype"))
      .def(
          "contract",
          [](const GraphPtr& g, const NodeRef& lhs, const NodeRef& rhs, const Ints& extents,
             const std::vector<MapTuple>& lhs_maps, const std::vector<MapTuple>& rhs_maps,
             const Ints& out) {
            ContractSpec spec;
            spec.extents = extents;
            spec.lhs = dim_maps(lhs_maps);
            spec.rhs = dim_maps(rhs_maps);
            spec.out = out;
            return NodeRef{
                g, ops::contract(*g, id_in(g, lhs, "contract"), id_in(g, rhs, "contract"), spec)};
          },
          nb::arg("lhs"), nb::arg("rhs"), nb::arg("extents"), nb::arg("lhs_maps"),
          nb::arg("rhs_maps"), nb::arg("out"),
          "Sum of products; a map is (u, v, a, b, c, s): index = (a*u + b*v + c) / s.")
      .def(
          "gather",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim, const NodeRef& index) {
            return NodeRef{g,
                           ops::gather(*g, id_in(g, x, "gather"), dim, id_in(g, index, "gather"))};
          },
          nb::arg("x"), nb::arg("dim"), nb::arg("index"))
      .def(
          "scatter",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim, const NodeRef& index,
             const NodeRef& values, const std::string& mode) {
            return NodeRef{g,
                           ops::scatter(*g, id_in(g, x, "scatter"), dim, id_in(g, index, "scatter"),
                                        id_in(g, values, "scatter"), scatter_mode(mode))};
          },
          nb::arg("x"), nb::arg("dim"), nb::arg("index"), nb::arg("values"), nb::arg("mode"))
      .def(
          "argsort",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim, bool descending) {
            return NodeRef{g, ops::argsort(*g, id_in(g, x, "argsort"), dim, descending)};
          },
          nb::arg("x"), nb::arg("dim"), nb::arg("descending") = false)
      .def(
          "gradients",
          [](const GraphPtr& g, const std::vector<NodeRef>& outputs,
             const std::vector<NodeRef>& seeds, const std::vector<NodeRef>& targets) {
            std::vector<NodeRef> result;
            for (const NodeId id :
                 gradients(*g, ids_in(g, outputs, "gradient"), ids_in(g, seeds, "gradient"),
                           ids_in(g, targets, "gradient"), Unreachable::Zeros))
              result.push_back({g, id});
            return result;
          },
          nb::arg("outputs"), nb::arg("seeds"), nb::arg("targets"),
          "Gradients of sum(seeds * outputs) for each target; zeros where unreachable.");
}

}  // namespace

NodeId id_in(const std::shared_ptr<Graph>& graph, const NodeRef& node, std::string_view operation) {
  if (node.graph != graph) raise<ValueError>("{}: a node of another graph was given", operation);
  return node.id;
}

Scalar to_scalar(nb::handle value, DType dtype, std::string_view operation) {
  if (PyLong_Check(value.ptr()) && !is_float(dtype)) {
    int overflow = 0;
    const long long v = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    const bool is_wide = v < INT32_MIN || v > INT32_MAX;
    if (overflow != 0 || (dtype == DType::Int32 && is_wide))
      raise<ValueError>("{}: the number does not fit {}: got {}", operation, name_of(dtype),
                        nb::str(value).c_str());
    return Scalar::of_int(dtype, v);
  }
  const double v = PyFloat_AsDouble(value.ptr());
  if (v == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    if (PyLong_Check(value.ptr()))
      raise<ValueError>("{}: the number does not fit {}: got {}", operation, name_of(dtype),
                        nb::str(value).c_str());
    raise<DTypeError>("{}: a number is needed: got {}", operation,
                      nb::type_name(value.type()).c_str());
  }
  return Scalar::of(dtype, v);
}

void bind_graph(nb::module_& m) {
  nb::enum_<DType>(m, "DType", "Element types.")
      .value("bool", DType::Bool)
      .value("int32", DType::Int32)
      .value("int64", DType::Int64)
      .value("float16", DType::Float16)
      .value("bfloat16", DType::BFloat16)
      .value("float32", DType::Float32)
      .value("float64", DType::Float64);

  nb::class_<NodeRef> node(m, "Node", "A node of a graph: a value with a shape and a dtype.");
  bind_operators(node);
  node.def_prop_ro("id", [](const NodeRef& n) { return n.id.value; })
      .def_prop_ro("dtype", [](const NodeRef& n) { return n.graph->dtype(n.id); })
      .def_prop_ro("ndim", [](const NodeRef& n) { return n.graph->rank(n.id); })
      .def_prop_ro("numel", [](const NodeRef& n) { return n.graph->numel(n.id); })
      .def_prop_ro("shape",
                   [](const NodeRef& n) {
                     const Shape shape = n.graph->shape(n.id);
                     PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(shape.size()));
                     if (tuple == nullptr) nb::raise_python_error();
                     for (size_t i = 0; i < shape.size(); ++i)
                       PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i),
                                        PyLong_FromLongLong(shape[i]));
                     return nb::steal<nb::tuple>(tuple);
                   })
      .def("__repr__", [](const NodeRef& n) { return ops::describe(*n.graph, n.id); });

  nb::class_<Graph> graph(m, "Graph", "Builds a graph; every method checks shapes and dtypes.");
  graph.def(nb::init<>())
      .def_prop_ro("size", &Graph::size)
      .def(
          "set_origin", [](Graph& g, const std::string& text) { g.set_origin(text); },
          nb::arg("text"), "Names where the next nodes come from.");
  bind_leaves(graph);
  bind_elementwise(graph);
  bind_views(graph);
  bind_others(graph);
  bind_graph_operators(graph);
}

}  // namespace coregrad::python
