// The operators of ops/operators.def in Python: methods of graphs, functions and methods of
// tensors, and the table itself.

#include "coregrad/coregrad.h"
#include "ops/operators.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <array>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace coregrad::python {
namespace {

using GraphPtr = std::shared_ptr<Graph>;

enum class Home { Math, Network };

/// What Python gives for a parameter of a builder.
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
struct Given<std::span<const int64_t>> {
  using Type = const DimList&;
  static std::span<const int64_t> bind(const GraphPtr&, const DimList& dims, const char*) {
    return dims.values;
  }
};

template <>
struct Given<Reduction> {
  using Type = const std::string&;
  static Reduction bind(const GraphPtr&, const std::string& word, const char* operation) {
    return to_reduction(word, operation);
  }
};

template <class... Parameters, class... Extra>
void define(nb::class_<Graph>& graph, const char* name, ops::DTypeRule rule,
            NodeId (*build)(Graph&, Parameters...), const Extra&... extra) {
  graph.def(
      name,
      [name, rule, build](const GraphPtr& g, typename Given<Parameters>::Type... values) {
        return NodeRef{g, ops::call(*g, rule, build, Given<Parameters>::bind(g, values, name)...)};
      },
      extra...);
}

/// What Python gives for a parameter of a function of tensors.
template <class Parameter>
struct Taken {
  using Type = Parameter;
  static Parameter bind(Parameter value, const char*) { return value; }
};
template <>
struct Taken<const Dims&> {
  using Type = const DimList&;
  static const Dims& bind(const DimList& dims, const char*) { return dims.values; }
};
template <>
struct Taken<Reduction> {
  using Type = const std::string&;
  static Reduction bind(const std::string& word, const char* operation) {
    return to_reduction(word, operation);
  }
};

template <class... Parameters>
auto callable(const char* name, Tensor (*function)(Parameters...)) {
  return [name, function](typename Taken<Parameters>::Type... values) {
    return function(Taken<Parameters>::bind(values, name)...);
  };
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
struct Default<Reduction> {
  static const char* of(Reduction) { return "mean"; }
};

#define COREGRAD_ARG(p) COREGRAD_ARG_##p
#define COREGRAD_ARG_P(kind, name, ...) \
  nb::arg(#name) __VA_OPT__(= Default<ops::parameter::kind>::of(__VA_ARGS__))
#define COREGRAD_KIND(p) COREGRAD_KIND_##p
#define COREGRAD_KIND_P(kind, name, ...) {#name, #kind}

const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc) \
  {#name, #rule, {COREGRAD_FOR_EACH(COREGRAD_KIND, COREGRAD_UNWRAP parameters)}, aten},
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  {#name, #rule, {{"input", "Tensor"}}, aten},
#include "ops/operators.def"
#undef COREGRAD_OPERATOR
#undef COREGRAD_UNARY
  };
  return all;
}

}  // namespace

void bind_graph_operators(nb::class_<Graph>& graph) {
  // Primitives are methods already.
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)
#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc) \
  define(graph, #name, ops::DTypeRule::rule, ops::name,            \
         COREGRAD_FOR_EACH(COREGRAD_ARG, COREGRAD_UNWRAP parameters), doc);
#include "ops/operators.def"
#undef COREGRAD_OPERATOR
#undef COREGRAD_UNARY
}

void bind_tensor_operators(nb::module_& m, nb::class_<Tensor>& tensor) {
#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc)         \
  m.def(#name, callable(#name, coregrad::name),                            \
        COREGRAD_FOR_EACH(COREGRAD_ARG, COREGRAD_UNWRAP parameters), doc); \
  tensor.def(#name, callable(#name, coregrad::name),                       \
             doc COREGRAD_COMMA_FOR_EACH(COREGRAD_ARG, COREGRAD_TAIL parameters));
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) \
  m.def(#name, coregrad::name, nb::arg("input"), doc);   \
  tensor.def(#name, coregrad::name, doc);
#include "ops/operators.def"
#undef COREGRAD_OPERATOR
#undef COREGRAD_UNARY
  m.def(
      "_operators", [] { return rows(); },
      "The table of operators: name, rule of dtypes, (name, kind) of parameters, ATen overloads.");
}

void bind_network_operators(nb::module_& from, nb::module_& functional) {
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)
#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc) \
  if (Home::home == Home::Network) functional.attr(#name) = from.attr(#name);
#include "ops/operators.def"
#undef COREGRAD_OPERATOR
#undef COREGRAD_UNARY
  for (const char* name : {"sigmoid", "tanh"}) functional.attr(name) = from.attr(name);
}

}  // namespace coregrad::python
