#include "compile/draft.h"

#include "base/flags.h"
#include "base/log.h"
#include "compile/view_map.h"
#include "schedule/arrange_loops.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

namespace coregrad {
namespace {

class Drafting {
 public:
  Drafting(const Graph& graph, const FusionPlan& fusion, const MemoryMap& memory,
           const CompileOptions& options)
      : graph_(graph), fusion_(fusion), memory_(memory), options_(options) {}

  Draft run() {
    for (const FusionUnit& unit : fusion_.units) {
      switch (unit.kind) {
        case UnitKind::Loop:
          draft_loops(unit);
          break;
        case UnitKind::Contract:
          draft_contract(unit);
          break;
        case UnitKind::Library:
          draft_library(unit);
          break;
      }
    }
    return std::move(draft_);
  }

 private:
  void draft_loops(const FusionUnit& unit);
  void draft_contract(const FusionUnit& unit);
  void draft_library(const FusionUnit& unit);
  std::string name_of_unit(const FusionUnit& unit) const;
  double bytes_of(NodeId node) const {
    return static_cast<double>(graph_.numel(node).hint()) * size_of(graph_.dtype(node));
  }

  const Graph& graph_;
  const FusionPlan& fusion_;
  const MemoryMap& memory_;
  const CompileOptions& options_;
  Draft draft_;
};

/// Operation names in order, each once: for reports.
std::string Drafting::name_of_unit(const FusionUnit& unit) const {
  std::string name;
  std::vector<Op> seen;
  const auto add_op = [&](Op op) {
    if (std::find(seen.begin(), seen.end(), op) != seen.end() || seen.size() >= 8) return;
    seen.push_back(op);
    if (!name.empty()) name += '+';
    name += name_of(op);
  };
  if (unit.kind != UnitKind::Loop) add_op(graph_[unit.node].op);
  for (const FusionRoot& root : unit.roots) {
    std::vector<NodeId> stack = {root.node};
    std::vector<uint32_t> visited;
    while (!stack.empty() && visited.size() < 64) {
      const NodeId at = stack.back();
      stack.pop_back();
      if (std::find(visited.begin(), visited.end(), at.value) != visited.end()) continue;
      visited.push_back(at.value);
      if (at != root.node && (fusion_.is_root[at] || graph_[at].op == Op::Input)) continue;
      if (is_elementwise(graph_[at].op) || is_reduce(graph_[at].op) ||
          graph_[at].op == Op::Gather || graph_[at].op == Op::Random)
        add_op(graph_[at].op);
      for (NodeId o : graph_.operands(at)) stack.push_back(o);
    }
    if (root.concat.is_valid()) add_op(Op::Concat);
  }
  return name.empty() ? "copy" : name;
}

void Drafting::draft_loops(const FusionUnit& unit) {
  bool is_stored = false;
  SymInt numel = 0;
  for (const FusionRoot& r : unit.roots) {
    if (!fusion_.is_stored[r.concat.is_valid() ? r.concat : r.node]) continue;
    is_stored = true;
    numel = max(numel, graph_.numel(r.node));
  }
  if (!is_stored || numel == 0) return;
  DraftStep step{.kind = StepKind::Loop, .name = name_of_unit(unit)};
  LoweredLoops lowered = lower_loops(graph_, fusion_, unit, memory_);
  for (const KernelArgument& a : lowered.arguments)
    step.add_argument(memory_.memory_of(a.node), a.node, a.is_written);
  draft_.add(std::move(step), std::move(lowered.kernel));
}

void Drafting::draft_contract(const FusionUnit& unit) {
  if (graph_.numel(unit.node) == 0) return;
  DraftStep step{.kind = StepKind::Contract, .name = name_of_unit(unit)};
  ContractKernel kernel;
  kernel.dtype = graph_.dtype(unit.node);
  kernel.spec = ContractSpec::decode(graph_.attrs(unit.node));
  for (size_t i = 0; i < 2; ++i) {
    const NodeId operand = graph_.operand(unit.node, i);
    const StridedView view = strided_view(graph_, operand, true);
    const Shape shape = graph_.shape(operand);
    ContractOperand& o = i == 0 ? kernel.lhs : kernel.rhs;
    o.shape.assign(shape.begin(), shape.end());
    o.strides = view.strides;
    o.offset = view.offset;
    const DType stored = graph_.dtype(view.base);
    if (stored != kernel.dtype) o.memory = stored;
    step.add_argument(memory_.memory_of(view.base), view.base, false);
    step.bytes += static_cast<double>(graph_.numel(operand).hint()) * size_of(stored);
  }
  LoweredLoops epilogue = lower_epilogue(graph_, fusion_, unit, memory_);
  for (const KernelArgument& a : epilogue.arguments) {
    step.add_argument(memory_.memory_of(a.node), a.node, a.is_written);
    step.bytes += bytes_of(a.node);
  }
  step.flops = 2.0 * static_cast<double>(kernel.spec.work());
  step.cost_ns = 100 + step.flops / 50;  // 50 GFLOP/s
  for (const SymInt extent : kernel.spec.extents) step.work *= extent;
  kernel.epilogue = std::move(epilogue.kernel);
  kernel.any_size = options_.any_size;
  draft_.add(std::move(step), std::move(kernel));
}

void Drafting::draft_library(const FusionUnit& unit) {
  for (LibraryUnit& library : make_library_units(graph_, unit, options_)) {
    DraftStep step{.kind = library.kind, .name = library.name};
    const auto add_arguments = [&](const std::vector<NodeId>& nodes, bool written) {
      for (NodeId n : nodes) {
        step.add_argument(memory_.memory_of(n), n, written);
        step.bytes += bytes_of(n);
      }
    };
    if (library.results_first) add_arguments(library.results, true);
    const size_t first_operand = step.arguments.size();
    add_arguments(library.operands, false);
    for (size_t i = 0; i < library.offsets.size(); ++i)
      step.skip(first_operand + i, library.offsets[i]);
    if (!library.results_first) add_arguments(library.results, true);
    step.checked = library.completes;
    step.cost_ns = library.cost_ns;
    for (const NodeId n : library.results) step.work = max(step.work, graph_.numel(n));
    for (const NodeId n : library.operands) step.work = max(step.work, graph_.numel(n));
    step.library = std::move(library);
    draft_.steps.push_back(std::move(step));
  }
}

/// A step that copies a node's value between two places.
void draft_copy(Draft& draft, const Graph& graph, NodeId node, Memory from,
                const std::vector<SymInt>& from_strides, Memory to,
                const std::vector<SymInt>& to_strides) {
  LoopKernel kernel;
  const Shape shape = graph.shape(node);
  std::vector<IndexExpr> index(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    index[d] = kernel.context.axis(static_cast<int>(d), shape[d]);
    kernel.axes.push_back({shape[d], -1});
  }
  kernel.num_parallel = static_cast<int>(shape.size());
  kernel.buffers = {{.dtype = graph.dtype(node)}, {.dtype = graph.dtype(node), .is_written = true}};
  KernelValue load{.kind = ValueKind::Load, .dtype = graph.dtype(node)};
  load.buffer = 0;
  load.index = linearize(kernel.context, index, from_strides);
  kernel.values.push_back(load);
  KernelStore store{.value = 0, .buffer = 1};
  store.index = linearize(kernel.context, index, to_strides);
  kernel.stores.push_back(store);
  DraftStep step{.kind = StepKind::Copy, .name = "copy"};
  step.add_argument(from, node, false);
  step.add_argument(to, node, true);
  draft.add(std::move(step), std::move(kernel));
}

}  // namespace

Draft draft_units(const Graph& graph, const FusionPlan& fusion, const MemoryMap& memory,
                  const CompileOptions& options) {
  return Drafting(graph, fusion, memory, options).run();
}

// What reads an input that is overwritten goes first; from one overwritten input to another by way
// of a temporary, since they may swap contents.
void draft_copies(Draft& draft, const Graph& graph, const MemoryMap& memory,
                  std::span<const OutputSpec> outputs, std::span<const int64_t> copied,
                  int64_t num_inputs) {
  std::vector<bool> is_overwritten(static_cast<size_t>(num_inputs), false);
  for (const OutputSpec& spec : outputs)
    if (spec.aliases_input >= 0) is_overwritten[spec.aliases_input] = true;
  for (const bool is_first : {true, false}) {
    for (const int64_t k : copied) {
      const OutputSpec& spec = outputs[k];
      const NodeId node = spec.node;
      if (graph.numel(node) == 0) continue;
      const Memory from = memory.memory_of(node);
      const Memory to{Memory::Kind::Output, k};
      const bool from_input = from.kind == Memory::Kind::Input;
      if (from_input && from.index == spec.aliases_input) continue;
      const bool in_danger = from_input && is_overwritten[from.index];
      const bool by_temporary = in_danger && spec.aliases_input >= 0;
      if (is_first && !in_danger) continue;
      if (!is_first && in_danger && !by_temporary) continue;
      const std::vector<SymInt> dense = contiguous_strides(graph.shape(node));
      const std::vector<SymInt> wanted = spec.strides.empty() ? dense : spec.strides;
      const std::vector<SymInt> given =
          from_input ? memory_strides(graph, node) : memory.strides(node);
      const Memory temporary{Memory::Kind::Node, node.value};
      if (!by_temporary)
        draft_copy(draft, graph, node, from, given, to, wanted);
      else if (is_first)
        draft_copy(draft, graph, node, from, given, temporary, dense);
      else
        draft_copy(draft, graph, node, temporary, dense, to, wanted);
    }
  }
}

namespace {

/// Kernels without sums over one axis that differ in how long it is alone take that from the call,
/// so that they are one: an optimiser has one for each shape of its parameters.
void share_runs(Draft& draft) {
  std::unordered_map<std::string, std::vector<LoopKernel*>> alike;
  for (KernelSource& source : draft.sources) {
    auto* kernel = std::get_if<LoopKernel>(&source);
    const auto writes = [](const KernelStore& s) { return s.combine == Op::Literal; };
    if (!kernel || kernel->num_parallel != 1 || kernel->num_loop_sets != 0 ||
        !kernel->lane_parallel || kernel->has_symbols() ||
        !std::ranges::all_of(kernel->stores, writes))
      continue;
    LoopKernel any = *kernel;
    any.axes[0].extent = any.chunk = any.block = 1;
    alike[any.structure_key()].push_back(kernel);
  }
  for (const auto& [key, kernels] : alike)
    for (LoopKernel* kernel : kernels)
      if (kernel->axes[0].extent != kernels[0]->axes[0].extent)
        for (LoopKernel* one : kernels) one->any_size = true;
}

}  // namespace

void schedule(Draft& draft, const CompileOptions& options, const Target& target) {
  for (DraftStep& step : draft.steps) {
    if (step.source < 0) continue;
    auto* kernel = std::get_if<LoopKernel>(&draft.sources[step.source]);
    if (!kernel) continue;
    const LoopCost cost = arrange_loops(*kernel, target);
    step.bytes = static_cast<double>(cost.bytes.hint());
    if (!cost.bytes.is_number() && kernel->can_stream() && target.can_stream())
      step.moved = cost.bytes;
    step.cost_ns = cost.ns;
    step.work = cost.elements;
    kernel->any_size = options.any_size && step.kind == StepKind::Loop;
    if (flags().debug >= 3) log().debug("{}: {}", step.name, kernel->to_text());
  }
  share_runs(draft);
}

void start_at_first_access(Draft& draft) {
  for (DraftStep& step : draft.steps) {
    if (step.source < 0) continue;
    KernelSource& source = draft.sources[step.source];
    size_t first = 0;
    auto* loops = std::get_if<LoopKernel>(&source);
    if (auto* contract = std::get_if<ContractKernel>(&source)) {
      for (ContractOperand* o : {&contract->lhs, &contract->rhs})
        step.skip(first++, std::exchange(o->offset, SymInt(0)) *
                               size_of(o->memory.value_or(contract->dtype)));
      loops = &contract->epilogue;
    }
    for (size_t b = 0; b < loops->buffers.size(); ++b) {
      std::vector<IndexExpr*> accesses;
      bool is_plain = !loops->buffers[b].non_temporal;
      for (KernelValue& v : loops->values)
        if (v.kind == ValueKind::Load && v.buffer == static_cast<int>(b))
          accesses.push_back(&v.index);
      for (KernelStore& s : loops->stores) {
        if (s.buffer != static_cast<int>(b)) continue;
        accesses.push_back(&s.index);
        is_plain = is_plain && s.combine == Op::Literal;
      }
      if (!is_plain || accesses.empty()) continue;
      SymInt least = accesses[0]->constant;
      for (const IndexExpr* e : accesses)
        if (SymInt::is_at_most(e->constant, least)) least = e->constant;
      // Sizes that cannot be compared stay where they are.
      const bool is_least = std::ranges::all_of(
          accesses, [&](const IndexExpr* e) { return SymInt::is_at_most(least, e->constant); });
      if (!is_least || !SymInt::is_at_most(1, least)) continue;
      for (IndexExpr* e : accesses) e->constant -= least;
      step.skip(first + b, least * size_of(loops->buffers[b].dtype));
    }
  }
}

}  // namespace coregrad
