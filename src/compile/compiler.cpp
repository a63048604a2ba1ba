// compile(): passes, fusion, lowering, machine code, memory, plan. Start reading at compile().

#include "compile/compiler.h"

#include "base/checked.h"
#include "base/flags.h"
#include "base/log.h"
#include "codegen/kernel_cache.h"
#include "compile/dump.h"
#include "compile/fusion.h"
#include "compile/library_units.h"
#include "compile/lower_loops.h"
#include "compile/memory_plan.h"
#include "compile/pipeline.h"
#include "compile/schedule_loops.h"
#include "compile/validate.h"
#include "compile/view_map.h"
#include "ir/print.h"
#include "runtime/executor.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

namespace coregrad {
namespace {

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// Memory a step touches: a node's own, an input's, or an output's (by number).
struct Memory {
  enum class Kind : uint8_t { Node, Input, Output } kind;
  int64_t index;       ///< node index, input number, output number
  int64_t offset = 0;  ///< bytes from its start
  auto operator<=>(const Memory&) const = default;
};

/// A step before memory and code are settled.
struct DraftStep {
  StepKind kind;
  std::string name;
  std::vector<Memory> arguments;
  std::vector<bool> written;  ///< per argument
  int source = -1;            ///< index into the kernel sources, or -1
  std::optional<LibraryUnit> library;
  bool checked = true;           ///< its results are complete and can be validated
  std::vector<NodeId> nodes;     ///< per argument: whose memory it is
  std::vector<int64_t> skipped;  ///< per argument: bytes of that memory before the pointer
  double bytes = 0, flops = 0, cost_ns = 0;

  void add_argument(const Memory& memory, NodeId node, bool is_written) {
    arguments.push_back(memory);
    nodes.push_back(node);
    skipped.push_back(0);
    written.push_back(is_written);
  }
  void skip(size_t argument, int64_t distance) {
    arguments[argument].offset += distance;
    skipped[argument] += distance;
  }
};

class Compilation : public Layouts {
 public:
  Compilation(GraphWithOutputs source, std::span<const OutputSpec> specs, int64_t num_inputs,
              const CompileOptions& options)
      : graph_(std::move(source.graph)),
        outputs_(std::move(source.outputs)),
        specs_(specs.begin(), specs.end()),
        num_inputs_(num_inputs),
        options_(options) {}

  CompiledPlan run();
  std::vector<int64_t> strides(NodeId node) const override;

 private:
  void strip_reshapes();
  void assign_outputs();
  void draft_units();
  void draft_loops(const FusionUnit& unit);
  void draft_contract(const FusionUnit& unit);
  void draft_library(const FusionUnit& unit);
  void draft_copies();
  void draft_copy(NodeId node, Memory from, const std::vector<int64_t>& from_strides, Memory to,
                  const std::vector<int64_t>& to_strides);
  Memory memory_of(NodeId node) const;
  bool is_safe_in_place(const LoopKernel& kernel, int read, int written) const;
  std::vector<std::string> gathering_origins() const;
  void build_plan(const std::vector<std::shared_ptr<const CompiledKernel>>& kernels);
  void start_at_first_access(DraftStep& step);
  void add_validator();
  std::string unit_name(const FusionUnit& unit) const;

  Graph graph_;
  std::vector<NodeId> outputs_;
  std::vector<OutputSpec> specs_;
  int64_t num_inputs_;
  const CompileOptions& options_;
  FusionPlan fusion_;
  std::map<uint32_t, int64_t> output_of_;  // node -> the output whose memory it is written to
  std::vector<int64_t> copied_outputs_;    // outputs filled by a copy at the end
  std::vector<DraftStep> steps_;
  std::vector<KernelSource> sources_;
  std::map<uint32_t, uint32_t> in_place_;  // node -> node whose memory it takes over
  std::shared_ptr<Plan> plan_ = std::make_shared<Plan>();
};

std::vector<int64_t> Compilation::strides(NodeId node) const {
  const auto at = output_of_.find(node.value);
  if (at != output_of_.end() && !specs_[static_cast<size_t>(at->second)].strides.empty())
    return specs_[static_cast<size_t>(at->second)].strides;
  const Placement& placed = fusion_.placed[node.value];
  if (placed.concat.is_valid() && placed.is_whole_part) return strides(placed.concat);
  return contiguous_strides(graph_.shape(node));
}

Memory Compilation::memory_of(NodeId node) const {
  if (graph_[node].op == Op::Input) return {Memory::Kind::Input, graph_.attr(node, 0)};
  const auto at = output_of_.find(node.value);
  if (at != output_of_.end()) return {Memory::Kind::Output, at->second};
  if (const Placement& placed = fusion_.placed[node.value]; placed.concat.is_valid()) {
    Memory memory = memory_of(placed.concat);
    const auto dim = static_cast<size_t>(graph_.attr(placed.concat, 0));
    memory.offset += placed.start * strides(placed.concat)[dim] * size_of(graph_.dtype(node));
    return memory;
  }
  return {Memory::Kind::Node, node.value};
}

/// Decides which outputs are written by the step that computes them, and which are copied at the
/// end.
void Compilation::assign_outputs() {
  // Units by the node they store, and who reads what.
  std::vector<int> producer(graph_.size(), -1);
  std::vector<int> first_writer(graph_.size(), -1);
  std::vector<bool> read_densely(graph_.size(), false);  // by a contract or a library op
  std::vector<int> last_reader(static_cast<size_t>(num_inputs_), -1);
  for (size_t u = 0; u < fusion_.units.size(); ++u) {
    const FusionUnit& unit = fusion_.units[u];
    const auto writes = [&](NodeId node) {
      fusion_.for_each_memory(node, [&](NodeId id) {
        producer[id.value] = static_cast<int>(u);
        if (first_writer[id.value] < 0) first_writer[id.value] = static_cast<int>(u);
      });
    };
    const auto reads = [&](NodeId id) {
      if (graph_[id].op == Op::Input)
        last_reader[static_cast<size_t>(graph_.attr(id, 0))] = static_cast<int>(u);
    };
    if (unit.kind != UnitKind::Loop) {
      writes(unit.node);
      for (NodeId r : unit.results) writes(r);
      for (const StridedView& v : memory_operands(graph_, unit.node)) {
        if (!v.base.is_valid()) continue;
        read_densely[v.base.value] = true;
        reads(v.base);
      }
    }
    for (const FusionRoot& r : unit.roots) {
      writes(r.concat.is_valid() ? r.concat : r.node);
      IndexContext context;
      const bool copy =
          r.concat.is_valid() && (fusion_.is_root[r.node.value] || graph_[r.node].op == Op::Input);
      for (const FusionRead& read : collect_reads(graph_, r.node, fusion_.is_root, copy, context))
        reads(read.node);
    }
  }
  // An input that is itself an output is read by a copy after all units.
  for (size_t k = 0; k < outputs_.size(); ++k)
    if (graph_[outputs_[k]].op == Op::Input &&
        graph_.attr(outputs_[k], 0) != specs_[k].aliases_input)
      last_reader[static_cast<size_t>(graph_.attr(outputs_[k], 0))] =
          static_cast<int>(fusion_.units.size());
  for (size_t k = 0; k < outputs_.size(); ++k) {
    const NodeId node = outputs_[k];
    const OutputSpec& spec = specs_[k];
    bool direct = graph_[node].op != Op::Input && !output_of_.contains(node.value);
    const int made_by = direct ? producer[node.value] : -1;
    if (!spec.strides.empty() && spec.strides != contiguous_strides(graph_.shape(node))) {
      const bool by_library =
          made_by >= 0 && fusion_.units[static_cast<size_t>(made_by)].kind == UnitKind::Library;
      direct =
          direct && !read_densely[node.value] && !fusion_.needs_dense[node.value] && !by_library;
    }
    if (spec.aliases_input >= 0 && direct) {
      // The old contents must not be wanted any more; a reader in the same step is looked at later.
      direct = last_reader[static_cast<size_t>(spec.aliases_input)] < first_writer[node.value];
    }
    if (direct)
      output_of_[node.value] = static_cast<int64_t>(k);
    else
      copied_outputs_.push_back(static_cast<int64_t>(k));
  }
}

/// A reshaped output is the memory of what is reshaped, which the step that makes it can write
/// itself.
void Compilation::strip_reshapes() {
  for (size_t k = 0; k < outputs_.size(); ++k) {
    OutputSpec& spec = specs_[k];
    const bool is_dense =
        spec.strides.empty() || spec.strides == contiguous_strides(graph_.shape(outputs_[k]));
    if (!is_dense || spec.aliases_input >= 0) continue;
    while (graph_[outputs_[k]].op == Op::Reshape &&
           graph_[graph_.operand(outputs_[k], 0)].op != Op::Input) {
      outputs_[k] = graph_.operand(outputs_[k], 0);
      spec.strides.clear();
    }
  }
}

std::string Compilation::unit_name(const FusionUnit& unit) const {
  // Operation names in order, each once: for reports.
  std::string name;
  std::vector<Op> seen;
  const auto add = [&](Op op) {
    if (std::find(seen.begin(), seen.end(), op) != seen.end() || seen.size() >= 8) return;
    seen.push_back(op);
    if (!name.empty()) name += '+';
    name += name_of(op);
  };
  if (unit.kind != UnitKind::Loop) add(graph_[unit.node].op);
  for (const FusionRoot& root : unit.roots) {
    std::vector<NodeId> stack = {root.node};
    std::vector<uint32_t> visited;
    while (!stack.empty() && visited.size() < 64) {
      const NodeId at = stack.back();
      stack.pop_back();
      if (std::find(visited.begin(), visited.end(), at.value) != visited.end()) continue;
      visited.push_back(at.value);
      if (at != root.node && (fusion_.is_root[at.value] || graph_[at].op == Op::Input)) continue;
      if (is_elementwise(graph_[at].op) || is_reduce(graph_[at].op) ||
          graph_[at].op == Op::Gather || graph_[at].op == Op::Random)
        add(graph_[at].op);
      for (NodeId o : graph_.operands(at)) stack.push_back(o);
    }
    if (root.concat.is_valid()) add(Op::Concat);
  }
  return name.empty() ? "copy" : name;
}

/// True when every access to both buffers is at one and the same place that no loop revisits.
bool Compilation::is_safe_in_place(const LoopKernel& kernel, int read, int written) const {
  const IndexExpr* place = nullptr;
  for (const KernelStore& s : kernel.stores) {
    if (s.buffer != written) continue;
    if (place || s.combine != Op::Literal || s.mask != kNoValue) return false;
    place = &s.index;
  }
  if (!place) return false;
  std::vector<int> axes, values;
  kernel.context.collect(*place, axes, values);
  if (!values.empty()) return false;
  for (int a : axes)
    if (kernel.axes[static_cast<size_t>(a)].loop_set >= 0) return false;
  for (const KernelValue& v : kernel.values)
    if (v.kind == ValueKind::Load && v.buffer == read && !(v.index == *place)) return false;
  return true;
}

/// True when a further argument is in the same memory: a part of a Concat and the whole.
bool is_read_twice(const DraftStep& step, size_t argument) {
  const auto same = [&](const Memory& m) {
    return m.kind == step.arguments[argument].kind && m.index == step.arguments[argument].index;
  };
  return std::count_if(step.arguments.begin(), step.arguments.end(), same) > 1;
}

void Compilation::draft_loops(const FusionUnit& unit) {
  std::vector<NodeId> stored;
  int64_t numel = 0;
  for (const FusionRoot& r : unit.roots) {
    const NodeId memory = r.concat.is_valid() ? r.concat : r.node;
    if (!fusion_.is_stored[memory.value]) continue;
    if (std::find(stored.begin(), stored.end(), memory) == stored.end()) stored.push_back(memory);
    numel = std::max(numel, graph_.numel(r.node));
  }
  if (stored.empty()) return;
  DraftStep step{.kind = StepKind::Loop, .name = unit_name(unit)};
  if (numel == 0) return;
  LoweredLoops lowered = lower_loops(graph_, fusion_, unit, *this, host_target());
  for (const KernelArgument& a : lowered.arguments)
    step.add_argument(memory_of(a.node), a.node, a.is_written);
  step.bytes = lowered.bytes;
  step.cost_ns = lowered.cost_ns;
  lowered.kernel.any_size = options_.any_size;
  if (flags().debug >= 3) log().debug("{}: {}", step.name, lowered.kernel.to_text());
  step.source = static_cast<int>(sources_.size());
  sources_.emplace_back(std::move(lowered.kernel));
  steps_.push_back(std::move(step));
}

void Compilation::draft_contract(const FusionUnit& unit) {
  DraftStep step{.kind = StepKind::Contract, .name = unit_name(unit)};
  if (graph_.numel(unit.node) == 0) return;
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
    step.add_argument(memory_of(view.base), view.base, false);
    step.bytes += static_cast<double>(graph_.numel(operand)) * size_of(stored);
  }
  LoweredLoops epilogue = lower_epilogue(graph_, fusion_, unit, *this);
  for (const KernelArgument& a : epilogue.arguments) {
    step.add_argument(memory_of(a.node), a.node, a.is_written);
    step.bytes += static_cast<double>(graph_.numel(a.node)) * size_of(graph_.dtype(a.node));
  }
  step.flops = 2.0 * static_cast<double>(kernel.spec.work());
  step.cost_ns = 100 + step.flops / 50;  // 50 GFLOP/s
  kernel.epilogue = std::move(epilogue.kernel);
  kernel.any_size = options_.any_size;
  step.source = static_cast<int>(sources_.size());
  sources_.emplace_back(std::move(kernel));
  steps_.push_back(std::move(step));
}

void Compilation::draft_library(const FusionUnit& unit) {
  for (LibraryUnit& library : make_library_units(graph_, unit, options_.externals)) {
    DraftStep step{.kind = library.kind, .name = library.name};
    const auto add = [&](const std::vector<NodeId>& nodes, bool written) {
      for (NodeId n : nodes) {
        step.add_argument(memory_of(n), n, written);
        step.bytes += static_cast<double>(graph_.numel(n)) * size_of(graph_.dtype(n));
      }
    };
    if (library.results_first) add(library.results, true);
    add(library.operands, false);
    if (!library.results_first) add(library.results, true);
    step.checked = library.completes;
    step.cost_ns = library.cost_ns;
    step.library = std::move(library);
    steps_.push_back(std::move(step));
  }
}

/// Fills the outputs that no unit writes. What reads an input that is overwritten goes first; from
/// one overwritten input to another by way of a temporary, since they may swap contents.
void Compilation::draft_copies() {
  std::vector<bool> is_overwritten(static_cast<size_t>(num_inputs_), false);
  for (const OutputSpec& spec : specs_)
    if (spec.aliases_input >= 0) is_overwritten[static_cast<size_t>(spec.aliases_input)] = true;
  for (const bool is_first : {true, false}) {
    for (int64_t k : copied_outputs_) {
      const NodeId node = outputs_[static_cast<size_t>(k)];
      const OutputSpec& spec = specs_[static_cast<size_t>(k)];
      if (graph_.numel(node) == 0) continue;
      const Memory from = memory_of(node);
      const Memory to{Memory::Kind::Output, k};
      const bool from_input = from.kind == Memory::Kind::Input;
      if (from_input && from.index == spec.aliases_input) continue;
      const bool in_danger = from_input && is_overwritten[static_cast<size_t>(from.index)];
      const bool by_temporary = in_danger && spec.aliases_input >= 0;
      if (is_first && !in_danger) continue;
      if (!is_first && in_danger && !by_temporary) continue;
      const std::vector<int64_t> dense = contiguous_strides(graph_.shape(node));
      const std::vector<int64_t> wanted = spec.strides.empty() ? dense : spec.strides;
      const std::vector<int64_t> given = from_input ? memory_strides(graph_, node) : strides(node);
      const Memory temporary{Memory::Kind::Node, node.value};
      if (!by_temporary)
        draft_copy(node, from, given, to, wanted);
      else if (is_first)
        draft_copy(node, from, given, temporary, dense);
      else
        draft_copy(node, temporary, dense, to, wanted);
    }
  }
}

void Compilation::draft_copy(NodeId node, Memory from, const std::vector<int64_t>& from_strides,
                             Memory to, const std::vector<int64_t>& to_strides) {
  LoweredLoops copy;
  LoopKernel& kernel = copy.kernel;
  const Shape shape = graph_.shape(node);
  std::vector<IndexExpr> index(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    index[d] = kernel.context.axis(static_cast<int>(d), shape[d]);
    kernel.axes.push_back({shape[d], -1});
  }
  kernel.num_parallel = static_cast<int>(shape.size());
  kernel.buffers = {{.dtype = graph_.dtype(node)},
                    {.dtype = graph_.dtype(node), .is_written = true}};
  KernelValue load{.kind = ValueKind::Load, .dtype = graph_.dtype(node)};
  load.buffer = 0;
  load.index = linearize(kernel.context, index, from_strides);
  kernel.values.push_back(load);
  KernelStore store{.value = 0, .buffer = 1};
  store.index = linearize(kernel.context, index, to_strides);
  kernel.stores.push_back(store);
  schedule_loops(copy, host_target());
  DraftStep step{.kind = StepKind::Copy, .name = "copy"};
  step.add_argument(from, node, false);
  step.add_argument(to, node, true);
  step.bytes = copy.bytes;
  step.cost_ns = copy.cost_ns;
  step.source = static_cast<int>(sources_.size());
  sources_.emplace_back(std::move(kernel));
  steps_.push_back(std::move(step));
}

void Compilation::draft_units() {
  for (const FusionUnit& unit : fusion_.units) switch (unit.kind) {
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
  draft_copies();
}

/// Moves the constant part of a kernel's indices into the step's arguments: the steps of an
/// unrolled loop, which read and write one place after another, then share their machine code.
void Compilation::start_at_first_access(DraftStep& step) {
  if (step.source < 0) return;
  KernelSource& source = sources_[static_cast<size_t>(step.source)];
  size_t first = 0;
  auto* loops = std::get_if<LoopKernel>(&source);
  if (auto* contract = std::get_if<ContractKernel>(&source)) {
    for (ContractOperand* o : {&contract->lhs, &contract->rhs})
      step.skip(first++,
                std::exchange(o->offset, 0) * size_of(o->memory.value_or(contract->dtype)));
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
    int64_t least = INT64_MAX;
    for (const IndexExpr* e : accesses) least = std::min(least, e->constant);
    if (least <= 0) continue;
    for (IndexExpr* e : accesses) e->constant -= least;
    step.skip(first + b, least * size_of(loops->buffers[b].dtype));
  }
}

void Compilation::build_plan(const std::vector<std::shared_ptr<const CompiledKernel>>& kernels) {
  Plan& plan = *plan_;
  plan.num_inputs = num_inputs_;
  plan.num_outputs = static_cast<int64_t>(outputs_.size());

  // Lifetimes of temporaries in steps; one that takes over another's memory extends it.
  std::map<uint32_t, size_t> lifetime_of;
  std::vector<Lifetime> lifetimes;
  for (size_t s = 0; s < steps_.size(); ++s)
    for (const Memory& m : steps_[s].arguments) {
      if (m.kind != Memory::Kind::Node) continue;
      auto owner = static_cast<uint32_t>(m.index);
      for (auto at = in_place_.find(owner); at != in_place_.end(); at = in_place_.find(owner))
        owner = at->second;
      const auto [at, is_new] = lifetime_of.try_emplace(owner, lifetimes.size());
      if (is_new)
        lifetimes.push_back(
            {checked_mul(graph_.numel({owner}), size_of(graph_.dtype({owner})), "plan"),
             static_cast<int64_t>(s), static_cast<int64_t>(s)});
      lifetimes[at->second].last_step = static_cast<int64_t>(s);
    }
  MemoryPlan memory =
      flags().check_memory ? plan_guarded_memory(lifetimes) : plan_memory(lifetimes);
  plan.temporary_bytes = memory.total_bytes;
  plan.guard_pages = std::move(memory.guard_pages);

  std::map<Memory, SlotId> slots;
  const auto slot_of = [&](const Memory& m) {
    const auto [at, is_new] =
        slots.try_emplace(m, SlotId{static_cast<uint32_t>(plan.slots.size())});
    if (is_new) switch (m.kind) {
        case Memory::Kind::Input:
          plan.slots.push_back({SlotKind::Input, m.index, 0, m.offset});
          break;
        case Memory::Kind::Output: {
          const NodeId node = outputs_[static_cast<size_t>(m.index)];
          plan.slots.push_back({SlotKind::Output, m.index,
                                graph_.numel(node) * size_of(graph_.dtype(node)) - m.offset,
                                m.offset});
          break;
        }
        case Memory::Kind::Node: {
          auto owner = static_cast<uint32_t>(m.index);
          for (auto next = in_place_.find(owner); next != in_place_.end();
               next = in_place_.find(owner))
            owner = next->second;
          const size_t life = lifetime_of.at(owner);
          plan.slots.push_back({SlotKind::Temporary, memory.offsets[life] + m.offset,
                                lifetimes[life].bytes - m.offset});
          break;
        }
      }
    return at->second;
  };

  for (DraftStep& draft : steps_) {
    Step step;
    step.kind = draft.kind;
    step.name = std::move(draft.name);
    step.bytes = draft.bytes;
    step.flops = draft.flops;
    step.cost_ns = draft.cost_ns;
    step.first_arg = static_cast<uint32_t>(plan.args.size());
    step.num_args = static_cast<uint32_t>(draft.arguments.size());
    for (const Memory& m : draft.arguments) plan.args.push_back(slot_of(m));
    step.first_param = static_cast<uint32_t>(plan.params.size());
    if (draft.source >= 0) {
      const CompiledKernel& kernel = *kernels[static_cast<size_t>(draft.source)];
      step.function = kernel.function;
      step.range = kernel.range;
      step.chunk = kernel.chunk;
      step.scratch_bytes = kernel.scratch_bytes;
      step.num_params = static_cast<uint32_t>(kernel.params.size());
      plan.params.insert(plan.params.end(), kernel.params.begin(), kernel.params.end());
      plan.keep_alive.push_back(kernels[static_cast<size_t>(draft.source)]);
    } else {
      const LibraryUnit& unit = *draft.library;
      step.function = unit.function;
      step.context = unit.context;
      step.range = unit.range;
      step.chunk = unit.chunk;
      step.scratch_bytes = unit.scratch_bytes;
      step.num_params = static_cast<uint32_t>(unit.params.size());
      plan.params.insert(plan.params.end(), unit.params.begin(), unit.params.end());
      plan.keep_alive.push_back(unit.context_owner);
    }
    plan.max_scratch_bytes = std::max(plan.max_scratch_bytes, step.scratch_bytes);
    plan.steps.push_back(std::move(step));
  }
  plan.serial_cost_ns = static_cast<double>(host_target().thresholds.serial_ns);
  plan.totals = total_up(plan);
  plan.gathering = gathering_origins();
}

std::vector<std::string> Compilation::gathering_origins() const {
  constexpr size_t kMost = 8;
  std::vector<std::string> origins;
  for (uint32_t i = 0; i < graph_.size() && origins.size() < kMost; ++i) {
    const std::string_view origin = graph_.origin({i});
    if (graph_[{i}].op == Op::Gather && !origin.empty() &&
        std::ranges::find(origins, origin) == origins.end())
      origins.emplace_back(origin);
  }
  return origins;
}

void Compilation::add_validator() {
  std::vector<StepExpectation> steps;
  for (const DraftStep& draft : steps_) {
    std::vector<ArgumentMemory> memory, results;
    // Nobody but its owner knows an external op; a Concat is complete after its last part only; a
    // copy has nothing to recompute.
    const bool skip =
        draft.kind == StepKind::External || draft.kind == StepKind::Copy || !draft.checked;
    for (size_t i = 0; i < draft.nodes.size() && !skip; ++i) {
      const NodeId node = draft.nodes[i];
      const bool is_input = graph_[node].op == Op::Input;
      ArgumentMemory at{node, i, is_input ? memory_strides(graph_, node) : strides(node),
                        -draft.skipped[i]};
      if (!draft.written[i])
        memory.push_back(std::move(at));
      else if (graph_[node].op != Op::Concat)
        results.push_back(std::move(at));
    }
    steps.push_back(expectation(graph_, memory, results));
  }
  plan_->observer = std::make_shared<PlanValidator>(std::move(steps));
}

CompiledPlan Compilation::run() {
  CompiledPlan result;
  CompileReport& report = result.report;
  report.nodes_optimized = graph_.size();
  auto start = Clock::now();
  strip_reshapes();
  FusionOptions fusion_options;
  fusion_options.merge = options_.optimize;
  fusion_ = plan_fusion(graph_, outputs_, fusion_options);
  assign_outputs();
  draft_units();

  // In-place updates of inputs and temporaries, where the kernel is seen to allow it.
  std::map<uint32_t, size_t> last_use;
  for (size_t s = 0; s < steps_.size(); ++s)
    for (const Memory& m : steps_[s].arguments)
      if (m.kind == Memory::Kind::Node) last_use[static_cast<uint32_t>(m.index)] = s;
  for (size_t s = 0; s < steps_.size(); ++s) {
    DraftStep& step = steps_[s];
    if (step.source < 0 || !options_.optimize || flags().validate) continue;
    auto* kernel = std::get_if<LoopKernel>(&sources_[static_cast<size_t>(step.source)]);
    if (!kernel) continue;
    std::vector<uint32_t> taken;
    for (size_t w = 0; w < step.arguments.size(); ++w) {
      if (!step.written[w] || step.arguments[w].kind != Memory::Kind::Node) continue;
      const auto node = static_cast<uint32_t>(step.arguments[w].index);
      if (step.nodes[w].value != node) continue;  // a part of a Concat
      for (size_t r = 0; r < step.arguments.size(); ++r) {
        if (step.written[r] || step.arguments[r].kind != Memory::Kind::Node) continue;
        const auto source = static_cast<uint32_t>(step.arguments[r].index);
        if (last_use[source] != s || source == node || is_read_twice(step, r) ||
            step.nodes[r].value != source || kernel->num_loop_sets > 0 ||
            std::find(taken.begin(), taken.end(), source) != taken.end() ||
            graph_.numel({source}) != graph_.numel({node}) ||
            size_of(graph_.dtype({source})) != size_of(graph_.dtype({node})) ||
            graph_[{node}].op == Op::Concat ||
            !is_safe_in_place(*kernel, static_cast<int>(r), static_cast<int>(w)))
          continue;
        in_place_[node] = source;
        taken.push_back(source);
        kernel->buffers[w].may_alias = true;
        break;
      }
    }
  }
  for (DraftStep& step : steps_) start_at_first_access(step);
  report.lowering_ms = ms_since(start);

  start = Clock::now();
  KernelCacheStats stats;
  const auto kernels = compile_kernels(sources_, host_target(), &stats);
  report.llvm_ms = ms_since(start);
  report.kernels = static_cast<int64_t>(sources_.size());
  report.kernels_compiled = stats.misses;
  report.kernel_cache_hits = stats.hits;
  build_plan(kernels);
  if (flags().validate) add_validator();
  report.steps = static_cast<int64_t>(plan_->steps.size());
  report.temporary_bytes = plan_->temporary_bytes;

  std::vector<int32_t> cluster(graph_.size(), -1);
  for (size_t u = 0; u < fusion_.units.size(); ++u) {
    const FusionUnit& unit = fusion_.units[u];
    for (NodeId r : unit.results) cluster[r.value] = static_cast<int32_t>(u);
    if (unit.kind != UnitKind::Loop) cluster[unit.node.value] = static_cast<int32_t>(u);
    for (const FusionRoot& r : unit.roots) cluster[r.node.value] = static_cast<int32_t>(u);
  }
  // A node between roots belongs to the first kernel that computes it.
  for (uint32_t i = graph_.size(); i-- > 0;)
    if (cluster[i] >= 0)
      for (NodeId o : graph_.operands({i}))
        if (cluster[o.value] < 0 && graph_[o].op != Op::Input && !fusion_.is_root[o.value])
          cluster[o.value] = cluster[i];
  if (graph_.size() <= 20000) result.graph_dot = to_dot(graph_, outputs_, cluster);
  result.plan = plan_;
  return result;
}

}  // namespace

CompiledPlan compile(const Graph& graph, std::span<const OutputSpec> outputs, int64_t num_inputs,
                     const CompileOptions& options) {
  const auto start = Clock::now();
  std::vector<NodeId> roots;
  for (const OutputSpec& o : outputs) roots.push_back(o.node);
  GraphWithOutputs optimized = run_passes(graph, roots, options.optimize);
  const double passes_ms = ms_since(start);
  if (flags().debug >= 3)
    log().debug("{}:\n{}", options.name, to_text(optimized.graph, optimized.outputs));
  const bool dump = !flags().dump_dir.empty();
  const std::string dumped = dump ? to_text(optimized.graph, optimized.outputs) : std::string();
  CompiledPlan result = Compilation(std::move(optimized), outputs, num_inputs, options).run();
  result.report.nodes_in = graph.size();
  result.report.passes_ms = passes_ms;
  result.report.total_ms = ms_since(start);
  if (flags().debug >= 1) {
    const CompileReport& r = result.report;
    log().debug(
        "compiled {}: {} nodes, {} steps, {} kernels ({} new) in {:.1f} ms (passes {:.1f}, "
        "lowering "
        "{:.1f}, machine code {:.1f})",
        options.name, r.nodes_in, r.steps, r.kernels, r.kernels_compiled, r.total_ms, r.passes_ms,
        r.lowering_ms, r.llvm_ms);
    if (flags().debug >= 2) log().debug("{}", to_text(*result.plan));
  }
  if (dump) dump_compiled(flags().dump_dir, options.name, dumped, result);
  return result;
}

}  // namespace coregrad
