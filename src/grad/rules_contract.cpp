// The rule of contract: the gradient of an operand is again a contract.
//
// For out[F] = sum lhs[i(labels)] * rhs[j(labels)] the gradient of lhs at index i is the sum, over
// all label values that address i, of g[F] * rhs[j]. An operand dimension addressed by a plain
// label gives an output label at once. One addressed by (a*u + b*v + c)/s gives a new label i, for
// which u is solved: u = (s*i - b*v - c)/a, which is put in wherever g and rhs use u. Values of u
// that are no label values (out of range, or a division with a remainder) must count as zero; the
// range check of any dimension addressed by u alone sees to that, and where there is none g gets
// such a dimension by broadcasting.
//
// Maps for which this does not work (one label in two dimensions, three labels in one) take the
// general road: the gradient of every term, added into the operand by its computed element number.

#include "base/checked.h"
#include "grad/rules.h"

#include <algorithm>

namespace coregrad::grad {
namespace {

using Maps = std::vector<DimMap>;
using Dims = std::vector<SymInt>;

/// The problem from one operand's point of view.
struct Side {
  const ContractSpec& spec;
  const Maps& mine;
  const Maps& other_maps;
  NodeId x, other, gradient;
  bool is_lhs;
};

bool uses_plainly(const Maps& maps, int64_t label) {
  return std::any_of(maps.begin(), maps.end(),
                     [&](const DimMap& m) { return m.is_plain() && m.u == label; });
}
bool uses(const Maps& maps, int64_t label) {
  return std::any_of(maps.begin(), maps.end(),
                     [&](const DimMap& m) { return m.u == label || m.v == label; });
}

/// label = map, to be put in place of the label.
struct Solution {
  int64_t label;
  DimMap map;
};

/// From index = (a*u + b*v + c)/s: the given one of u and v in terms of the label `index`.
Solution solve(const DimMap& m, int64_t label, int64_t index) {
  const bool first = m.u == label;
  const SymInt sign = (first ? m.a : m.b) < 0 ? -1 : 1;
  Solution s{label, {}};
  s.map.u = index;
  s.map.a = sign * m.s;
  s.map.v = first ? m.v : m.u;
  s.map.b = s.map.v < 0 ? SymInt(0) : -sign * (first ? m.b : m.a);
  s.map.c = -sign * m.c;
  s.map.s = sign * (first ? m.a : m.b);
  return s;
}

/// The map with the solution put in; nothing if the result is no map of two labels.
std::optional<DimMap> substitute(const DimMap& m, const Solution& solution) {
  if (m.u != solution.label && m.v != solution.label) return m;
  if (m.is_plain()) return solution.map;
  // Only the solution's own check can refuse a remainder, and only a plain dimension has it.
  if (solution.map.s != 1) return std::nullopt;
  const bool first = m.u == solution.label;
  const int64_t factor = first ? m.a : m.b;
  std::vector<std::pair<int64_t, int64_t>> terms;  // label, factor
  const auto add = [&](int64_t label, int64_t times) {
    if (label < 0 || times == 0) return;
    for (auto& [known, have] : terms)
      if (known == label) {
        have = checked_add(have, times, "contract");
        return;
      }
    terms.emplace_back(label, times);
  };
  add(solution.map.u, checked_mul(factor, solution.map.a, "contract"));
  if (solution.map.v >= 0) add(solution.map.v, checked_mul(factor, solution.map.b, "contract"));
  add(first ? m.v : m.u, first ? m.b : m.a);
  std::erase_if(terms, [](const auto& term) { return term.second == 0; });
  if (terms.empty() || terms.size() > 2) return std::nullopt;
  DimMap result;
  result.u = terms[0].first;
  result.a = terms[0].second;
  if (terms.size() == 2) {
    result.v = terms[1].first;
    result.b = terms[1].second;
  }
  result.c = checked_add(checked_mul(factor, solution.map.c, "contract"), m.c, "contract");
  result.s = m.s;
  return result;
}

bool substitute_all(Maps& maps, const Solution& solution) {
  for (DimMap& m : maps) {
    const std::optional<DimMap> changed = substitute(m, solution);
    if (!changed) return false;
    m = *changed;
  }
  return true;
}

/// A plain map promises that its label's extent is the dimension's; substitution can break that.
bool keeps_promises(const Graph& graph, NodeId x, const Maps& maps, const Dims& extents) {
  for (size_t d = 0; d < maps.size(); ++d)
    if (maps[d].is_plain() && extents[maps[d].u] != graph.shape(x)[d]) return false;
  return true;
}

/// A contract whose output labels may address no operand: those dimensions are repeated.
NodeId contract_and_repeat(Graph& graph, NodeId lhs, NodeId rhs, ContractSpec spec) {
  Dims shape, repeated;
  std::vector<int64_t> out;
  for (size_t d = 0; d < spec.out.size(); ++d) {
    const int64_t label = spec.out[d];
    shape.push_back(spec.extents[label]);
    if (uses(spec.lhs, label) || uses(spec.rhs, label))
      out.push_back(label);
    else
      repeated.push_back(static_cast<int64_t>(d));
  }
  spec.out = out;
  // Labels that address nothing any more go away.
  std::vector<int64_t> renamed(spec.extents.size(), -1);
  Dims extents;
  for (size_t label = 0; label < spec.extents.size(); ++label)
    if (const auto l = static_cast<int64_t>(label); uses(spec.lhs, l) || uses(spec.rhs, l)) {
      renamed[label] = static_cast<int64_t>(extents.size());
      extents.push_back(spec.extents[label]);
    }
  const auto rename = [&](int64_t& label) {
    if (label >= 0) label = renamed[label];
  };
  spec.extents = extents;
  for (int64_t& label : spec.out) rename(label);
  for (Maps* maps : {&spec.lhs, &spec.rhs})
    for (DimMap& m : *maps) {
      rename(m.u);
      rename(m.v);
    }
  return broadcast_back(graph, ops::contract(graph, lhs, rhs, spec), repeated, shape);
}

/// For each dimension the label that becomes (plain) or gives way to (solved) its index. The larger
/// label of a window goes, since the other remains to be summed over; an output label is preferred,
/// for the gradient of a convolution to be the usual transposed one. Empty if there is no choice.
std::optional<Dims> choose_labels(const Side& side) {
  const auto count = [&](int64_t label) {
    return std::count_if(side.mine.begin(), side.mine.end(),
                         [&](const DimMap& m) { return m.u == label || m.v == label; });
  };
  Dims chosen;
  for (const DimMap& m : side.mine) {
    if (m.is_plain()) {
      if (std::count(side.mine.begin(), side.mine.end(), m) > 1) return std::nullopt;
      chosen.push_back(m.u);
      continue;
    }
    int64_t best = -1, best_score = -1;
    for (const int64_t label : {m.u, m.v}) {
      if (label < 0 || count(label) != 1) continue;
      Maps trial = side.other_maps;
      const auto fresh = static_cast<int64_t>(side.spec.extents.size());
      if (!substitute_all(trial, solve(m, label, fresh))) continue;
      const int64_t extent = side.spec.extents[label].hint();
      const int64_t score = side.spec.is_summed(label) ? extent : 4 * extent;
      if (score > best_score) {
        best = label;
        best_score = score;
      }
    }
    if (best < 0) return std::nullopt;
    chosen.push_back(best);
  }
  return chosen;
}

/// Where a summed label is found through a division in one operand, and plainly in the other, the
/// other is addressed by the quotient instead: the terms that the division leaves out are not
/// there.
void sum_over_quotients(const Graph& graph, ContractSpec& spec, Maps& maps, NodeId x,
                        Maps& other_maps) {
  const auto times_used = [&](int64_t label) {
    int64_t times = 0;
    for (const Maps* all : {&maps, &other_maps})
      for (const DimMap& m : *all) times += (m.u == label) + (m.v == label);
    return times;
  };
  for (size_t d = 0; d < maps.size(); ++d) {
    const DimMap m = maps[d];
    if (m.s == 1) continue;
    for (const int64_t label : {m.u, m.v}) {
      const int64_t factor = label == m.u ? m.a : m.b;
      if (label < 0 || (factor != 1 && factor != -1) || !spec.is_summed(label) ||
          times_used(label) != 2 || !uses_plainly(other_maps, label))
        continue;
      const SymInt extent = graph.shape(x)[d];
      if (!SymInt::is_at_most(extent + 1, spec.extents[label])) continue;
      const auto quotient = static_cast<int64_t>(spec.extents.size());
      spec.extents.push_back(extent);
      substitute_all(other_maps, solve(m, label, quotient));
      maps[d] = DimMap::label(quotient);
      break;
    }
  }
}

std::optional<NodeId> as_contract(Graph& graph, const Side& side) {
  const std::optional<Dims> chosen = choose_labels(side);
  if (!chosen) return std::nullopt;

  NodeId g = side.gradient;
  Maps g_maps, other_maps = side.other_maps;
  for (const int64_t label : side.spec.out) g_maps.push_back(DimMap::label(label));
  ContractSpec spec;
  spec.extents = side.spec.extents;
  const Dims x_shape = shape_of(graph, side.x);
  std::vector<Solution> solutions;
  Dims anchors;
  for (size_t d = 0; d < side.mine.size(); ++d) {
    const int64_t label = (*chosen)[d];
    if (side.mine[d].is_plain()) {
      spec.out.push_back(label);
      continue;
    }
    const auto index = static_cast<int64_t>(spec.extents.size());
    spec.extents.push_back(x_shape[d]);
    spec.out.push_back(index);
    solutions.push_back(solve(side.mine[d], label, index));
    if (side.spec.is_summed(label) && !uses_plainly(side.other_maps, label)) {
      anchors.push_back(label);
      g_maps.push_back(DimMap::label(label));
    }
  }
  for (const Solution& solution : solutions)
    if (!substitute_all(g_maps, solution) || !substitute_all(other_maps, solution))
      return std::nullopt;
  if (!keeps_promises(graph, side.other, other_maps, spec.extents)) return std::nullopt;
  if (!anchors.empty()) {
    Dims shape = shape_of(graph, g), dims;
    for (const int64_t label : anchors) {
      dims.push_back(static_cast<int64_t>(shape.size()));
      shape.push_back(side.spec.extents[label]);
    }
    g = broadcast_back(graph, g, dims, shape);
  }
  sum_over_quotients(graph, spec, other_maps, side.other, g_maps);
  sum_over_quotients(graph, spec, g_maps, g, other_maps);
  spec.lhs = side.is_lhs ? g_maps : other_maps;
  spec.rhs = side.is_lhs ? other_maps : g_maps;
  return contract_and_repeat(graph, side.is_lhs ? g : side.other, side.is_lhs ? side.other : g,
                             spec);
}

/// The gradient of every term that the operand's labels tell apart, scattered by element number.
NodeId as_scatter(Graph& graph, const Side& side) {
  std::vector<int64_t> labels;
  for (const DimMap& m : side.mine)
    for (const int64_t label : {m.u, m.v})
      if (label >= 0 && std::find(labels.begin(), labels.end(), label) == labels.end())
        labels.push_back(label);
  ContractSpec spec = side.spec;
  spec.out = labels;
  Maps g_maps;
  for (const int64_t label : side.spec.out) g_maps.push_back(DimMap::label(label));
  (side.is_lhs ? spec.lhs : spec.rhs) = g_maps;
  // Operand order is kept: g stands where x stood.
  NodeId terms = contract_and_repeat(graph, side.is_lhs ? side.gradient : side.other,
                                     side.is_lhs ? side.other : side.gradient, spec);

  const Dims shape = shape_of(graph, terms), x_shape = shape_of(graph, side.x);
  const auto integer = [&](int64_t value) {
    return ops::literal(graph, Scalar::of_int(DType::Int64, value));
  };
  const auto label_values = [&](int64_t label) {
    Dims one(shape.size(), 1);
    const auto at = std::find(labels.begin(), labels.end(), label) - labels.begin();
    one[at] = shape[at];
    return ops::reshape(graph, ops::iota(graph, DType::Int64, shape[at]), one);
  };
  NodeId number = ops::full(graph, shape, Scalar::of_int(DType::Int64, 0));
  NodeId valid = ops::full(graph, shape, Scalar::of_int(DType::Bool, 1));
  for (size_t d = 0; d < side.mine.size(); ++d) {
    const DimMap& m = side.mine[d];
    NodeId index = ops::mul(graph, label_values(m.u), integer(m.a));
    if (m.v >= 0) index = ops::add(graph, index, ops::mul(graph, label_values(m.v), integer(m.b)));
    index = ops::add(graph, index, integer(m.c));
    const auto require = [&](NodeId condition) {
      valid = ops::binary(graph, Op::And, valid, condition);
    };
    if (m.s != 1) {
      require(ops::compare(graph, Op::Eq, ops::binary(graph, Op::Rem, index, integer(m.s)),
                           integer(0)));
      index = ops::binary(graph, Op::Div, index, integer(m.s));
    }
    require(ops::compare(graph, Op::Le, integer(0), index));
    require(ops::compare(graph, Op::Lt, index, integer(x_shape[d])));
    number = ops::add(graph, ops::mul(graph, number, integer(x_shape[d])), index);
  }
  number = ops::select(graph, valid, number, integer(0));
  terms = ops::select(graph, valid, terms, grad::number(graph, terms, 0));
  const SymInt flat[] = {graph.numel(terms)};
  const SymInt all[] = {graph.numel(side.x)};
  const NodeId zeros = ops::full(graph, all, Scalar::of_float(graph.dtype(side.x), 0));
  const NodeId sums = ops::scatter(graph, zeros, 0, ops::reshape(graph, number, flat),
                                   ops::reshape(graph, terms, flat), ScatterMode::Add);
  return ops::reshape(graph, sums, x_shape);
}

void contract_rule(Backward& b) {
  const ContractSpec spec = ContractSpec::decode(b.graph.attrs(b.node));
  for (const size_t i : {size_t{0}, size_t{1}}) {
    if (!b.wants(i) || b.graph.numel(b.operand(i)) == 0) continue;
    const bool is_lhs = i == 0;
    const Side side{spec,
                    is_lhs ? spec.lhs : spec.rhs,
                    is_lhs ? spec.rhs : spec.lhs,
                    b.operand(i),
                    b.operand(1 - i),
                    b.gradient,
                    is_lhs};
    const std::optional<NodeId> direct = as_contract(b.graph, side);
    b.give(i, direct ? *direct : as_scatter(b.graph, side));
  }
}

constexpr RuleRow kRows[] = {{Op::Contract, contract_rule}};

}  // namespace

std::span<const RuleRow> contract_rules() { return kRows; }

}  // namespace coregrad::grad
