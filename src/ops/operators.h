#pragma once
// Operators as builders: `NodeId name(Graph&, parameters)` for each row of ops/operators.def, which
// says what it computes. Their formulas are written with primitives and stand in the files of
// src/ops by family; they take operands as the row's rule of dtypes has made them. Branches that
// are not taken are kept finite, so that gradients do not turn into NaN.

#include "base/for_each.h"
#include "coregrad/options.h"
#include "ir/graph.h"
#include "ops/primitives.h"

#include <optional>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coregrad::ops {

/// What happens to the operands' dtypes; see operators.def.
enum class DTypeRule : uint8_t { Real, Arithmetic, Opmath, AsIs, Move };

/// Kinds of parameters, by what a builder takes for them.
namespace parameter {
using Tensor = NodeId;
using MaybeTensor = std::optional<NodeId>;
using Tensors = std::span<const NodeId>;
using Operand = NodeId;  ///< where tensors have a tensor or a number
using MaybeOperand = std::optional<NodeId>;
using Number = double;
using MaybeNumber = std::optional<double>;
using Whole = int64_t;
using MaybeWhole = std::optional<int64_t>;
using Count = SymInt;  ///< of elements
using Numbers = std::span<const double>;
using Flag = bool;
using MaybeFlag = std::optional<bool>;
using Word = std::string_view;
using MaybeWord = std::optional<std::string_view>;
using Type = DType;
using MaybeDType = std::optional<DType>;
using Dims = SymInts;  ///< a dimension, several, or none for all; a shape
using Loss = Reduction;
}  // namespace parameter

/// What operators give.
namespace results {
using One = NodeId;
using Pair = std::pair<NodeId, NodeId>;
using List = std::vector<NodeId>;
}  // namespace results

#define COREGRAD_BUILDER(p) COREGRAD_BUILDER_##p
#define COREGRAD_BUILDER_P(kind, name, ...) parameter::kind name __VA_OPT__(= __VA_ARGS__)
#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc) \
  results::result name(Graph& graph,                                     \
                       COREGRAD_FOR_EACH(COREGRAD_BUILDER, COREGRAD_UNWRAP parameters));
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) NodeId name(Graph& graph, NodeId input);
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)
#include "ops/operators.def"

/// The builder of a row: of overloads the one with the row's parameters.
#define COREGRAD_KIND_TYPE(p) COREGRAD_KIND_TYPE_##p
#define COREGRAD_KIND_TYPE_P(kind, name, ...) ops::parameter::kind
#define COREGRAD_BUILDER_OF(result, name, parameters) \
  static_cast<ops::results::result (*)(               \
      Graph&, COREGRAD_FOR_EACH(COREGRAD_KIND_TYPE, COREGRAD_UNWRAP parameters))>(ops::name)

/// The builder of a row that is a primitive of two operands.
template <Op op>
NodeId elementwise(Graph& graph, NodeId input, NodeId other) {
  return family_of(op) == Family::Compare ? compare(graph, op, input, other)
                                          : binary(graph, op, input, other);
}

/// Casts operands to what the rule gives a formula.
void apply_rule(Graph& graph, DTypeRule rule, std::span<NodeId* const> operands);

/// Parameters whose operands may be replaced.
template <class Parameter>
struct Held {
  Parameter value;
  template <class F>
  void each(F visit) {
    if constexpr (std::is_same_v<Parameter, NodeId>) visit(value);
    if constexpr (std::is_same_v<Parameter, std::optional<NodeId>>)
      if (value) visit(*value);
  }
};
template <>
struct Held<std::span<const NodeId>> {
  explicit Held(std::span<const NodeId> nodes) : value(nodes.begin(), nodes.end()) {}
  template <class F>
  void each(F visit) {
    for (NodeId& node : value) visit(node);
  }
  std::vector<NodeId> value;
};

/// `build` on operands of any dtype.
template <class Result, class... Parameters>
Result call(Graph& graph, DTypeRule rule, Result (*build)(Graph&, Parameters...),
            std::type_identity_t<Parameters>... values) {
  std::tuple<Held<Parameters>...> held{Held<Parameters>{values}...};
  return std::apply(
      [&](Held<Parameters>&... parameter) {
        std::vector<NodeId*> operands;
        (parameter.each([&](NodeId& node) { operands.push_back(&node); }), ...);
        apply_rule(graph, rule, operands);
        return build(graph, parameter.value...);
      },
      held);
}

}  // namespace coregrad::ops
