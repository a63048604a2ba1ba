// Merging kernels: unify the axes along reads, then check the parallel domain.
//
// Notation: "first" is computed before "second" or beside it. A map sends axes of second to axes of
// first; reads of first's roots by second's roots define it, and must agree with each other.

#include "compile/fusion_merge.h"

#include "base/checked.h"
#include "codegen/jit/host_target.h"

#include <algorithm>
#include <map>

namespace coregrad {

bool FusionUnit::is_fixed() const {
  return std::any_of(axes.begin(), axes.end(),
                     [](const FusionAxis& a) { return a.kind != FusionAxisKind::Free; });
}

namespace {

constexpr int64_t kMinUnits = 8;
constexpr size_t kMaxRoots = 48;

const FusionRoot* find_root(const FusionUnit& unit, NodeId node) {
  for (const FusionRoot& r : unit.roots)
    if (r.node == node) return &r;
  return nullptr;
}

/// Axes of a root's result, one per dimension of its shape.
std::vector<int> result_axes(const Graph& graph, const FusionRoot& root) {
  const std::vector<bool> reduced = reduced_dims(graph, root.node);
  std::vector<int> axes;
  for (size_t d = 0; d < reduced.size(); ++d)
    if (!reduced[d]) axes.push_back(root.axes[d]);
  return axes;
}

/// Adds to `map` (second axis -> first axis, -1 unknown) what one read says; false where it
/// disagrees.
bool unify_read(const Graph& graph, const IndexContext& context, const FusionRead& read,
                const FusionRoot& producer, const FusionRoot& reader, std::vector<int>& map) {
  const std::vector<int> axes = result_axes(graph, producer);
  for (size_t d = 0; d < axes.size(); ++d) {
    if (axes[d] < 0) {  // an extent of 1, which a gather may still address at run time
      if (!read.index[d].is_constant()) return false;
      continue;
    }
    const int domain_axis = plain_axis(context, read.index[d]);
    if (domain_axis < 0) return false;
    const int from = reader.axes[domain_axis];
    if (from < 0) return false;
    int& to = map[from];
    if (to >= 0 && to != axes[d]) return false;
    to = axes[d];
  }
  return true;
}

/// The factor of each axis, or nothing if the expression is more than a sum of axes.
std::optional<std::map<int, SymInt>> axis_factors(const IndexContext& context, const IndexExpr& e) {
  std::map<int, SymInt> factors;
  for (const IndexExpr::Term& term : e.terms) {
    const Atom& atom = context.atom(term.atom);
    if (atom.kind != AtomKind::Axis) return {};
    factors[atom.id] = term.factor;
  }
  return factors;
}

/// Whether two roots over the same axes read one element, which depends on the axes.
bool is_same_place(const IndexContext& a_context, const std::vector<IndexExpr>& a,
                   const IndexContext& b_context, const std::vector<IndexExpr>& b) {
  bool depends = false;
  for (size_t d = 0; d < a.size(); ++d) {
    const auto factors = axis_factors(a_context, a[d]), others = axis_factors(b_context, b[d]);
    const auto is_equal = [](const auto& x, const auto& y) {
      return x.first == y.first && SymInt::are_equal(x.second, y.second);
    };
    if (!factors || !others || !SymInt::are_equal(a[d].constant, b[d].constant) ||
        !std::ranges::equal(*factors, *others, is_equal))
      return false;
    depends = depends || !factors->empty();
  }
  return depends;
}

/// Siblings: the same domain in the same order, and a large buffer that both read at the same
/// place.
bool unify_siblings(const Graph& graph, const FusionUnit& first, const FusionUnit& second,
                    const NodeMap<RootReads>& reads, std::vector<int>& map) {
  if (first.axes.size() != second.axes.size()) return false;
  for (size_t a = 0; a < first.axes.size(); ++a)
    if (!SymInt::are_equal(first.axes[a].extent, second.axes[a].extent)) return false;
  for (const FusionRoot& b : second.roots)
    for (const FusionRoot& a : first.roots) {
      if (a.axes != b.axes) continue;
      const RootReads &ra = reads[a.node], &rb = reads[b.node];
      for (const FusionRead& x : ra.reads)
        for (const FusionRead& y : rb.reads) {
          if (x.node != y.node || graph.numel(x.node).hint() < 256 ||
              x.index.size() != y.index.size())
            continue;
          if (!is_same_place(ra.context, x.index, rb.context, y.index)) continue;
          for (size_t k = 0; k < map.size(); ++k) map[k] = static_cast<int>(k);
          return true;
        }
    }
  return false;
}

bool is_injective(const std::vector<int>& map) {
  std::vector<int> seen;
  for (int to : map) {
    if (to < 0) continue;
    if (std::find(seen.begin(), seen.end(), to) != seen.end()) return false;
    seen.push_back(to);
  }
  return true;
}

/// Which axis of one unit is which of the other; -1: none.
struct AxisMatch {
  std::vector<int> to_first, to_second;
};

/// The axes that `second` shares with `first`: those of its reads, or, of siblings, all.
std::optional<AxisMatch> match_axes(const Graph& graph, const FusionUnit& first,
                                    const FusionUnit& second, const NodeMap<RootReads>& reads) {
  std::vector<int> map(second.axes.size(), -1);
  bool reads_first = false;
  for (const FusionRoot& reader : second.roots) {
    const RootReads& r = reads[reader.node];
    for (const FusionRead& read : r.reads)
      if (const FusionRoot* producer = find_root(first, read.node)) {
        reads_first = true;
        if (!unify_read(graph, r.context, read, *producer, reader, map)) return {};
      }
  }
  if (!reads_first && !unify_siblings(graph, first, second, reads, map)) return {};
  if (!is_injective(map)) return {};
  std::vector<int> back(first.axes.size(), -1);
  for (size_t k = 0; k < map.size(); ++k) {
    if (map[k] < 0) continue;
    const auto to = static_cast<size_t>(map[k]);
    // A padded read goes over the edge.
    if (!SymInt::are_equal(first.axes[to].extent, second.axes[k].extent)) return {};
    back[to] = static_cast<int>(k);
  }
  return AxisMatch{std::move(map), std::move(back)};
}

/// The first's axes with the one parallel domain that serves both units, if there is one.
std::optional<std::vector<FusionAxis>> common_domain(const FusionUnit& first,
                                                     const FusionUnit& second,
                                                     const AxisMatch& match) {
  using K = FusionAxisKind;
  std::vector<FusionAxis> axes = first.axes;
  if (!first.is_fixed() && !second.is_fixed()) {
    const bool is_same =
        !std::ranges::count(match.to_first, -1) && !std::ranges::count(match.to_second, -1);
    return is_same ? std::optional(std::move(axes)) : std::nullopt;
  }
  // Second's roots must know every parallel axis, and no other reduction domain may be parallel.
  for (size_t a = 0; a < axes.size(); ++a) {
    const int from = match.to_second[a];
    const K other = from >= 0 ? second.axes[from].kind : K::Free;
    K& kind = axes[a].kind;
    if (from < 0 && kind != K::Loop) return {};
    if (kind == K::Free)
      kind = other;
    else if (other != K::Free && other != kind)
      return {};
  }
  for (size_t k = 0; k < match.to_first.size(); ++k)
    if (match.to_first[k] < 0 && second.axes[k].kind == K::Parallel) return {};
  return axes;
}

/// Axes that only `second` has become loops of `merged`; equal loops of first that are still unused
/// are shared.
void add_loops(FusionUnit& merged, const FusionUnit& second, AxisMatch& match) {
  for (size_t k = 0; k < second.axes.size(); ++k) {
    int& to = match.to_first[k];
    if (to >= 0) continue;
    const SymInt extent = second.axes[k].extent;
    for (size_t a = 0; a < match.to_second.size() && to < 0; ++a)
      if (match.to_second[a] < 0 && merged.axes[a].kind == FusionAxisKind::Loop &&
          SymInt::are_equal(merged.axes[a].extent, extent)) {
        to = static_cast<int>(a);
        match.to_second[a] = static_cast<int>(k);
      }
    if (to >= 0) continue;
    to = static_cast<int>(merged.axes.size());
    merged.axes.push_back({extent, FusionAxisKind::Loop});
  }
}

/// The parallel units of a kernel, by hints; axes that are free still count.
int64_t count_units(const FusionUnit& unit) {
  int64_t units = 1;
  for (const FusionAxis& a : unit.axes)
    if (a.kind != FusionAxisKind::Loop) units = checked_mul(units, a.extent.hint(), "fusion");
  return units;
}

/// Whether a large kernel would have next to no parallel units: work that was parallel before.
bool serialises(const Graph& graph, const FusionUnit& merged, const FusionUnit& first,
                const FusionUnit& second) {
  if (!merged.is_fixed()) return false;
  int64_t units = 1, work = 0;
  for (const FusionAxis& a : merged.axes)
    if (a.kind == FusionAxisKind::Parallel) units = checked_mul(units, a.extent.hint(), "fusion");
  for (const FusionRoot& r : merged.roots)
    work = std::max(work, checked_numel(domain_of(graph, r.node), "fusion").hint());
  return units < kMinUnits && units < std::max(count_units(first), count_units(second)) &&
         work > host_target().thresholds.merge_elements;
}

/// The roots of `from` join those of `to`, whose axes `map` names.
void add_roots(FusionUnit& to, const FusionUnit& from, const std::vector<int>& map) {
  for (FusionRoot root : from.roots) {
    for (int& axis : root.axes)
      if (axis >= 0) axis = map[axis];
    to.roots.push_back(std::move(root));
  }
}

}  // namespace

std::optional<FusionUnit> merge_units(const Graph& graph, const FusionUnit& first,
                                      const FusionUnit& second, const NodeMap<RootReads>& reads) {
  if (first.roots.size() + second.roots.size() > kMaxRoots) return {};
  std::optional<AxisMatch> match = match_axes(graph, first, second, reads);
  if (!match) return {};
  std::optional<std::vector<FusionAxis>> axes = common_domain(first, second, *match);
  if (!axes) return {};
  FusionUnit merged = first;
  merged.axes = std::move(*axes);
  add_loops(merged, second, *match);
  add_roots(merged, second, match->to_first);
  if (serialises(graph, merged, first, second)) return {};
  return merged;
}

std::optional<FusionUnit> as_epilogue(const Graph& graph, NodeId contract, const FusionUnit& unit,
                                      const NodeMap<RootReads>& reads) {
  if (unit.kind != UnitKind::Loop || unit.is_fixed()) return {};
  const Shape shape = graph.shape(contract);
  std::vector<int> to_dim(unit.axes.size(), -1);  // unit axis -> contract output dimension
  bool has_read = false;
  for (const FusionRoot& root : unit.roots) {
    const RootReads& r = reads[root.node];
    for (const FusionRead& read : r.reads) {
      if (read.node != contract) continue;
      has_read = true;
      for (size_t d = 0; d < shape.size(); ++d) {
        if (shape[d].is_identical(1)) {
          if (!read.index[d].is_constant()) return {};
          continue;
        }
        const int domain_axis = plain_axis(r.context, read.index[d]);
        if (domain_axis < 0) return {};
        const int axis = root.axes[domain_axis];
        if (axis < 0) return {};
        int& dim = to_dim[axis];
        if (dim >= 0 && dim != static_cast<int>(d)) return {};
        dim = static_cast<int>(d);
      }
    }
  }
  if (!has_read || !is_injective(to_dim)) return {};
  for (size_t a = 0; a < to_dim.size(); ++a)
    if (to_dim[a] < 0 || !SymInt::are_equal(shape[to_dim[a]], unit.axes[a].extent)) return {};

  FusionUnit epilogue;
  epilogue.kind = UnitKind::Contract;
  epilogue.node = contract;
  for (const SymInt extent : shape) epilogue.axes.push_back({extent, FusionAxisKind::Parallel});
  add_roots(epilogue, unit, to_dim);
  return epilogue;
}

}  // namespace coregrad
