// The operators of ops/operators.def in Python: methods of graphs, functions and methods of
// tensors, and the table itself.

#include "coregrad/coregrad.h"
#include "ops/operators.h"
#include "tensor/recorded.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace coregrad::python {
namespace {

enum class Home { Math, Network, Function };

/// What Python gives for a parameter of a builder or of a function of tensors. Nodes need the graph
/// that they must belong to.
template <class Parameter>
struct Given {
  using Type = Parameter;
  static Parameter bind(const GraphPtr&, Parameter value, const char*) { return value; }
};
template <>
struct Given<NodeId> {
  using Type = const NodeRef&;
  static NodeId bind(const GraphPtr& g, const NodeRef& node, const char* operation) {
    return id_in(g, node, operation);
  }
};
template <>
struct Given<std::optional<NodeId>> {
  using Type = const MaybeNode&;
  static std::optional<NodeId> bind(const GraphPtr& g, const MaybeNode& node,
                                    const char* operation) {
    return maybe_id(g, node, operation);
  }
};
template <>
struct Given<std::span<const NodeId>> {
  using Type = const std::vector<NodeRef>&;
  static std::vector<NodeId> bind(const GraphPtr& g, const std::vector<NodeRef>& nodes,
                                  const char* operation) {
    return ids_in(g, nodes, operation);
  }
};
template <>
struct Given<std::span<const Tensor>> {
  using Type = const std::vector<Tensor>&;
  static std::span<const Tensor> bind(const GraphPtr&, const std::vector<Tensor>& tensors,
                                      const char*) {
    return tensors;
  }
};
template <>
struct Given<SymInts> {
  using Type = const SizeList&;
  static SymInts bind(const GraphPtr&, const SizeList& sizes, const char*) { return sizes.values; }
};
template <>
struct Given<const Dims&> {
  using Type = const DimList&;
  static const Dims& bind(const GraphPtr&, const DimList& dims, const char*) { return dims.values; }
};
template <>
struct Given<std::span<const double>> {
  using Type = const NumberList&;
  static std::span<const double> bind(const GraphPtr&, const NumberList& numbers, const char*) {
    return numbers.values;
  }
};
template <>
struct Given<const std::vector<double>&> {
  using Type = const NumberList&;
  static const std::vector<double>& bind(const GraphPtr&, const NumberList& numbers, const char*) {
    return numbers.values;
  }
};
template <>
struct Given<Reduction> {
  using Type = const std::string&;
  static Reduction bind(const GraphPtr&, const std::string& word, const char* operation) {
    return to_reduction(word, operation);
  }
};

template <class Result, class... Parameters, class... Extra>
void define(nb::class_<Graph>& graph, const char* name, ops::DTypeRule rule,
            Result (*build)(Graph&, Parameters...), const Extra&... extra) {
  graph.def(
      name,
      [name, rule, build](const GraphPtr& g, typename Given<Parameters>::Type... values) {
        return refer(g, ops::call(*g, rule, build, Given<Parameters>::bind(g, values, name)...));
      },
      extra...);
}

/// What Python gives for a parameter of a function of tensors whose builder takes a `Built`.
template <class Built, class Parameter>
struct Taken : Given<Parameter> {};
template <>
struct Taken<std::optional<NodeId>, const Tensor&> {
  using Type = const std::optional<Tensor>&;
  static Tensor bind(const GraphPtr&, const std::optional<Tensor>& tensor, const char*) {
    return tensor.value_or(Tensor());
  }
};

template <class Result, class... Parameters, class Node, class... Built>
auto callable(const char* name, Result (*function)(Parameters...), Node (*)(Graph&, Built...)) {
  return [name, function](typename Taken<Built, Parameters>::Type... values) {
    return function(Taken<Built, Parameters>::bind({}, values, name)...);
  };
}

/// What NumPy and the array API call a parameter.
constexpr const char* array_name(std::string_view name, const char* own) {
  if (name == "dim" || name == "dims") return "axis";
  return name == "keepdim" ? "keepdims" : own;
}

/// The same function as NumPy calls it: parameters have its names, and there is one for an array to
/// write to, which must be None.
template <class Result, class... Parameters, class Node, class... Built>
auto callable_by_numpy(const char* name, Result (*function)(Parameters...),
                       Node (*)(Graph&, Built...)) {
  return [name, function](typename Taken<Built, Parameters>::Type... values, NoArray) {
    return function(Taken<Built, Parameters>::bind({}, values, name)...);
  };
}

/// A method whose one parameter, dimensions or extents, may be given as several arguments.
template <class Result, class... Parameters>
void define_spread(nb::class_<Tensor>&, const char*, Result (*)(Parameters...)) {}
template <class Result>
void define_spread(nb::class_<Tensor>& tensor, const char* name,
                   Result (*function)(const Tensor&, const Dims&)) {
  tensor.def(name, [function](const Tensor& x, const nb::args& several) {
    return function(x, dims_of(several));
  });
}

/// Name, rule of dtypes, (name, kind) of each parameter, and ATen overloads with spaces between.
using Row = std::tuple<std::string, std::string, std::vector<std::pair<std::string, std::string>>,
                       std::string>;

/// A default as Python sees it.
template <class Parameter>
struct Default {
  static Parameter of(Parameter value) { return value; }
};
template <class T>
struct Default<std::optional<T>> {
  static nb::none of(std::nullopt_t) { return nb::none(); }
};
template <>
struct Default<ops::parameter::Dims> {
  static nb::none of(ops::parameter::Dims) { return nb::none(); }
};
template <>
struct Default<ops::parameter::Numbers> {
  static nb::none of(ops::parameter::Numbers) { return nb::none(); }
};
template <>
struct Default<Reduction> {
  static const char* of(Reduction) { return "mean"; }
};

#define COREGRAD_ARG(p) COREGRAD_ARG_##p
#define COREGRAD_ARG_P(kind, name, ...) \
  nb::arg(#name) __VA_OPT__(= Default<ops::parameter::kind>::of(__VA_ARGS__))
#define COREGRAD_ARRAY_ARG(p) COREGRAD_ARRAY_ARG_##p
#define COREGRAD_ARRAY_ARG_P(kind, name, ...) \
  nb::arg(array_name(#name, #name)) __VA_OPT__(= Default<ops::parameter::kind>::of(__VA_ARGS__))
#define COREGRAD_IS_RENAMED(p) COREGRAD_IS_RENAMED_##p
#define COREGRAD_IS_RENAMED_P(kind, name, ...) \
  std::string_view(array_name(#name, #name)) != std::string_view(#name)
#define COREGRAD_KIND(p) COREGRAD_KIND_##p
#define COREGRAD_KIND_P(kind, name, ...) {#name, #kind}
/// Of a row of two operands.
#define COREGRAD_OPERANDS nb::arg("input"), nb::arg("other")

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc) \
  {#name, #rule, {COREGRAD_FOR_EACH(COREGRAD_KIND, COREGRAD_UNWRAP parameters)}, aten},
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  {#name, #rule, {{"input", "Tensor"}}, aten},
#define COREGRAD_BINARY(name, primitive, rule, aten, doc) \
  {#name, #rule, {{"input", "Operand"}, {"other", "Operand"}}, aten},
#include "ops/operators.def"
  };
  return all;
}

}  // namespace

bool is_operator(std::string_view name) {
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc) #name,
  static constexpr std::string_view names[] = {
#include "ops/operators.def"
  };
  return std::ranges::find(names, name) != std::end(names);
}

void bind_graph_operators(nb::class_<Graph>& graph) {
  // Primitives are methods already, by their own names.
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)                                          \
  if (name_of(Op::primitive) != #name)                                                             \
    define(graph, #name, ops::DTypeRule::rule, ops::elementwise<Op::primitive>, COREGRAD_OPERANDS, \
           doc);
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc)                    \
  define(graph, #name, ops::DTypeRule::rule, COREGRAD_BUILDER_OF(result, name, parameters), \
         COREGRAD_FOR_EACH(COREGRAD_ARG, COREGRAD_UNWRAP parameters), doc);
#include "ops/operators.def"
}

void bind_tensor_operators(nb::module_& m, nb::class_<Tensor>& tensor) {
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc)                        \
  {                                                                                             \
    const auto function = COREGRAD_FUNCTION_OF(result, name, parameters);                       \
    const auto builder = COREGRAD_BUILDER_OF(result, name, parameters);                         \
    constexpr bool is_method = Home::home != Home::Function;                                    \
    const auto bound = callable(#name, function, builder);                                      \
    m.def(#name, bound, COREGRAD_FOR_EACH(COREGRAD_ARG, COREGRAD_UNWRAP parameters), doc);      \
    if constexpr (is_method) {                                                                  \
      tensor.def(#name, bound,                                                                  \
                 doc COREGRAD_COMMA_FOR_EACH(COREGRAD_ARG, COREGRAD_TAIL parameters));          \
      define_spread(tensor, #name, function);                                                   \
    }                                                                                           \
    constexpr bool renamed[] = {                                                                \
        COREGRAD_FOR_EACH(COREGRAD_IS_RENAMED, COREGRAD_UNWRAP parameters)};                    \
    if constexpr (std::ranges::find(renamed, true) != std::end(renamed)) {                      \
      const auto by_numpy = callable_by_numpy(#name, function, builder);                        \
      m.def(#name, by_numpy, COREGRAD_FOR_EACH(COREGRAD_ARRAY_ARG, COREGRAD_UNWRAP parameters), \
            nb::arg("out") = nb::none());                                                       \
      if constexpr (is_method)                                                                  \
        tensor.def(#name, by_numpy,                                                             \
                   "" COREGRAD_COMMA_FOR_EACH(COREGRAD_ARRAY_ARG, COREGRAD_TAIL parameters),    \
                   nb::arg("out") = nb::none());                                                \
    }                                                                                           \
  }
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  m.def(#name, coregrad::name, nb::arg("input"), doc);   \
  tensor.def(#name, coregrad::name, doc);
#define COREGRAD_BINARY(name, primitive, rule, aten, doc) \
  m.def(#name, coregrad::name, COREGRAD_OPERANDS, doc);   \
  tensor.def(#name, coregrad::name, nb::arg("other"), doc);
#include "ops/operators.def"
  m.def(
      "_operators", [] { return rows(); },
      "The table of operators: name, rule of dtypes, (name, kind) of parameters, ATen overloads.");
}

void bind_network_operators(nb::module_& from, nb::module_& functional) {
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc) \
  if (Home::home == Home::Network) functional.attr(#name) = from.attr(#name);
#include "ops/operators.def"
  for (const char* name : {"sigmoid", "tanh"}) functional.attr(name) = from.attr(name);
}

}  // namespace coregrad::python
