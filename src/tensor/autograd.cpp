// Gradients of recorded tensors: backward() and the functional forms.
//
// A realised tensor is an input of the graph; where gradients must flow on, the session knows the
// node it was computed from. One backward pass is therefore a chain of graph differentiations, from
// the youngest realised value to the oldest: each one turns the gradient of a value into gradients
// of the inputs that its computation read.

#include "grad/gradient.h"
#include "ir/print.h"
#include "ops/primitives.h"
#include "tensor/state.h"
#include "tensor/trace.h"

#include <algorithm>
#include <map>

namespace coregrad {
namespace {

thread_local bool recording_gradients = true;

using IsTarget = std::function<bool(NodeId input)>;

/// One backward pass through the recorded history of a realised or pending node.
class History {
 public:
  /// Targets are inputs no older than `oldest`.
  History(IsTarget is_target, NodeId oldest) : is_target_(std::move(is_target)), oldest_(oldest) {}

  /// Gradients of <seed, output> by target input. Under the session's lock.
  std::map<NodeId, NodeId> gradients_of(NodeId output, NodeId seed) {
    pending_.emplace(output, seed);
    while (!pending_.empty()) {
      const auto [node, gradient] = *std::prev(pending_.end());
      pending_.erase(std::prev(pending_.end()));
      if (graph()[node].op != Op::Input) {
        differentiate(node, gradient);
      } else if (is_target_(node)) {
        results_[node] = gradient;
      } else if (const std::optional<NodeId> source = session_.differentiable_source(node)) {
        // An alias's source is an input again: what it stands for.
        if (graph()[*source].op == Op::Input)
          add(*source, gradient);
        else
          differentiate(*source, gradient);
      }
    }
    if (results_.empty()) explain(output, seed);
    return results_;
  }

 private:
  Graph& graph() { return session_.graph(); }

  void add(NodeId node, NodeId gradient) {
    if (node < oldest_) return;
    const auto [at, is_new] = pending_.try_emplace(node, gradient);
    if (!is_new) at->second = ops::add(graph(), at->second, gradient);
  }

  /// Inputs that the node's computation reads and through which gradients may go on.
  std::vector<NodeId> stops_of(NodeId node) {
    const std::vector<bool> live = mark_live(graph(), std::span(&node, 1));
    std::vector<NodeId> stops;
    for (uint32_t i = oldest_.value; i < node.value; ++i) {
      if (!live[i] || graph()[{i}].op != Op::Input || !is_float(graph().dtype({i}))) continue;
      if (is_target_({i}) || session_.differentiable_source({i})) stops.push_back({i});
    }
    return stops;
  }

  void differentiate(NodeId node, NodeId gradient) {
    const std::vector<NodeId> stops = stops_of(node);
    if (stops.empty()) return;
    const std::vector<NodeId> parts = gradients(
        graph(), std::span(&node, 1), std::span(&gradient, 1), stops, Unreachable::Invalid);
    for (size_t i = 0; i < stops.size(); ++i)
      if (parts[i].is_valid()) add(stops[i], parts[i]);
  }

  /// Lets the differentiation name the operation that stops the gradient, if there is one.
  void explain(NodeId output, NodeId seed) {
    NodeId node = output;
    if (graph()[node].op == Op::Input)
      if (const std::optional<NodeId> source = session_.differentiable_source(node)) node = *source;
    const std::vector<NodeId> stops = stops_of(node);
    if (!stops.empty()) gradients(graph(), std::span(&node, 1), std::span(&seed, 1), stops);
  }

  Session& session_ = Session::global();
  IsTarget is_target_;
  NodeId oldest_;
  std::map<NodeId, NodeId> pending_;  // youngest last
  std::map<NodeId, NodeId> results_;
};

/// The seed for an output: the given gradient, or one for a tensor with one element.
NodeId seed_for(const TensorState& state, const Tensor& gradient, std::string_view operation) {
  Graph& graph = Session::global().graph();
  if (!is_float(state.dtype))
    raise<AutogradError>("{}: gradients need a floating tensor, got {}", operation,
                         type_text(state.dtype, state.shape));
  if (!gradient.is_defined()) {
    if (state.numel != 1)
      raise<AutogradError>("{}: a gradient must be given unless there is one element, got {}",
                           operation, type_text(state.dtype, state.shape));
    return ops::full(graph, state.shape, Scalar::of_float(state.dtype, 1));
  }
  const TensorState& given = state_of(gradient, operation);
  if (given.shape != state.shape || given.dtype != state.dtype)
    raise<AutogradError>("{}: the gradient must be {}, got {}", operation,
                         type_text(state.dtype, state.shape), type_text(given.dtype, given.shape));
  return graph.resolve(given.handle);
}

}  // namespace

NoGrad::NoGrad() : before_(recording_gradients) { recording_gradients = false; }
NoGrad::~NoGrad() { recording_gradients = before_; }
bool grad_enabled() { return recording_gradients; }

bool Tensor::requires_grad() const { return state_of(*this, "requires_grad").requires_grad; }

const Tensor& Tensor::set_requires_grad(bool on) const {
  const std::shared_ptr<TensorState> shared = shared_state(*this, "set_requires_grad");
  TensorState& state = *shared;
  if (state.is_leaf == on && state.requires_grad == on) return *this;
  if (on && !is_float(state.dtype))
    raise<DTypeError>("set_requires_grad: gradients need a floating tensor, got {}",
                      type_text(state.dtype, state.shape));
  if (state.requires_grad && !state.is_leaf)
    raise<ValueError>(
        "set_requires_grad: this tensor was computed from others; detach() it to make a leaf");
  realize();
  Session& session = Session::global();
  const Session::Lock lock(session);
  if (on) {
    // Its own input: equal values must not share a gradient.
    const NodeId own = session.alias_data(input_of(state));
    state.rebind(own);
    session.set_leaf(own, shared);
  } else {
    session.set_leaf(input_of(state), {});
    state.grad = {};
  }
  state.is_leaf = state.requires_grad = on;
  return *this;
}

void Tensor::backward(const Tensor& gradient, bool keep_graph) const {
  TensorState& state = state_of(*this, "backward");
  Session& session = Session::global();
  const Session::Lock lock(session);
  const NodeId node = session.graph().resolve(state.handle);
  if (!realized_node(state) && Trace::current() == nullptr)
    raise<AutogradError>("backward: the loss {} is not realised; call .realize() first",
                         type_text(state.dtype, state.shape));
  if (!state.requires_grad)
    raise<AutogradError>("backward: {} does not depend on a tensor that requires a gradient",
                         type_text(state.dtype, state.shape));
  if (state.is_consumed)
    raise<AutogradError>(
        "backward: the graph of {} was let go by an earlier backward(); pass "
        "keep_graph there",
        type_text(state.dtype, state.shape));
  const NodeId seed = seed_for(state, gradient, "backward");
  History history([&](NodeId input) { return session.leaf_of(input) != nullptr; }, {0});
  const std::map<NodeId, NodeId> found = history.gradients_of(node, seed);
  if (found.empty())
    raise<AutogradError>("backward: no tensor that requires a gradient can be reached from {}",
                         type_text(state.dtype, state.shape));
  for (const auto& [input, contribution] : found) {
    const std::shared_ptr<TensorState> leaf = session.leaf_of(input);
    if (Trace* const trace = Trace::current()) {
      trace->note_gradient_read(*leaf);
      trace->note_gradient_set(*leaf);
    }
    NodeId total = contribution;
    if (leaf->grad.is_defined())
      total = ops::add(session.graph(), node_of(leaf->grad, "backward"), contribution);
    leaf->grad = wrap(total, false);
  }
  if (!keep_graph && !state.is_leaf) {
    if (realized_node(state)) session.drop_source(node);
    state.is_consumed = true;
  }
}

Tensor Tensor::grad() const {
  const TensorState& state = state_of(*this, "grad");
  const Session::Lock lock(Session::global());
  if (Trace* const trace = Trace::current()) trace->note_gradient_read(state);
  return state.grad;
}

void Tensor::set_grad(const Tensor& gradient) const {
  TensorState& state = state_of(*this, "set_grad");
  if (gradient.is_defined() && (gradient.shape() != state.shape || gradient.dtype() != state.dtype))
    raise<AutogradError>("set_grad: expected {}, got {}", type_text(state.dtype, state.shape),
                         type_text(gradient.dtype(), gradient.shape()));
  const Session::Lock lock(Session::global());
  if (Trace* const trace = Trace::current()) trace->note_gradient_set(state);
  state.grad = gradient;
}

Tensor Tensor::detach() const {
  TensorState& state = state_of(*this, "detach");
  if (!state.requires_grad) return *this;
  Session& session = Session::global();
  const Session::Lock lock(session);
  return wrap(ops::detach(session.graph(), session.graph().resolve(state.handle)), false);
}

namespace {

/// True if a gradient could flow from the node to a leaf that is none of `own`. Under the session's
/// lock.
bool depends_on_leaf(NodeId node, std::span<const NodeId> own) {
  Session& session = Session::global();
  const Graph& graph = session.graph();
  const std::vector<bool> live = mark_live(graph, std::span(&node, 1));
  for (uint32_t i = 0; i <= node.value; ++i)
    if (live[i] && graph[{i}].op == Op::Input &&
        (session.differentiable_source({i}) ||
         (session.leaf_of({i}) && std::ranges::find(own, NodeId{i}) == own.end())))
      return true;
  return false;
}

}  // namespace

ValueAndGrad value_and_grad(const ScalarFunction& function, std::span<const Tensor> arguments) {
  realize(arguments);
  Session& session = Session::global();
  std::vector<Tensor> fresh;
  {
    // Each argument becomes an input of its own, so that the function's other uses of the same
    // value count as constants; where that value has a history, outer gradients follow the alias to
    // it.
    const Session::Lock lock(session);
    for (const Tensor& argument : arguments) {
      TensorState& state = state_of(argument, "value_and_grad");
      if (!is_float(state.dtype))
        raise<AutogradError>("value_and_grad: arguments must be floating, got {}",
                             type_text(state.dtype, state.shape));
      const NodeId original = input_of(state);
      const NodeId alias = session.alias_data(original);
      if (state.requires_grad) session.set_source(alias, original, true);
      fresh.push_back(wrap(alias, true));
      fresh.back().state()->is_leaf = true;
      session.set_leaf(alias, fresh.back().state());
    }
  }
  const Tensor value = function(fresh);
  const TensorState& state = state_of(value, "value_and_grad");
  const Session::Lock lock(session);
  const NodeId output = session.graph().resolve(state.handle);
  if (state.numel != 1)
    raise<AutogradError>("value_and_grad: the function must return one element, got {}",
                         type_text(state.dtype, state.shape));
  const NodeId seed = seed_for(state, {}, "value_and_grad");
  std::vector<NodeId> targets;
  for (const Tensor& t : fresh) targets.push_back(*realized_node(*t.state()));
  const NodeId oldest = targets.empty() ? NodeId{0} : *std::ranges::min_element(targets);
  History history([&](NodeId input) { return std::ranges::find(targets, input) != targets.end(); },
                  oldest);
  const std::map<NodeId, NodeId> found = history.gradients_of(output, seed);
  ValueAndGrad result{wrap(output, depends_on_leaf(output, targets)), {}};
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto at = found.find(targets[i]);
    if (at == found.end())
      raise<AutogradError>("value_and_grad: the value does not depend on argument {}", i);
    result.gradients.push_back(wrap(at->second, depends_on_leaf(at->second, targets)));
  }
  return result;
}

}  // namespace coregrad
