#pragma once
// What a Tensor points at, and how operations record into the session.

#include "coregrad/tensor.h"
#include "ir/graph.h"
#include "ops/primitives.h"
#include "tensor/session.h"

#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace coregrad {

/// Shape and dtype never change; the rest is guarded by the session's lock.
struct TensorState {
  /// Retains the node. The caller holds the session's lock.
  TensorState(NodeId node, bool needs_grad);
  ~TensorState();
  TensorState(const TensorState&) = delete;
  TensorState& operator=(const TensorState&) = delete;

  const DType dtype;
  const Dims shape;
  const int64_t numel;
  Handle handle;
  bool requires_grad;        ///< gradients flow through or stop here
  bool is_leaf = false;      ///< gradients stop here
  bool is_consumed = false;  ///< backward() let go of the recorded graph
  int64_t trace;             ///< that this was made in (tensor/trace.h), or 0
  Tensor grad;

  /// Points at another node instead. The caller holds the session's lock.
  void rebind(NodeId node);
};

/// The state of a tensor that must be defined, or what stands for it in a trace. ValueError names
/// the operation.
std::shared_ptr<TensorState> shared_state(const Tensor& tensor, std::string_view operation);
TensorState& state_of(const Tensor& tensor, std::string_view operation);

/// Node of a defined tensor: the Input node once its value is known. Under the session's lock.
NodeId node_of(const Tensor& tensor, std::string_view operation);

/// A tensor for a node. Under the session's lock.
Tensor wrap(NodeId node, bool requires_grad);

/// The narrow float that an operation on these operands gives, as PyTorch promotes them: operands
/// without dimensions count where there are no others.
std::optional<DType> narrow_result(const Graph& graph, std::span<const NodeId> operands);
/// The operands with float32 in place of float16 and bfloat16.
std::vector<NodeId> widen_narrow(Graph& graph, std::span<const NodeId> operands);
/// A float32 result as the narrow float; others as they are.
NodeId round_to(Graph& graph, NodeId result, DType narrow);

/// The operands' nodes, and whether a floating result of them requires a gradient: if recording of
/// gradients is on and one of them requires one. Under the session's lock.
struct OperandNodes {
  OperandNodes(std::string_view operation, std::span<const Tensor> operands);
  std::vector<NodeId> nodes;
  bool requires_grad = false;

  Tensor wrap_result(const Graph& graph, NodeId result) const {
    return wrap(result, requires_grad && is_float(graph.dtype(result)));
  }
};

/// Records `make(graph, nodes)`, which moves, picks or casts elements: float16 and bfloat16 reach
/// it as they are.
template <class Make>
Tensor record_move(std::string_view operation, std::span<const Tensor> operands, Make make) {
  Session& session = Session::global();
  const Session::Lock lock(session);
  const OperandNodes given(operation, operands);
  const NodeId result = make(session.graph(), std::span<const NodeId>(given.nodes));
  return given.wrap_result(session.graph(), result);
}

template <class Make>
Tensor record_move(std::string_view operation, std::initializer_list<Tensor> operands, Make make) {
  return record_move(operation, std::span<const Tensor>(operands.begin(), operands.size()), make);
}

/// The same where `make` computes: if the result is float16 or bfloat16, it meets float32 in their
/// place and what it gives is rounded once.
template <class Make>
Tensor record(std::string_view operation, std::span<const Tensor> operands, Make make) {
  return record_move(operation, operands, [&](Graph& graph, std::span<const NodeId> nodes) {
    const std::optional<DType> narrow = narrow_result(graph, nodes);
    if (!narrow) return make(graph, nodes);
    const std::vector<NodeId> wide = widen_narrow(graph, nodes);
    return round_to(graph, make(graph, std::span<const NodeId>(wide)), *narrow);
  });
}

template <class Make>
Tensor record(std::string_view operation, std::initializer_list<Tensor> operands, Make make) {
  return record(operation, std::span<const Tensor>(operands.begin(), operands.size()), make);
}

/// As record() with operands that may be undefined: `make(graph, nodes, optional nodes)`.
template <class Make>
Tensor record_optional(std::string_view operation, std::initializer_list<Tensor> operands,
                       std::initializer_list<Tensor> optional, Make make) {
  std::vector<Tensor> given(operands);
  for (const Tensor& t : optional)
    if (t.is_defined()) given.push_back(t);
  return record(operation, given, [&](Graph& graph, std::span<const NodeId> nodes) {
    std::vector<std::optional<NodeId>> maybe;
    size_t next = operands.size();
    for (const Tensor& t : optional)
      maybe.push_back(t.is_defined() ? std::optional(nodes[next++]) : std::nullopt);
    return make(graph, nodes.first(operands.size()), maybe);
  });
}

/// As record(), or record_move() unless it `computes`, with several results:
/// `make(graph, nodes, dtype)` returns a vector of nodes; `dtype` is what the operands promote to.
template <class Make>
std::vector<Tensor> record_many(std::string_view operation, std::span<const Tensor> operands,
                                bool computes, Make make) {
  Session& session = Session::global();
  const Session::Lock lock(session);
  Graph& graph = session.graph();
  OperandNodes given(operation, operands);
  const DType dtype = ops::result_type(graph, given.nodes);
  const std::optional<DType> narrow =
      computes ? narrow_result(graph, given.nodes) : std::optional<DType>();
  if (narrow) given.nodes = widen_narrow(graph, given.nodes);
  std::vector<Tensor> results;
  for (const NodeId node : make(graph, std::span<const NodeId>(given.nodes), dtype))
    results.push_back(given.wrap_result(graph, narrow ? round_to(graph, node, *narrow) : node));
  return results;
}

template <class Make>
std::vector<Tensor> record_many(std::string_view operation, std::initializer_list<Tensor> operands,
                                Make make) {
  return record_many(
      operation, std::span<const Tensor>(operands.begin(), operands.size()), true,
      [&](Graph& graph, std::span<const NodeId> nodes, DType) { return make(graph, nodes); });
}

/// Tensor::assign of a pending value, for operations that update an operand: the value is computed
/// with whatever is realised next, so that a chain of updates nobody reads cannot grow.
void assign_with_next(const Tensor& tensor, const Tensor& value);

/// The Input node of a realised tensor, or nothing. Under the session's lock.
std::optional<NodeId> realized_node(const TensorState& state);
/// The same; in a trace, an input that stands for what is pending.
NodeId input_of(const TensorState& state);

}  // namespace coregrad
