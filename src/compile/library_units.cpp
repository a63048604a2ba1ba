#include "compile/library_units.h"

#include "base/checked.h"
#include "codegen/jit/host_target.h"
#include "compile/iterated_steps.h"
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

std::vector<int64_t> numbers(SymInts sizes, const SizeFunction& value_of) {
  std::vector<int64_t> result;
  for (const SymInt x : sizes) result.push_back(value_of(x).number());
  return result;
}

/// The step at once where all `sizes` are numbers; otherwise for their hints, and what makes it.
LibraryUnit unit_of(std::string name, std::initializer_list<SymInts> sizes, MakeLibraryStep make) {
  const bool waits = std::ranges::any_of(sizes, has_symbols);
  LibraryUnit unit = library_unit(std::move(name), make([](SymInt x) { return SymInt(x.hint()); }));
  if (waits) unit.make = std::move(make);
  return unit;
}

using Sizes = std::vector<SymInt>;

LibraryUnit fill_or_copy(const Graph& graph, NodeId node, const StridedView& from) {
  const int64_t bytes = size_of(graph.dtype(node));
  const Sizes shape(graph.shape(node).begin(), graph.shape(node).end());
  if (const std::optional<Scalar> fill = ops::constant_value(graph, graph.operand(node, 0)))
    return unit_of("fill", {shape}, [=, value = fill->memory_bits()](const SizeFunction& value_of) {
      return make_fill(bytes, checked_numel(numbers(shape, value_of), "fill"), value);
    });
  const Sizes strides = from.strides;
  LibraryUnit unit = unit_of("copy", {shape, strides}, [=](const SizeFunction& value_of) {
    const std::vector<int64_t> extents = numbers(shape, value_of),
                               source = numbers(strides, value_of),
                               dense = specialized(contiguous_strides(extents));
    StridedCopySpec copy{.element_bytes = bytes, .shape = extents};
    copy.source_strides = source;
    copy.destination_strides = dense;
    return make_strided_copy(copy);
  });
  unit.operands = {from.base};
  return unit;
}

std::vector<LibraryUnit> scatter_units(const Graph& graph, NodeId node) {
  const NodeId index = graph.operand(node, 1);
  const std::vector<StridedView> views = memory_operands(graph, node);
  std::vector<LibraryUnit> units;
  units.push_back(fill_or_copy(graph, node, views[0]));
  units.back().results = {node};
  units.back().completes = false;
  if (graph.numel(index) == 0) return units;
  const Sizes shape(graph.shape(node).begin(), graph.shape(node).end()),
      index_shape(graph.shape(index).begin(), graph.shape(index).end());
  const Element element = element_of(graph.dtype(node));
  const auto combine = static_cast<ScatterCombine>(graph.attr(node, 1).number());
  const int64_t dim = graph.attr(node, 0).number();
  units.push_back(unit_of("scatter", {shape, index_shape, views[1].strides, views[2].strides},
                          [=, index_steps = views[1].strides,
                           value_steps = views[2].strides](const SizeFunction& value_of) {
                            const std::vector<int64_t> extents = numbers(shape, value_of),
                                                       places = numbers(index_shape, value_of),
                                                       index_strides =
                                                           numbers(index_steps, value_of),
                                                       value_strides =
                                                           numbers(value_steps, value_of);
                            ScatterSpec spec{.element = element,
                                             .combine = combine,
                                             .dim = dim,
                                             .shape = extents,
                                             .index_shape = places};
                            spec.index_strides = index_strides;
                            spec.value_strides = value_strides;
                            return make_scatter(spec);
                          }));
  units.back().operands = {views[1].base, views[2].base};
  for (const size_t i : {1, 2})
    units.back().offsets.push_back(views[i].offset * size_of(graph.dtype(views[i].base)));
  units.back().results = {node};
  units.back().results_first = true;
  // What the base held before is gone by then, so the interpreter cannot repeat this step.
  units.back().completes = false;
  return units;
}

}  // namespace

LibraryUnit library_unit(std::string name, LibraryStep step) {
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

std::vector<LibraryUnit> make_library_units(const Graph& graph, const FusionUnit& unit,
                                            const CompileOptions& options) {
  const std::span<const ExternalStep> externals = options.externals;
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
    if (step.make_context)
      made.make = [step](const SizeFunction& value_of) {
        return LibraryStep{.function = step.function,
                           .context = step.make_context(value_of),
                           .kind = StepKind::External,
                           .range = 1};
      };
    return {std::move(made)};
  }
  if (graph[node].op == Op::Iterate) return {iterated_unit(graph, unit, options)};
  if (graph.numel(node) == 0) return {};
  const Sizes shape(graph.shape(node).begin(), graph.shape(node).end());
  const int64_t dim = graph.attr(node, 0).number();
  const auto with_operand = [&](LibraryUnit made) {
    made.operands = {operands[0]};
    made.results = {node};
    return made;
  };
  switch (family_of(graph[node].op)) {
    case Family::Scatter:
      return scatter_units(graph, node);
    case Family::Scan: {
      const ScanKind kind = graph[node].op == Op::CumSum ? ScanKind::Sum : ScanKind::Product;
      const Element element = element_of(graph.dtype(node));
      return {with_operand(
          unit_of(std::string(name_of(graph[node].op)), {shape}, [=](const SizeFunction& value_of) {
            return make_scan(kind, element, numbers(shape, value_of), dim);
          }))};
    }
    case Family::Library: {
      const Element element = element_of(graph.dtype(operands[0]));
      const bool descending = graph.attr(node, 1) != 0;
      return {with_operand(unit_of("argsort", {shape}, [=](const SizeFunction& value_of) {
        return make_argsort(element, numbers(shape, value_of), dim, descending);
      }))};
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
