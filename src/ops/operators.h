#pragma once
// Operators as builders: `NodeId name(Graph&, parameters)` for each row of ops/operators.def, which
// says what it computes. Their formulas are written with primitives and stand in the files of
// src/ops by family; they take operands as the row's rule of dtypes has made them. Branches that
// are not taken are kept finite, so that gradients do not turn into NaN.

#include "base/for_each.h"
#include "coregrad/options.h"
#include "ir/graph.h"

#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace coregrad::ops {

/// What happens to the operands' dtypes; see operators.def.
enum class DTypeRule : uint8_t { Real, Arithmetic, AsIs, Move };

/// Kinds of parameters, by what a builder takes for them.
namespace parameter {
using Tensor = NodeId;
using Operand = NodeId;  ///< where tensors have a tensor or a number
using Number = double;
using Whole = int64_t;
using MaybeWhole = std::optional<int64_t>;
using Flag = bool;
using Word = std::string_view;
using MaybeDType = std::optional<DType>;
using Dims = std::span<const int64_t>;  ///< a dimension, several, or none for all
using Loss = Reduction;
}  // namespace parameter

#define COREGRAD_BUILDER(p) COREGRAD_BUILDER_##p
#define COREGRAD_BUILDER_P(kind, name, ...) parameter::kind name __VA_OPT__(= __VA_ARGS__)
#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc) \
  NodeId name(Graph& graph, COREGRAD_FOR_EACH(COREGRAD_BUILDER, COREGRAD_UNWRAP parameters));
#define COREGRAD_UNARY(name, primitive, rule, aten, doc) NodeId name(Graph& graph, NodeId input);
#include "ops/operators.def"
#undef COREGRAD_OPERATOR
#undef COREGRAD_UNARY

/// Casts operands to what the rule gives a formula.
void apply_rule(Graph& graph, DTypeRule rule, std::span<NodeId* const> operands);

/// `build` on operands of any dtype.
template <class... Parameters>
NodeId call(Graph& graph, DTypeRule rule, NodeId (*build)(Graph&, Parameters...),
            std::type_identity_t<Parameters>... values) {
  std::vector<NodeId*> operands;
  const auto collect = [&](auto& value) {
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, NodeId>) operands.push_back(&value);
    if constexpr (std::is_same_v<Value, std::optional<NodeId>>)
      if (value) operands.push_back(&*value);
  };
  (collect(values), ...);
  apply_rule(graph, rule, operands);
  return build(graph, values...);
}

}  // namespace coregrad::ops
