// coregrad._core.Graph: the graph builder, one method for each function of ops/primitives.h.
//
// Elementwise operations and reductions are bound from the table of primitives, by their printed
// names; a name that Python reserves has an underscore behind it.

#include "base/checked.h"
#include "base/error.h"
#include "grad/gradient.h"
#include "ir/print.h"
#include "ops/conv.h"
#include "ops/indexing.h"
#include "ops/losses.h"
#include "ops/nn.h"
#include "ops/operators.h"
#include "ops/primitives.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace coregrad::python {
namespace {

using Ints = std::vector<int64_t>;
using Sizes = std::vector<SymInt>;

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

using MapTuple = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t>;

std::vector<DimMap> dim_maps(const std::vector<MapTuple>& rows) {
  std::vector<DimMap> maps;
  maps.reserve(rows.size());
  for (const auto& [u, v, a, b, c, s] : rows) maps.push_back({u, v, a, b, c, s});
  return maps;
}

/// A number, or a size, as a node of rank 0.
NodeId number_node(Graph& graph, nb::handle value, DType dtype, std::string_view operation) {
  if (!nb::isinstance<SymbolicSize>(value))
    return ops::literal(graph, to_scalar(value, dtype, operation));
  return ops::cast(graph, ops::size(graph, nb::cast<const SymbolicSize&>(value).size), dtype);
}

/// A node, or a number that becomes one of `like`'s dtype.
NodeRef operand_like(const NodeRef& like, nb::handle value) {
  NodeRef node;
  if (nb::try_cast(value, node)) return node;
  return {like.graph, number_node(*like.graph, value, like.graph->dtype(like.id), "literal")};
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
    if (is_operator(name)) continue;
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
}

void bind_leaves(nb::class_<Graph>& graph) {
  graph
      .def(
          "input",
          [](const GraphPtr& g, int64_t index, DType dtype, const Sizes& shape,
             const Sizes& strides) {
            return NodeRef{g, ops::input(*g, index, dtype, shape, strides)};
          },
          nb::arg("index"), nb::arg("dtype"), nb::arg("shape"), nb::arg("strides") = Sizes{},
          "Input `index`, with strides in elements (none: contiguous).")
      .def(
          "literal",
          [](const GraphPtr& g, DType dtype, nb::handle value) {
            return NodeRef{g, number_node(*g, value, dtype, "literal")};
          },
          nb::arg("dtype"), nb::arg("value"))
      .def(
          "full",
          [](const GraphPtr& g, const Sizes& shape, DType dtype, nb::handle value) {
            return NodeRef{g, ops::broadcast_to(*g, number_node(*g, value, dtype, "full"), shape)};
          },
          nb::arg("shape"), nb::arg("dtype"), nb::arg("value"))
      .def(
          "iota",
          [](const GraphPtr& g, DType dtype, SymInt n) {
            return NodeRef{g, ops::iota(*g, dtype, n)};
          },
          nb::arg("dtype"), nb::arg("n"))
      .def(
          "arange",
          [](const GraphPtr& g, DType dtype, nb::handle start, nb::handle step, SymInt n) {
            const bool is_counted =
                is_integer(dtype) || !(PyFloat_Check(start.ptr()) || PyFloat_Check(step.ptr()));
            const DType work = is_counted ? DType::Int64 : DType::Float64;
            const auto scalar = [&](nb::handle x) {
              if (!PyFloat_Check(x.ptr())) return number_node(*g, x, work, "arange");
              return ops::literal(*g, Scalar::of(work, PyFloat_AS_DOUBLE(x.ptr())));
            };
            return NodeRef{g, ops::arange(*g, dtype, scalar(start), scalar(step), n)};
          },
          nb::arg("dtype"), nb::arg("start"), nb::arg("step"), nb::arg("n"),
          "start + i * step in int64, or in float64 unless all are whole, and then rounded.")
      .def(
          "eye",
          [](const GraphPtr& g, DType dtype, SymInt rows, SymInt columns) {
            return NodeRef{g, ops::eye(*g, dtype, rows, columns)};
          },
          nb::arg("dtype"), nb::arg("rows"), nb::arg("columns"))
      .def(
          "random",
          [](const GraphPtr& g, const NodeRef& seed, DType dtype, const Sizes& shape,
             int64_t stream) {
            return NodeRef{g, ops::random(*g, id_in(g, seed, "random"), dtype, shape, stream)};
          },
          nb::arg("seed"), nb::arg("dtype"), nb::arg("shape"), nb::arg("stream"),
          "Uniform floats in [0, 1) or raw bits, a function of (seed, stream, element).")
      .def(
          "external",
          [](const GraphPtr& g, int64_t id, int64_t number, const std::vector<NodeRef>& operands,
             DType dtype, const Sizes& shape) {
            return NodeRef{
                g, ops::external(*g, id, number, ids_in(g, operands, "external"), dtype, shape)};
          },
          nb::arg("id"), nb::arg("number"), nb::arg("operands"), nb::arg("dtype"), nb::arg("shape"),
          "Result `number` of external call `id`.");
}

void bind_views(nb::class_<Graph>& graph) {
  graph
      .def(
          "slice",
          [](const GraphPtr& g, const NodeRef& x, const Sizes& starts, const Sizes& stops,
             const Sizes& steps) {
            return NodeRef{g, ops::slice(*g, id_in(g, x, "slice"), starts, stops, steps)};
          },
          nb::arg("x"), nb::arg("starts"), nb::arg("stops"), nb::arg("steps"))
      .def(
          "narrow",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim, SymInt start, SymInt stop,
             SymInt step) {
            return NodeRef{g, ops::narrow(*g, id_in(g, x, "narrow"), dim, start, stop, step)};
          },
          nb::arg("x"), nb::arg("dim"), nb::arg("start"), nb::arg("stop"), nb::arg("step") = 1)
      .def(
          "pad",
          [](const GraphPtr& g, const NodeRef& x, const Sizes& low, const Sizes& high,
             const Sizes& interior, nb::handle fill) {
            const NodeId id = id_in(g, x, "pad");
            return NodeRef{
                g, ops::pad(*g, id, low, high, interior, to_scalar(fill, g->dtype(id), "pad"))};
          },
          nb::arg("x"), nb::arg("low"), nb::arg("high"), nb::arg("interior"), nb::arg("fill"))
      .def(
          "window",
          [](const GraphPtr& g, const NodeRef& x,
             const std::vector<std::tuple<int64_t, SymInt, SymInt, SymInt>>& rows) {
            std::vector<ops::WindowDim> windows;
            windows.reserve(rows.size());
            for (const auto& [dim, size, stride, dilation] : rows)
              windows.push_back({dim, size, stride, dilation});
            return NodeRef{g, ops::window(*g, id_in(g, x, "window"), windows)};
          },
          nb::arg("x"), nb::arg("windows"),
          "Sliding windows given as (dimension, size, stride, dilation).");
}

void bind_attention(nb::class_<Graph>& graph) {
  const auto options_of = [](const GraphPtr& g, const MaybeNode& mask, bool is_causal,
                             std::optional<double> scale, bool grouped_heads) {
    return ops::AttentionOptions{.mask = maybe_id(g, mask, "attention"),
                                 .is_causal = is_causal,
                                 .scale = scale,
                                 .grouped_heads = grouped_heads};
  };
  graph
      .def(
          "attention_scores",
          [options_of](const GraphPtr& g, const NodeRef& query, const NodeRef& key,
                       const MaybeNode& mask, bool is_causal, std::optional<double> scale,
                       bool grouped_heads) {
            return NodeRef{g, ops::attention_scores(
                                  *g, id_in(g, query, "attention"), id_in(g, key, "attention"),
                                  options_of(g, mask, is_causal, scale, grouped_heads))};
          },
          nb::arg("query"), nb::arg("key"), nb::arg("mask").none(), nb::arg("is_causal"),
          nb::arg("scale").none(), nb::arg("grouped_heads"))
      .def(
          "attention_with_logsumexp",
          [options_of](const GraphPtr& g, const NodeRef& query, const NodeRef& key,
                       const NodeRef& value, const MaybeNode& mask, bool is_causal,
                       std::optional<double> scale, bool grouped_heads) {
            return refer(g, ops::attention_with_logsumexp(
                                *g, id_in(g, query, "attention"), id_in(g, key, "attention"),
                                id_in(g, value, "attention"),
                                options_of(g, mask, is_causal, scale, grouped_heads)));
          },
          nb::arg("query"), nb::arg("key"), nb::arg("value"), nb::arg("mask").none(),
          nb::arg("is_causal"), nb::arg("scale").none(), nb::arg("grouped_heads"))
      .def(
          "attention_backward",
          [options_of](const GraphPtr& g, const NodeRef& grad, const NodeRef& query,
                       const NodeRef& key, const NodeRef& value, const NodeRef& out,
                       const NodeRef& logsumexp, const MaybeNode& mask, bool is_causal,
                       std::optional<double> scale, bool grouped_heads) {
            const auto id = [&](const NodeRef& node) { return id_in(g, node, "attention"); };
            const auto [q, k, v] = ops::attention_backward(
                *g, id(grad), id(query), id(key), id(value), id(out), id(logsumexp),
                options_of(g, mask, is_causal, scale, grouped_heads));
            return std::tuple(NodeRef{g, q}, NodeRef{g, k}, NodeRef{g, v});
          },
          nb::arg("grad"), nb::arg("query"), nb::arg("key"), nb::arg("value"), nb::arg("out"),
          nb::arg("logsumexp"), nb::arg("mask").none(), nb::arg("is_causal"),
          nb::arg("scale").none(), nb::arg("grouped_heads"));
}

/// Layers, whose builders take options or give structures.
void bind_layers(nb::class_<Graph>& graph) {
  graph
      .def(
          "normalize",
          [](const GraphPtr& g, const NodeRef& x, const Ints& dims, double eps) {
            const ops::Normalized n = ops::normalize(*g, id_in(g, x, "normalize"), dims, eps);
            return std::tuple(NodeRef{g, n.y}, NodeRef{g, n.mean}, NodeRef{g, n.variance},
                              NodeRef{g, n.rstd});
          },
          nb::arg("x"), nb::arg("dims"), nb::arg("eps"),
          "(x - mean) * rstd over dimensions, which the others keep: mean, variance, rstd.")
      .def(
          "embedding_bag_with_parts",
          [](const GraphPtr& g, const NodeRef& indices, const NodeRef& weight,
             const MaybeNode& offsets, const std::string& mode, const MaybeNode& weights,
             bool include_last_offset, std::optional<int64_t> padding_idx) {
            const ops::EmbeddingBag made = ops::embedding_bag_with_parts(
                *g, id_in(g, indices, "embedding_bag"), id_in(g, weight, "embedding_bag"),
                maybe_id(g, offsets, "embedding_bag"), mode, maybe_id(g, weights, "embedding_bag"),
                include_last_offset, padding_idx);
            return std::tuple(NodeRef{g, made.total}, NodeRef{g, made.bag}, NodeRef{g, made.sizes},
                              made.largest ? MaybeNode(NodeRef{g, *made.largest}) : std::nullopt);
          },
          nb::arg("indices"), nb::arg("weight"), nb::arg("offsets").none(), nb::arg("mode"),
          nb::arg("per_sample_weights").none(), nb::arg("include_last_offset"),
          nb::arg("padding_idx").none(),
          "The result, each index's bag, the bags' sizes, and of 'max' the largest's indices.")
      .def(
          "nll_loss_with_weight",
          [](const GraphPtr& g, const NodeRef& x, const NodeRef& target, const MaybeNode& weight,
             int64_t ignore_index, const std::string& reduction) {
            return refer(g, ops::nll_loss_with_weight(
                                *g, id_in(g, x, "nll_loss"), id_in(g, target, "nll_loss"),
                                {.weight = maybe_id(g, weight, "nll_loss"),
                                 .ignore_index = ignore_index,
                                 .reduction = to_reduction(reduction, "nll_loss")}));
          },
          nb::arg("x"), nb::arg("target"), nb::arg("weight").none(), nb::arg("ignore_index"),
          nb::arg("reduction"), "The loss, and the sum of the samples' weights.")
      .def(
          "conv",
          [](const GraphPtr& g, const NodeRef& x, const NodeRef& weight, const MaybeNode& bias,
             const Ints& stride, const Ints& padding, const Ints& dilation, int64_t groups) {
            return NodeRef{
                g, ops::conv(*g, id_in(g, x, "conv"), id_in(g, weight, "conv"),
                             maybe_id(g, bias, "conv"), {stride, padding, dilation, groups})};
          },
          nb::arg("x"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("stride"),
          nb::arg("padding"), nb::arg("dilation"), nb::arg("groups"))
      .def(
          "conv_transpose",
          [](const GraphPtr& g, const NodeRef& x, const NodeRef& weight, const MaybeNode& bias,
             const Ints& stride, const Ints& padding, const Ints& dilation, int64_t groups,
             const Ints& output_padding) {
            return NodeRef{
                g, ops::conv_transpose(*g, id_in(g, x, "conv_transpose"),
                                       id_in(g, weight, "conv_transpose"),
                                       maybe_id(g, bias, "conv_transpose"),
                                       {stride, padding, dilation, groups, output_padding})};
          },
          nb::arg("x"), nb::arg("weight"), nb::arg("bias").none(), nb::arg("stride"),
          nb::arg("padding"), nb::arg("dilation"), nb::arg("groups"), nb::arg("output_padding"))
      .def(
          "max_pool_with_indices",
          [](const GraphPtr& g, const NodeRef& x, const Ints& kernel, const Ints& stride,
             const Ints& padding, const Ints& dilation, bool ceil_mode) {
            return refer(
                g, ops::max_pool_with_indices(*g, id_in(g, x, "max_pool"),
                                              {kernel, stride, padding, dilation, ceil_mode}));
          },
          nb::arg("x"), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"),
          nb::arg("dilation"), nb::arg("ceil_mode"))
      .def(
          "avg_pool",
          [](const GraphPtr& g, const NodeRef& x, const Ints& kernel, const Ints& stride,
             const Ints& padding, bool ceil_mode, bool count_include_pad,
             std::optional<int64_t> divisor_override) {
            return NodeRef{g, ops::avg_pool(*g, id_in(g, x, "avg_pool"),
                                            {.kernel = kernel,
                                             .stride = stride,
                                             .padding = padding,
                                             .ceil_mode = ceil_mode,
                                             .count_include_pad = count_include_pad,
                                             .divisor_override = divisor_override})};
          },
          nb::arg("x"), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"),
          nb::arg("ceil_mode"), nb::arg("count_include_pad"), nb::arg("divisor_override").none())
      .def(
          "adaptive_avg_pool",
          [](const GraphPtr& g, const NodeRef& x, const Ints& output) {
            return NodeRef{g, ops::adaptive_avg_pool(*g, id_in(g, x, "adaptive_avg_pool"), output)};
          },
          nb::arg("x"), nb::arg("output"))
      .def(
          "adaptive_max_pool_with_indices",
          [](const GraphPtr& g, const NodeRef& x, const Ints& output) {
            return refer(g, ops::adaptive_max_pool_with_indices(
                                *g, id_in(g, x, "adaptive_max_pool"), output));
          },
          nb::arg("x"), nb::arg("output"))
      .def(
          "fractional_max_pool_with_indices",
          [](const GraphPtr& g, const NodeRef& x, const Ints& kernel, const Ints& output,
             const NodeRef& samples) {
            return refer(
                g, ops::fractional_max_pool_with_indices(
                       *g, id_in(g, x, "fractional_max_pool"), {kernel.begin(), kernel.end()},
                       {output.begin(), output.end()}, id_in(g, samples, "fractional_max_pool")));
          },
          nb::arg("x"), nb::arg("kernel"), nb::arg("output"), nb::arg("samples"));
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
          [](const GraphPtr& g, const NodeRef& lhs, const NodeRef& rhs, const Sizes& extents,
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
          "mask_put",
          [](const GraphPtr& g, const NodeRef& x, int64_t dim, const NodeRef& mask,
             const NodeRef& values, bool accumulate) {
            return NodeRef{
                g, ops::mask_put(*g, id_in(g, x, "mask_put"), dim, id_in(g, mask, "mask_put"),
                                 id_in(g, values, "mask_put"), accumulate)};
          },
          nb::arg("x"), nb::arg("dim"), nb::arg("mask"), nb::arg("values"), nb::arg("accumulate"),
          "x with values put, or added, where a mask over the dimensions from dim on holds.")
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

NodeId id_in(const GraphPtr& graph, const NodeRef& node, std::string_view operation) {
  if (node.graph != graph) raise<ValueError>("{}: a node of another graph was given", operation);
  return node.id;
}

std::optional<NodeId> maybe_id(const GraphPtr& graph, const MaybeNode& node,
                               std::string_view operation) {
  return node ? std::optional(id_in(graph, *node, operation)) : std::nullopt;
}

std::vector<NodeId> ids_in(const GraphPtr& graph, const std::vector<NodeRef>& nodes,
                           std::string_view operation) {
  std::vector<NodeId> ids;
  ids.reserve(nodes.size());
  for (const NodeRef& node : nodes) ids.push_back(id_in(graph, node, operation));
  return ids;
}

std::vector<NodeRef> refer(const GraphPtr& g, const std::vector<NodeId>& nodes) {
  std::vector<NodeRef> all;
  for (const NodeId node : nodes) all.push_back(refer(g, node));
  return all;
}

Scalar to_scalar(nb::handle value, DType dtype, std::string_view operation) {
  if (PyLong_Check(value.ptr()) && !is_float(dtype)) {
    int overflow = 0;
    const long long v = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
    if (overflow != 0 || (is_integer(dtype) && !Scalar::holds(dtype, v)))
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
  nb::enum_<DType> dtypes(m, "DType", "Element types.");
  for (int i = 0; i < kNumDTypes; ++i)
    dtypes.value(name_of(static_cast<DType>(i)).data(), static_cast<DType>(i));

  m.def("compute_dtype", &compute_dtype, nb::arg("dtype"),
        "What operations on a dtype compute in: its own, or a wider one where elements are only\n"
        "stored (float16, bfloat16, integers other than int32 and int64).");

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
                                        nb::cast(shape[i]).release().ptr());
                     return nb::steal<nb::tuple>(tuple);
                   })
      .def("__repr__", [](const NodeRef& n) { return ops::describe(*n.graph, n.id); });

  nb::class_<Graph> graph(m, "Graph", "Builds a graph; every method checks shapes and dtypes.");
  graph.def(nb::init<>())
      .def(
          "__init__", [](Graph* g, const std::shared_ptr<ShapeEnv>&) { new (g) Graph(); },
          nb::arg("env"), nb::keep_alive<1, 2>(), "Of sizes that may have the symbols of `env`.")
      .def_prop_ro("size", &Graph::size)
      .def(
          "set_origin", [](Graph& g, const std::string& text) { g.set_origin(text); },
          nb::arg("text"), "Names where the next nodes come from.");
  bind_leaves(graph);
  bind_elementwise(graph);
  bind_views(graph);
  bind_attention(graph);
  bind_layers(graph);
  bind_others(graph);
  bind_graph_series(graph);
  bind_graph_operators(graph);
}

}  // namespace coregrad::python
