// Realisation: everything that is pending and asked for, computed by one plan.

#include "base/checked.h"
#include "ops/primitives.h"
#include "tensor/evaluate.h"
#include "tensor/state.h"
#include "tensor/trace.h"

#include <unordered_map>

namespace coregrad {
namespace {

/// One value to compute and the tensors that wait for it.
struct Target {
  Handle node;
  DType dtype;
  Dims shape;
  int64_t bytes;
  std::vector<std::shared_ptr<TensorState>> waiting;
};

struct Work {
  Structure structure;
  std::vector<Handle> nodes;  ///< the structure's, where some may be kept for gradients
  std::vector<Target> targets;
  std::vector<std::shared_ptr<Buffer>> inputs;
};

/// Points a tensor at its value, keeping the way gradients go. Under the session's lock.
void bind_value(TensorState& state, NodeId source, NodeId value) {
  Session& session = Session::global();
  if (state.requires_grad) {
    // A value of its own: letting go of one tensor's history must not cut off another's.
    value = session.alias_data(value);
    session.set_source(value, source, true);
  }
  state.rebind(value);
}

/// Binds what is known already and collects the rest.
class Gatherer {
 public:
  void add(const std::shared_ptr<TensorState>& state) {
    const NodeId node = graph_.resolve(state->handle);
    if (graph_[node].op == Op::Input) return;
    if (const std::optional<NodeId> value = session_.value_of(node)) {
      bind_value(*state, node, *value);
      return;
    }
    const auto [at, is_new] = target_of_.try_emplace(node.value, work_.targets.size());
    if (is_new) {
      const int64_t bytes = checked_mul(state->numel, size_of(state->dtype), "realize");
      work_.targets.push_back({graph_.retain(node), state->dtype, state->shape, bytes, {}});
      roots_.push_back(node);
    }
    if (state->requires_grad) needs_.roots.push_back(node);
    work_.targets[at->second].waiting.push_back(state);
  }

  Work finish() {
    if (roots_.empty()) return {};
    for (const std::weak_ptr<TensorState>& due : session_.take_due())
      if (const std::shared_ptr<TensorState> state = due.lock()) add(state);
    const KnownValue known = [&](NodeId n) -> std::optional<int64_t> {
      const std::optional<NodeId> value = session_.value_of(n);
      // A constant stays one: whether somebody realised an equal tensor must not change structures.
      if (!value || ops::constant_value(graph_, n)) return std::nullopt;
      return graph_.attr(*value, 0);
    };
    const Identity identity = [&](int64_t id) -> const void* { return session_.buffer(id).get(); };
    // A known value that is no input stands for its own computation, which may lead to a leaf.
    needs_.is_reachable = [&](NodeId n) {
      return graph_[n].op != Op::Input || session_.leaf_of(n) || session_.differentiable_source(n);
    };
    work_.structure = extract_structure(graph_, roots_, known, identity, needs_);
    if (!needs_.roots.empty())
      for (NodeId n : work_.structure.nodes) work_.nodes.push_back(graph_.retain(n));
    for (int64_t id : work_.structure.inputs) work_.inputs.push_back(session_.buffer(id));
    return std::move(work_);
  }

 private:
  Session& session_ = Session::global();
  Graph& graph_ = session_.graph();
  Work work_;
  std::unordered_map<uint32_t, size_t> target_of_;
  std::vector<NodeId> roots_;
  GradientNeeds needs_;
};

/// What is to be done for these tensors. Under the session's lock.
Work gather(std::span<const Tensor> tensors) {
  Gatherer gatherer;
  for (const Tensor& tensor : tensors) {
    gatherer.add(shared_state(tensor, "realize"));
  }
  return gatherer.finish();
}

/// Runs; the results' buffers, in the order of the targets and of the kept values.
std::vector<std::shared_ptr<Buffer>> compute(const Work& work, const Executable& executable) {
  std::vector<const void*> inputs;
  for (const auto& buffer : work.inputs) {
    if (buffer->is_promise())
      raise<ValueError>("realize: this needs a tensor of a function that is recorded");
    inputs.push_back(buffer->data());
  }
  std::vector<std::shared_ptr<Buffer>> results;
  std::vector<void*> outputs;
  for (const Target& target : work.targets) {
    results.push_back(Buffer::allocate(target.bytes));
    outputs.push_back(results.back()->data());
  }
  for (const KeptValue& value : executable.kept()) {
    const int64_t count = checked_numel(value.shape, "realize");
    results.push_back(Buffer::allocate(checked_mul(count, size_of(value.dtype), "realize")));
    outputs.push_back(results.back()->data());
  }
  executable.run(inputs, outputs);
  count_run(executable);
  return results;
}

/// Lets go of the graph's nodes. Under the session's lock.
void release(const Work& work) {
  Graph& graph = Session::global().graph();
  for (const Target& target : work.targets) graph.release(target.node);
  for (Handle node : work.nodes) graph.release(node);
}

}  // namespace

void realize(std::span<const Tensor> tensors) {
  if (Trace* const trace = Trace::current()) return trace->realize_constants(tensors);
  Session& session = Session::global();
  Work work;
  {
    const Session::Lock lock(session);
    work = gather(tensors);
    if (work.targets.empty()) return;
  }
  std::shared_ptr<const Executable> executable;
  std::vector<std::shared_ptr<Buffer>> results;
  try {
    executable = executable_for(work.structure);
    results = compute(work, *executable);
  } catch (...) {
    const Session::Lock lock(session);
    release(work);
    throw;
  }
  const Session::Lock lock(session);
  for (size_t i = 0; i < work.targets.size(); ++i) {
    const Target& target = work.targets[i];
    const NodeId source = session.graph().resolve(target.node);
    const NodeId value = session.add_data(results[i], target.dtype, target.shape);
    session.set_source(value, source, false);
    for (const auto& state : target.waiting)
      // Another thread may have been faster; values are equal then.
      if (!realized_node(*state)) bind_value(*state, source, value);
  }
  for (size_t i = 0; i < executable->kept().size(); ++i) {
    const KeptValue& kept = executable->kept()[i];
    const std::shared_ptr<Buffer>& buffer = results[work.targets.size() + i];
    const NodeId source = session.graph().resolve(work.nodes[kept.number]);
    session.set_source(session.add_data(buffer, kept.dtype, kept.shape), source, false);
    session.note_kept(buffer->bytes());
  }
  release(work);
  session.collect_if_due();
}

SessionStats session_stats() {
  Session& session = Session::global();
  const Session::Lock lock(session);
  const EvaluationStats evaluations = evaluation_stats();
  return {session.graph().size(), session.live_data(), evaluations.compiled, evaluations.hits,
          evaluations.runs,       evaluations.steps,   evaluations.products};
}

}  // namespace coregrad
