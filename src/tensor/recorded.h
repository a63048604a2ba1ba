#pragma once
// Recording of operators: tensors and numbers become nodes, numbers stay what they are.

#include "coregrad/ops.h"
#include "ops/operators.h"
#include "tensor/state.h"

#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace coregrad {

/// Kinds of parameters, by what a function of tensors takes for them.
namespace parameter {
using namespace ops::parameter;
using Tensor = const coregrad::Tensor&;
using MaybeTensor = const coregrad::Tensor&;
using Tensors = std::span<const coregrad::Tensor>;
using Operand = const coregrad::Operand&;
using MaybeOperand = const std::optional<coregrad::Operand>&;
using Dims = const coregrad::Dims&;
using Count = int64_t;
using Numbers = const std::vector<double>&;
}  // namespace parameter

/// What a function of tensors gives.
namespace results {
using One = Tensor;
using Pair = std::pair<Tensor, Tensor>;
using List = std::vector<Tensor>;
}  // namespace results

/// The function of tensors of a row: of overloads the one with the row's parameters.
#define COREGRAD_TENSOR_TYPE(p) COREGRAD_TENSOR_TYPE_##p
#define COREGRAD_TENSOR_TYPE_P(kind, name, ...) coregrad::parameter::kind
#define COREGRAD_FUNCTION_OF(result, name, parameters) \
  static_cast<coregrad::results::result (*)(           \
      COREGRAD_FOR_EACH(COREGRAD_TENSOR_TYPE, COREGRAD_UNWRAP parameters))>(coregrad::name)

/// A number next to a tensor: the tensor's dtype, or the default one of a higher category.
DType dtype_of_number(Scalar number, DType other);
/// The number in another dtype; integers keep all their bits.
Scalar convert(Scalar number, DType dtype);

/// Binds the arguments of one recorded call to the parameters of a builder.
class Binder {
 public:
  /// Tensors among the arguments, in their order.
  template <class... Arguments>
  explicit Binder(const Arguments&... arguments) {
    (collect(arguments), ...);
  }

  std::span<const Tensor> tensors() const { return tensors_; }

  /// Starts over with the tensors' nodes in a graph; `dtype` is what they promote to.
  void begin(Graph& graph, std::span<const NodeId> nodes, ops::DTypeRule rule, DType dtype) {
    graph_ = &graph;
    nodes_ = nodes;
    rule_ = rule;
    dtype_ = dtype;
    next_ = 0;
  }

  /// The next parameter; calls go from the first to the last.
  template <class Parameter, class Argument>
  Parameter bind(const Argument& argument) {
    if constexpr (std::is_same_v<Argument, Operand>) {
      return argument.is_number() ? number(argument.number()) : nodes_[next_++];
    } else if constexpr (std::is_same_v<Argument, std::optional<Operand>>) {
      return argument ? Parameter(bind<NodeId>(*argument)) : std::nullopt;
    } else if constexpr (std::is_same_v<Argument, Tensor>) {
      if constexpr (std::is_same_v<Parameter, std::optional<NodeId>>)
        return argument.is_defined() ? std::optional(nodes_[next_++]) : std::nullopt;
      else
        return nodes_[next_++];
    } else if constexpr (std::is_same_v<Argument, std::span<const Tensor>>) {
      return nodes_.subspan(std::exchange(next_, next_ + argument.size()), argument.size());
    } else {
      return static_cast<Parameter>(argument);
    }
  }

 private:
  template <class Argument>
  void collect(const Argument& argument) {
    if constexpr (std::is_same_v<Argument, Operand>) {
      if (!argument.is_number()) tensors_.push_back(argument.tensor());
    } else if constexpr (std::is_same_v<Argument, std::optional<Operand>>) {
      if (argument) collect(*argument);
    } else if constexpr (std::is_same_v<Argument, Tensor>) {
      if (argument.is_defined()) tensors_.push_back(argument);
    } else if constexpr (std::is_same_v<Argument, std::span<const Tensor>>) {
      tensors_.insert(tensors_.end(), argument.begin(), argument.end());
    }
  }
  NodeId number(Scalar value) const;

  std::vector<Tensor> tensors_;
  Graph* graph_ = nullptr;
  std::span<const NodeId> nodes_;
  ops::DTypeRule rule_ = ops::DTypeRule::Move;
  DType dtype_ = DType::Bool;
  size_t next_ = 0;
};

/// What tensors get for what a builder gives.
inline Tensor results_as(const std::vector<Tensor>& results, std::type_identity<NodeId>) {
  return results.front();
}
inline std::pair<Tensor, Tensor> results_as(const std::vector<Tensor>& results,
                                            std::type_identity<std::pair<NodeId, NodeId>>) {
  return {results[0], results[1]};
}
inline std::vector<Tensor> results_as(std::vector<Tensor> results,
                                      std::type_identity<std::vector<NodeId>>) {
  return results;
}

inline std::vector<NodeId> as_list(NodeId node) { return {node}; }
inline std::vector<NodeId> as_list(std::pair<NodeId, NodeId> nodes) {
  return {nodes.first, nodes.second};
}
inline std::vector<NodeId> as_list(std::vector<NodeId> nodes) { return nodes; }

/// Whether a parameter must have a tensor and gets none.
template <class Parameter, class Argument>
bool is_missing(const Argument& argument) {
  if constexpr (std::is_same_v<Argument, Tensor>)
    return std::is_same_v<Parameter, NodeId> && !argument.is_defined();
  else
    return false;
}

/// Records an operator of ops/operators.def. ValueError unless one of the operands is a tensor, and
/// for a tensor that is undefined.
template <class Result, class... Parameters, class... Arguments>
auto recorded(std::string_view operation, ops::DTypeRule rule,
              Result (*build)(Graph&, Parameters...), const Arguments&... arguments) {
  Binder binder(arguments...);
  if ((is_missing<Parameters>(arguments) || ...))
    raise<ValueError>("{}: the tensor is undefined", operation);
  if (binder.tensors().empty())
    raise<ValueError>("{}: one of the operands must be a tensor", operation);
  const std::vector<Tensor> results = record_many(
      operation, binder.tensors(), rule != ops::DTypeRule::Move,
      [&](Graph& graph, std::span<const NodeId> nodes, DType dtype) {
        binder.begin(graph, nodes, rule, dtype);
        // Braces: from the first to the last.
        const std::tuple<Parameters...> values{binder.bind<Parameters>(arguments)...};
        return as_list(std::apply(
            [&](const Parameters&... value) { return ops::call(graph, rule, build, value...); },
            values));
      });
  return results_as(results, std::type_identity<Result>());
}

}  // namespace coregrad
