// The rules of the table, written a second time without the help of the construction layer: what a
// pass makes is judged by different code than the code that made it.

#include "ir/verify.h"

#include "base/checked.h"
#include "ir/contract.h"
#include "ir/iteration.h"
#include "ir/print.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace coregrad {
namespace {

// The rule that a node breaks; nullptr for none.
using Broken = const char*;

constexpr Broken kOnlyStored = "narrow floats and small integers are not computed with";

struct Facts {
  const Graph& graph;
  const Node& node;
  std::span<const NodeId> operands;
  SymInts attrs;
  Shape shape;

  Shape operand_shape(size_t i) const { return graph.shape(operands[i]); }
  DType operand_dtype(size_t i) const { return graph.dtype(operands[i]); }
  size_t rank() const { return shape.size(); }
};

bool equal(Shape a, Shape b) { return std::ranges::equal(a, b); }

Broken check_elementwise(const Facts& f) {
  for (size_t i = 0; i < f.operands.size(); ++i)
    if (!equal(f.operand_shape(i), f.shape)) return "operands must have the result's shape";
  const DType dtype = f.node.dtype;
  if (f.node.op != Op::Cast && f.node.op != Op::Select && f.node.op != Op::Detach &&
      is_only_stored(f.operand_dtype(0)))
    return kOnlyStored;
  switch (family_of(f.node.op)) {
    case Family::Unary: {
      if (f.operand_dtype(0) != dtype) return "the operand must have the result's dtype";
      const Op op = f.node.op;
      if (op == Op::Not) return is_float(dtype) ? "not takes bool or integers" : nullptr;
      if (op == Op::Neg) return dtype == DType::Bool ? "neg takes numbers" : nullptr;
      if (op == Op::Abs || op == Op::Sign || op == Op::Detach) return nullptr;
      return is_float(dtype) ? nullptr : "the operation takes floats";
    }
    case Family::Binary: {
      if (f.operand_dtype(0) != dtype || f.operand_dtype(1) != dtype)
        return "operands must have the result's dtype";
      const Op op = f.node.op;
      if ((op == Op::Shl || op == Op::Shr) && !is_integer(dtype)) return "shifts take integers";
      if ((op == Op::And || op == Op::Or || op == Op::Xor) && is_float(dtype))
        return "bit operations take bool and integers";
      if (op == Op::Atan2 && !is_float(dtype)) return "atan2 takes floats";
      if ((op == Op::Sub || op == Op::Div || op == Op::Rem || op == Op::Pow) &&
          dtype == DType::Bool)
        return "the operation takes numbers";
      return nullptr;
    }
    case Family::Compare:
      if (dtype != DType::Bool) return "a comparison gives bool";
      return f.operand_dtype(0) == f.operand_dtype(1) ? nullptr : "operands must have one dtype";
    case Family::Select:
      if (f.operand_dtype(0) != DType::Bool) return "the condition must be bool";
      return f.operand_dtype(1) == dtype && f.operand_dtype(2) == dtype
                 ? nullptr
                 : "both values must have the result's dtype";
    case Family::Cast:
      if (is_narrow(f.operand_dtype(0)) && dtype != DType::Float32)
        return "a narrow float becomes float32";
      return is_only_stored(dtype) && f.operand_dtype(0) != compute_dtype(dtype)
                 ? "what is only stored comes from what it is computed in"
                 : nullptr;
    case Family::Leaf:
    case Family::Random:
    case Family::View:
    case Family::Reduce:
    case Family::Contract:
    case Family::Gather:
    case Family::Scatter:
    case Family::Scan:
    case Family::Library:
    case Family::External:
      break;
  }
  COREGRAD_UNREACHABLE("not an elementwise family");
}

Broken check_window(const Facts& f) {
  const Shape from = f.operand_shape(0);
  if (f.attrs.empty() || f.attrs.size() % 4 != 0) return "attributes come in fours";
  const size_t windows = f.attrs.size() / 4;
  if (f.rank() != from.size() + windows) return "each window appends one dimension";
  SymInt last = -1;
  std::vector<SymInt> expected(from.begin(), from.end());
  for (size_t i = 0; i < windows; ++i) {
    const SymInt dim = f.attrs[4 * i], size = f.attrs[4 * i + 1], stride = f.attrs[4 * i + 2],
                 dilation = f.attrs[4 * i + 3];
    if (dim <= last || dim >= static_cast<int64_t>(from.size()))
      return "windowed dimensions ascend and lie in the operand";
    if (size < 1 || stride < 1 || dilation < 1) return "size, stride and dilation are at least 1";
    last = dim;
    const SymInt extent = from[dim];
    const SymInt room =
        checked_sub(extent - 1, checked_mul(size - 1, dilation, "verify"), "verify");
    if (room < 0) return "a window must fit";
    expected[dim] = room / stride + 1;
    expected.push_back(size);
  }
  return equal(expected, f.shape) ? nullptr : "the shape must follow from the windows";
}

bool is_step_of(Shape whole, SymInt steps, Shape step) {
  return whole.size() == step.size() + 1 && whole[0] == steps && equal(whole.subspan(1), step);
}

Broken check_iterate(const Facts& f) {
  if (f.attrs.size() != 4)
    return "there must be an iteration, a result number, steps and a direction";
  const Iteration& body = *f.graph.iteration(f.attrs[0]);
  const SymInt steps = f.attrs[2];
  if (steps < 1) return "there must be at least one step";
  for (const Iteration::Input& input : body.inputs) {
    const NodeId inner = input.node;
    if (f.operand_dtype(input.operand) != body.graph.dtype(inner))
      return "an operand's dtype differs";
    const Shape given = f.operand_shape(input.operand), wanted = body.graph.shape(inner);
    const bool is_sequence = input.kind == Iteration::Kind::Sequence;
    if (is_sequence ? !is_step_of(given, steps, wanted) : !equal(given, wanted))
      return "an operand's shape does not fit";
  }
  const auto number = static_cast<size_t>(f.attrs[1].number());
  if (number >= body.num_results()) return "there is no such result";
  const bool is_last = number < body.next.size();
  const NodeId result = is_last ? body.next[number] : body.stacked[number - body.next.size()];
  if (body.graph.dtype(result) != f.node.dtype) return "the dtype is that of the body's result";
  const Shape inner = body.graph.shape(result);
  return (is_last ? equal(f.shape, inner) : is_step_of(f.shape, steps, inner))
             ? nullptr
             : "the shape is that of the body's results";
}

Broken check_concat(const Facts& f) {
  if (f.operands.empty()) return "there must be a part";
  if (f.attrs.size() != 1 || f.attrs[0] < 0 || f.attrs[0] >= static_cast<int64_t>(f.rank()))
    return "the dimension must lie in the result";
  const auto dim = static_cast<size_t>(f.attrs[0]);
  SymInt total = 0;
  for (size_t i = 0; i < f.operands.size(); ++i) {
    const Shape part = f.operand_shape(i);
    if (f.operand_dtype(i) != f.node.dtype) return "parts must have the result's dtype";
    if (part.size() != f.rank()) return "parts must have the result's rank";
    for (size_t d = 0; d < part.size(); ++d)
      if (d != dim && part[d] != f.shape[d]) return "parts must have the result's other extents";
    total = checked_add(total, part[dim], "verify");
  }
  return total == f.shape[dim] ? nullptr : "the extents of the parts must add up";
}

// Views with one operand other than Window.
Broken check_index_map(const Facts& f) {
  const Shape from = f.operand_shape(0);
  if (f.node.op == Op::Reshape)
    return f.graph.numel(f.operands[0]) == f.node.numel ? nullptr
                                                        : "the number of elements must stay";
  if (from.size() != f.rank()) return "the rank must stay";
  const size_t rank = f.rank();
  const auto attrs_per_dimension = [&](size_t n) { return f.attrs.size() == n * rank; };
  if (f.node.op == Op::Permute) {
    if (!attrs_per_dimension(1)) return "there must be one attribute per dimension";
    std::vector<bool> seen(rank, false);
    for (size_t d = 0; d < rank; ++d) {
      const SymInt source = f.attrs[d];
      if (source < 0 || source >= static_cast<int64_t>(rank) || seen[source])
        return "the order must be a permutation";
      seen[source] = true;
      if (f.shape[d] != from[source]) return "extents must move with dimensions";
    }
    return nullptr;
  }
  if (f.node.op == Op::Expand) {
    for (size_t d = 0; d < rank; ++d)
      if (!from[d].is_identical(1) && from[d] != f.shape[d] && from[d] != 1)
        return "only an extent of 1 can become another";
    return nullptr;
  }
  if (f.node.op == Op::Flip) {
    if (!attrs_per_dimension(1)) return "there must be one attribute per dimension";
    for (SymInt a : f.attrs)
      if (a != 0 && a != 1) return "attributes are 0 or 1";
    return equal(from, f.shape) ? nullptr : "the shape must stay";
  }
  if (f.node.op == Op::Slice) {
    if (!attrs_per_dimension(2)) return "there must be start and step per dimension";
    for (size_t d = 0; d < rank; ++d) {
      const SymInt start = f.attrs[2 * d], step = f.attrs[2 * d + 1];
      if (start < 0 || step < 1) return "start must be at least 0 and step at least 1";
      if (f.shape[d] == 0) continue;
      const SymInt last = checked_add(start, checked_mul(f.shape[d] - 1, step, "verify"), "verify");
      if (last >= from[d]) return "the slice must lie in the operand";
    }
    return nullptr;
  }
  COREGRAD_CHECK(f.node.op == Op::Pad);
  if (!attrs_per_dimension(3)) return "there must be low, high and interior per dimension";
  for (size_t d = 0; d < rank; ++d) {
    const SymInt low = f.attrs[3 * d], high = f.attrs[3 * d + 1], interior = f.attrs[3 * d + 2];
    if (low < 0 || high < 0 || interior < 0) return "padding must not be negative";
    const SymInt gaps = checked_mul(max(from[d] - 1, 0), interior, "verify");
    const SymInt padded = checked_add(checked_add(from[d], gaps, "verify"),
                                      checked_add(low, high, "verify"), "verify");
    if (padded != f.shape[d]) return "the extents must follow from the padding";
  }
  return nullptr;
}

Broken check_reduce(const Facts& f) {
  const Shape from = f.operand_shape(0);
  const bool is_arg = f.node.op == Op::ArgMax || f.node.op == Op::ArgMin;
  if (is_only_stored(f.operand_dtype(0))) return kOnlyStored;
  if (is_arg ? f.node.dtype != DType::Int64 : f.node.dtype != f.operand_dtype(0))
    return "the dtype must be the operand's, or int64 for argmax and argmin";
  if ((f.node.op == Op::Sum || f.node.op == Op::Prod) && !is_float(f.node.dtype) &&
      f.node.dtype != DType::Int64)
    return "sums and products of bool and integers are int64";
  if (f.attrs.empty() || (is_arg && f.attrs.size() != 1))
    return "there must be dimensions, and one for argmax and argmin";
  std::vector<SymInt> expected;
  size_t next = 0;
  for (size_t d = 0; d < from.size(); ++d) {
    if (next < f.attrs.size() && f.attrs[next] == static_cast<int64_t>(d)) {
      ++next;
      if (from[d] == 0 && f.node.op != Op::Sum && f.node.op != Op::Prod)
        return "a reduced dimension must have elements";
    } else {
      expected.push_back(from[d]);
    }
  }
  if (next != f.attrs.size()) return "dimensions must ascend and lie in the operand";
  return equal(expected, f.shape) ? nullptr : "the reduced dimensions must disappear";
}

Broken check_contract(const Facts& f) {
  if (f.node.dtype == DType::Bool) return "bool has no products";
  if (is_only_stored(f.node.dtype)) return kOnlyStored;
  if (f.operand_dtype(0) != f.node.dtype || f.operand_dtype(1) != f.node.dtype)
    return "operands must have the result's dtype";
  const ContractSpec spec = ContractSpec::decode(f.attrs);
  const auto labels = static_cast<int64_t>(spec.extents.size());
  std::vector<bool> addressed(spec.extents.size(), false);
  for (const auto& [maps, side] :
       {std::pair{&spec.lhs, size_t{0}}, std::pair{&spec.rhs, size_t{1}}}) {
    const Shape from = f.operand_shape(side);
    if (maps->size() != from.size()) return "there must be one map per operand dimension";
    for (size_t d = 0; d < from.size(); ++d) {
      const DimMap& m = (*maps)[d];
      if (m.u < 0 || m.u >= labels || m.v < -1 || m.v >= labels) return "labels must exist";
      if (m.u == m.v) return "the two labels of a map must differ";
      if (m.s < 1) return "the divisor must be at least 1";
      if (m.a == 0 || (m.v >= 0) != (m.b != 0)) return "a label's factor must not be 0";
      if (m.is_plain() && spec.extents[m.u] != from[d])
        return "a plain dimension must have its label's extent";
      addressed[m.u] = true;
      if (m.v >= 0) addressed[m.v] = true;
      index_range(m, spec.extents);
    }
  }
  if (std::ranges::find(addressed, false) != addressed.end())
    return "every label must address an operand";
  if (spec.out.size() != f.rank()) return "there must be one label per result dimension";
  for (size_t d = 0; d < f.rank(); ++d) {
    // Canonical numbering: the result's labels first, in order.
    if (spec.out[d] != static_cast<int64_t>(d)) return "the result's labels must be numbered first";
    if (spec.extents[d] != f.shape[d]) return "a result dimension must have its label's extent";
  }
  return nullptr;
}

Broken check_indexing(const Facts& f) {
  const Shape from = f.operand_shape(0), index = f.operand_shape(1);
  const bool is_scatter = f.node.op == Op::Scatter;
  if (f.operand_dtype(0) != f.node.dtype) return "the operand must have the result's dtype";
  if (f.operand_dtype(1) != DType::Int64) return "the index must be int64";
  if (f.attrs.size() != (is_scatter ? 2u : 1u) || f.attrs[0] < 0 ||
      f.attrs[0] >= static_cast<int64_t>(from.size()))
    return "the dimension must lie in the operand";
  if (index.size() != from.size()) return "the index must have the operand's rank";
  for (size_t d = 0; d < from.size(); ++d)
    if (static_cast<int64_t>(d) != f.attrs[0] && index[d] > from[d])
      return "the index's other extents must be at most the operand's";
  if (!is_scatter)
    return equal(index, f.shape) ? nullptr : "the result must have the index's shape";
  if (f.attrs[1] < 0 || f.attrs[1] > static_cast<int64_t>(ScatterMode::Min))
    return "the mode must exist";
  if (is_only_stored(f.node.dtype) && f.attrs[1] != static_cast<int64_t>(ScatterMode::Set))
    return kOnlyStored;
  if (f.operand_dtype(2) != f.node.dtype) return "the values must have the result's dtype";
  if (!equal(f.operand_shape(2), index)) return "index and values must have one shape";
  return equal(from, f.shape) ? nullptr : "the result must have the operand's shape";
}

Broken check_along_dimension(const Facts& f) {
  const bool is_sort = f.node.op == Op::ArgSort;
  if (f.attrs.size() != (is_sort ? 2u : 1u) || f.attrs[0] < 0 ||
      f.attrs[0] >= static_cast<int64_t>(f.rank()))
    return "the dimension must lie in the operand";
  if (!equal(f.operand_shape(0), f.shape)) return "the shape must stay";
  if (is_only_stored(f.operand_dtype(0))) return kOnlyStored;
  if (is_sort) return f.node.dtype == DType::Int64 ? nullptr : "a sort gives int64 places";
  if (!is_float(f.node.dtype) && f.node.dtype != DType::Int64)
    return "scans of bool and integers are int64";
  return f.operand_dtype(0) == f.node.dtype ? nullptr : "the dtype must stay";
}

Broken check_leaf(const Facts& f) {
  if (f.node.op == Op::Input)
    return f.attrs.size() == f.rank() + 1 && f.attrs[0] >= 0
               ? nullptr
               : "there must be an index and one stride per dimension";
  if (f.node.op == Op::Literal) return f.rank() == 0 ? nullptr : "a literal has rank 0";
  if (f.node.op == Op::Iota)
    return f.rank() == 1 && is_integer(f.node.dtype) && !is_only_stored(f.node.dtype)
               ? nullptr
               : "an iota is an integer that is computed with, of rank 1";
  if (f.node.op == Op::Size)
    return f.rank() == 0 && f.attrs.size() == 1 && f.node.dtype == DType::Int64
               ? nullptr
               : "a size is one int64 of rank 0";
  COREGRAD_CHECK(f.node.op == Op::Random);
  if (f.operand_dtype(0) != DType::Int64 || !f.operand_shape(0).empty())
    return "the seed must be one int64 of rank 0";
  if (f.node.dtype == DType::Bool) return "there is no random bool";
  if (is_only_stored(f.node.dtype)) return kOnlyStored;
  return f.attrs.size() == 1 ? nullptr : "there must be a stream";
}

Broken check_view(const Facts& f) {
  if (f.node.op == Op::Concat) return check_concat(f);
  if (f.operand_dtype(0) != f.node.dtype) return "the dtype must stay";
  return f.node.op == Op::Window ? check_window(f) : check_index_map(f);
}

Broken check_family(const Facts& f) {
  switch (family_of(f.node.op)) {
    case Family::Leaf:
    case Family::Random:
      return check_leaf(f);
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
      return check_elementwise(f);
    case Family::View:
      return check_view(f);
    case Family::Reduce:
      return check_reduce(f);
    case Family::Contract:
      return check_contract(f);
    case Family::Gather:
    case Family::Scatter:
      return check_indexing(f);
    case Family::Scan:
    case Family::Library:
      return check_along_dimension(f);
    case Family::External:
      if (f.node.op == Op::Iterate) return check_iterate(f);
      return f.attrs.size() == 2 ? nullptr : "there must be an id and a result number";
  }
  COREGRAD_UNREACHABLE("a family outside the table");
}

Broken check_node(const Graph& graph, NodeId id) {
  const Node& node = graph[id];
  const Facts f{graph, node, graph.operands(id), graph.attrs(id), graph.shape(id)};
  const int arity = info(node.op).arity;
  if (arity >= 0 && f.operands.size() != static_cast<size_t>(arity))
    return "the number of operands must be the table's";
  for (NodeId o : f.operands)
    if (o.value >= id.value) return "operands must come before their users";
  if (f.rank() > static_cast<size_t>(kMaxRank)) return "the rank must be at most 64";
  if (checked_numel(f.shape, "verify") != node.numel) return "numel must follow from the shape";
  return check_family(f);
}

}  // namespace

void verify(const Graph& graph, std::span<const NodeId> roots, std::string_view after) {
  for (NodeId r : roots)
    if (r.value >= graph.size())
      raise<InternalError>("verify: after {}: root %{} is outside the graph of {} nodes", after,
                           r.value, graph.size());
  const std::vector<bool> live = mark_live(graph, roots);
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (!live[i]) continue;
    const Broken rule = check_node(graph, {i});
    if (rule == nullptr) continue;
    std::string message =
        fmt::format("verify: after {}: {}: got {}", after, rule, node_text(graph, {i}));
    for (NodeId o : graph.operands({i}))
      if (o.value < graph.size()) message += fmt::format("\n  operand {}", node_text(graph, o));
    throw InternalError(message);
  }
}

}  // namespace coregrad
