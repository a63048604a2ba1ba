#include "compile/library_units.h"

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "compile/view_map.h"
#include "ops/primitives.h"
#include "runtime/library_steps.h"

#include <algorithm>

namespace coregrad {
namespace {

Element element_of(DType t) { return static_cast<Element>(t); }
static_assert(static_cast<int>(Element::BFloat16) == static_cast<int>(DType::BFloat16));
static_assert(static_cast<int>(Element::Float64) == static_cast<int>(DType::Float64));
static_assert(static_cast<int>(Element::UInt32) == static_cast<int>(DType::UInt32));
static_assert(static_cast<int>(ScatterCombine::Min) == static_cast<int>(ScatterMode::Min));

LibraryUnit from_step(std::string name, LibraryStep step) {
  LibraryUnit unit;
  unit.name = std::move(name);
  unit.kind = step.kind;
  unit.function = step.function;
  unit.context = step.context.get();
  unit.context_owner = std::move(step.context);
  unit.range = step.range;
  // As many chunks as on a machine with the thresholds of this one.
  unit.chunk =
      library_chunk(step.range, step.cost_ns,
                    kLibraryChunkNs * static_cast<double>(host_target().thresholds.chunk_ns) /
                        static_cast<double>(Thresholds().chunk_ns));
  unit.scratch_bytes = step.scratch_bytes;
  unit.cost_ns = step.cost_ns;
  return unit;
}

std::vector<LibraryUnit> scatter_units(const Graph& graph, NodeId node) {
  const NodeId x = graph.operand(node, 0), index = graph.operand(node, 1);
  const std::vector<StridedView> views = memory_operands(graph, node);
  const int64_t count = graph.numel(node), bytes = size_of(graph.dtype(node));
  std::vector<LibraryUnit> units;
  if (const std::optional<Scalar> fill = ops::constant_value(graph, x)) {
    units.push_back(from_step("fill", make_fill(bytes, count, fill->memory_bits())));
  } else {
    const std::vector<int64_t> shape = specialized(graph.shape(node));
    const std::vector<int64_t> dense = specialized(contiguous_strides(shape));
    const std::vector<int64_t> source = specialized(views[0].strides);
    StridedCopySpec copy{.element_bytes = bytes, .shape = shape};
    copy.source_strides = source;
    copy.destination_strides = dense;
    units.push_back(from_step("copy", make_strided_copy(copy)));
    units.back().operands = {views[0].base};
  }
  units.back().results = {node};
  units.back().completes = false;
  if (graph.numel(index) == 0) return units;
  const std::vector<int64_t> shape = specialized(graph.shape(node)),
                             index_shape = specialized(graph.shape(index)),
                             index_strides = specialized(views[1].strides),
                             value_strides = specialized(views[2].strides);
  ScatterSpec spec{.element = element_of(graph.dtype(node)),
                   .combine = static_cast<ScatterCombine>(graph.attr(node, 1).number()),
                   .dim = graph.attr(node, 0),
                   .shape = shape,
                   .index_shape = index_shape};
  spec.index_strides = index_strides;
  spec.value_strides = value_strides;
  units.push_back(from_step("scatter", make_scatter(spec)));
  units.back().operands = {views[1].base, views[2].base};
  units.back().results = {node};
  units.back().results_first = true;
  // What the base held before is gone by then, so the interpreter cannot repeat this step.
  units.back().completes = false;
  return units;
}

}  // namespace

std::vector<LibraryUnit> make_library_units(const Graph& graph, const FusionUnit& unit,
                                            std::span<const ExternalStep> externals) {
  const NodeId node = unit.node;
  const std::span<const NodeId> operands = graph.operands(node);
  if (graph[node].op == Op::External) {
    const auto id = static_cast<size_t>(graph.attr(node, 0));
    if (id >= externals.size())
      raise<UnsupportedError>("external: operation {} was not supplied, only {} were", id,
                              externals.size());
    const ExternalStep& step = externals[id];
    LibraryUnit made;
    made.name = step.name;
    made.kind = StepKind::External;
    made.function = step.function;
    made.context = step.context;
    made.context_owner = step.keep_alive;
    made.operands.assign(operands.begin(), operands.end());
    made.results = unit.results;
    made.params.assign(static_cast<size_t>(step.num_results), -1);
    for (size_t r = 0; r < unit.results.size(); ++r)
      made.params.at(static_cast<size_t>(graph.attr(unit.results[r], 1))) =
          static_cast<int64_t>(operands.size() + r);
    made.cost_ns = 1000;
    return {std::move(made)};
  }
  if (graph.numel(node) == 0) return {};
  switch (family_of(graph[node].op)) {
    case Family::Scatter:
      return scatter_units(graph, node);
    case Family::Scan: {
      const ScanKind kind = graph[node].op == Op::CumSum ? ScanKind::Sum : ScanKind::Product;
      LibraryUnit made = from_step(std::string(name_of(graph[node].op)),
                                   make_scan(kind, element_of(graph.dtype(node)),
                                             specialized(graph.shape(node)), graph.attr(node, 0)));
      made.operands = {operands[0]};
      made.results = {node};
      return {std::move(made)};
    }
    case Family::Library: {
      LibraryUnit made =
          from_step("argsort", make_argsort(element_of(graph.dtype(operands[0])),
                                            specialized(graph.shape(node)), graph.attr(node, 0),
                                            graph.attr(node, 1) != 0));
      made.operands = {operands[0]};
      made.results = {node};
      return {std::move(made)};
    }
    case Family::Leaf:
    case Family::Random:
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
    case Family::View:
    case Family::Reduce:
    case Family::Contract:
    case Family::Gather:
    case Family::External:
      break;
  }
  COREGRAD_UNREACHABLE("make_library_units: not a library op");
}

}  // namespace coregrad
