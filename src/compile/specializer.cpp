#include "compile/specializer.h"

#include "ir/iteration.h"
#include "ops/primitives.h"

#include <utility>

namespace coregrad {
namespace {

/// Nodes of a graph in another one, and sizes as numbers.
class Copy {
 public:
  explicit Copy(const SizeFunction& value_of) : value_of_(value_of) {}

  std::vector<SymInt> numbers(SymInts sizes) const {
    std::vector<SymInt> values;
    for (const SymInt x : sizes) values.push_back(value_of_(x));
    return values;
  }

  /// Where the nodes are that `roots` reach.
  std::vector<NodeId> copy(const Graph& from, std::span<const NodeId> roots, Graph& to) const {
    const std::vector<bool> live = mark_live(from, roots);
    std::vector<NodeId> moved(from.size());
    for (uint32_t i = 0; i < from.size(); ++i)
      if (live[i]) moved[i] = copy_node(from, {i}, moved, to);
    return moved;
  }

 private:
  // What was decided about sizes holds for these: nothing has to be checked again.
  NodeId copy_node(const Graph& from, NodeId node, const std::vector<NodeId>& moved,
                   Graph& to) const {
    const Node n = from[node];
    std::vector<SymInt> attrs = numbers(from.attrs(node));
    if (n.op == Op::Size) return ops::size(to, attrs[0]);
    if (n.op == Op::Iterate) attrs[0] = to.add_iteration(copy_body(*from.iteration(attrs[0])));
    std::vector<NodeId> operands;
    for (const NodeId o : from.operands(node)) operands.push_back(moved[o.value]);
    to.set_origin(from.origin(node));
    return to.intern(n.op, n.dtype, numbers(from.shape(node)), operands, attrs, n.literal);
  }

  std::shared_ptr<const Iteration> copy_body(const Iteration& body) const {
    auto made = std::make_shared<Iteration>();
    made->name = body.name;
    made->inputs = body.inputs;
    std::vector<NodeId> roots = body.next;
    roots.insert(roots.end(), body.stacked.begin(), body.stacked.end());
    for (const Iteration::Input& input : body.inputs) roots.push_back(input.node);
    const std::vector<NodeId> moved = copy(body.graph, roots, made->graph);
    for (Iteration::Input& input : made->inputs) input.node = moved[input.node.value];
    for (const NodeId n : body.next) made->next.push_back(moved[n.value]);
    for (const NodeId n : body.stacked) made->stacked.push_back(moved[n.value]);
    return made;
  }

  const SizeFunction& value_of_;
};

}  // namespace

Specializer::Specializer(std::shared_ptr<const Graph> graph, std::vector<OutputSpec> outputs,
                         int64_t num_inputs, const CompileOptions& options)
    : graph_(std::move(graph)),
      outputs_(std::move(outputs)),
      num_inputs_(num_inputs),
      options_(options),
      externals_(options.externals.begin(), options.externals.end()) {
  COREGRAD_CHECK(options.env != nullptr);
}

CompiledPlan Specializer::compile_for(std::span<const int64_t> values) const {
  const SizeFunction value_of = [&](SymInt x) { return SymInt(options_.env->evaluate(x, values)); };
  const Copy copy(value_of);
  std::vector<NodeId> roots;
  for (const OutputSpec& o : outputs_) roots.push_back(o.node);
  Graph graph;
  const std::vector<NodeId> moved = copy.copy(*graph_, roots, graph);
  std::vector<OutputSpec> outputs;
  for (const OutputSpec& o : outputs_)
    outputs.push_back({moved[o.node.value], copy.numbers(o.strides), o.aliases_input});
  std::vector<ExternalStep> externals = externals_;
  for (ExternalStep& step : externals) {
    if (!step.make_context) continue;
    step.keep_alive = std::exchange(step.make_context, nullptr)(value_of);
    step.context = step.keep_alive.get();
  }
  CompileOptions options = options_;
  options.externals = externals;
  options.env = nullptr;
  options.any_size = false;
  options.max_threads = 1;
  return compile(graph, outputs, num_inputs_, options);
}

}  // namespace coregrad
