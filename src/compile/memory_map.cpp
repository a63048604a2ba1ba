#include "compile/memory_map.h"

#include "compile/view_map.h"

namespace coregrad {
namespace {

/// Which unit writes a node's memory first and last, and what is read.
struct Uses {
  NodeMap<int> producer, first_writer;  ///< -1: none
  NodeMap<bool> read_densely;           ///< by a contract or a library op
  std::vector<int> last_reader;         ///< by input number; -1: none
};

Uses find_uses(const Graph& graph, const FusionPlan& fusion, int64_t num_inputs) {
  Uses uses{NodeMap<int>(graph.size(), -1), NodeMap<int>(graph.size(), -1),
            NodeMap<bool>(graph.size(), false),
            std::vector<int>(static_cast<size_t>(num_inputs), -1)};
  for (size_t u = 0; u < fusion.units.size(); ++u) {
    const FusionUnit& unit = fusion.units[u];
    const auto writes = [&](NodeId node) {
      for_each_memory(fusion.placed, node, [&](NodeId id) {
        uses.producer[id] = static_cast<int>(u);
        if (uses.first_writer[id] < 0) uses.first_writer[id] = static_cast<int>(u);
      });
    };
    const auto reads = [&](NodeId id) {
      if (graph[id].op == Op::Input) uses.last_reader[graph.attr(id, 0)] = static_cast<int>(u);
    };
    if (unit.kind != UnitKind::Loop) {
      writes(unit.node);
      for (NodeId r : unit.results) writes(r);
      for (const StridedView& v : memory_operands(graph, unit.node)) {
        if (!v.base.is_valid()) continue;
        uses.read_densely[v.base] = true;
        reads(v.base);
      }
    }
    for (const FusionRoot& r : unit.roots) {
      writes(r.concat.is_valid() ? r.concat : r.node);
      IndexContext context;
      const bool copy =
          r.concat.is_valid() && (fusion.is_root[r.node] || graph[r.node].op == Op::Input);
      for (const FusionRead& read : collect_reads(graph, r.node, fusion.is_root, copy, context))
        reads(read.node);
    }
  }
  return uses;
}

}  // namespace

OutputPlaces place_outputs(const Graph& graph, const FusionPlan& fusion,
                           std::span<const OutputSpec> outputs, int64_t num_inputs) {
  Uses uses = find_uses(graph, fusion, num_inputs);
  // An input that is itself an output is read by a copy after all units.
  for (const OutputSpec& spec : outputs)
    if (graph[spec.node].op == Op::Input && graph.attr(spec.node, 0) != spec.aliases_input)
      uses.last_reader[graph.attr(spec.node, 0)] = static_cast<int>(fusion.units.size());
  OutputPlaces places;
  for (size_t k = 0; k < outputs.size(); ++k) {
    const OutputSpec& spec = outputs[k];
    const NodeId node = spec.node;
    bool direct = graph[node].op != Op::Input && !places.output_of.contains(node);
    const int made_by = direct ? uses.producer[node] : -1;
    if (!spec.strides.empty() && !are_equal(spec.strides, contiguous_strides(graph.shape(node)))) {
      const bool by_library = made_by >= 0 && fusion.units[made_by].kind == UnitKind::Library;
      direct = direct && !uses.read_densely[node] && !fusion.needs_dense[node] && !by_library;
    }
    // The old contents must not be wanted any more; a reader in the same step is looked at later.
    if (spec.aliases_input >= 0 && direct)
      direct = uses.last_reader[spec.aliases_input] < uses.first_writer[node];
    if (direct)
      places.output_of[node] = static_cast<int64_t>(k);
    else
      places.copied.push_back(static_cast<int64_t>(k));
  }
  return places;
}

std::vector<SymInt> MemoryMap::strides(NodeId node) const {
  const auto at = places_.output_of.find(node);
  if (at != places_.output_of.end()) {
    const std::vector<SymInt>& asked = outputs_[at->second].strides;
    if (!asked.empty()) return asked;
  }
  const Placement& placed = fusion_.placed[node];
  if (placed.concat.is_valid() && placed.is_whole_part) return strides(placed.concat);
  return contiguous_strides(graph_.shape(node));
}

Memory MemoryMap::memory_of(NodeId node) const {
  if (graph_[node].op == Op::Input) return {Memory::Kind::Input, graph_.attr(node, 0)};
  const auto at = places_.output_of.find(node);
  if (at != places_.output_of.end()) return {Memory::Kind::Output, at->second};
  if (const Placement& placed = fusion_.placed[node]; placed.concat.is_valid()) {
    Memory memory = memory_of(placed.concat);
    const auto dim = static_cast<size_t>(graph_.attr(placed.concat, 0));
    memory.offset += placed.start * strides(placed.concat)[dim] * size_of(graph_.dtype(node));
    return memory;
  }
  return {Memory::Kind::Node, node.value};
}

}  // namespace coregrad
