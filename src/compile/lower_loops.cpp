// The evaluator: (node, index, mask) -> kernel value, memoised; an explicit stack, no recursion.

#include "compile/lower_loops.h"

#include "base/checked.h"
#include "compile/view_map.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

namespace coregrad {
namespace {

/// A node at a place, under a mask (kNoValue: everywhere).
struct Demand {
  NodeId node;
  std::vector<IndexExpr> index;
  ValueId mask = kNoValue;
  auto operator<=>(const Demand&) const = default;
};

class Lowering {
 public:
  Lowering(const Graph& graph, const FusionPlan& plan, const FusionUnit& unit,
           const Layouts& layouts)
      : graph_(graph), plan_(plan), unit_(unit), layouts_(layouts) {}

  LoweredLoops run();

 private:
  void number_axes();
  int loop_set(const std::vector<SymInt>& extents);
  std::vector<IndexExpr> root_index(const FusionRoot& root);
  ValueId evaluate(Demand demand);
  ValueId need(NodeId operand, std::vector<IndexExpr> index, ValueId mask);

  // The value if every operand is ready; otherwise nothing, and missing_ holds what is not.
  std::optional<ValueId> attempt(const Demand& d);
  std::optional<ValueId> random(const Demand& d);
  std::optional<ValueId> elementwise(const Demand& d);
  std::optional<ValueId> view(const Demand& d);
  std::optional<ValueId> gather(const Demand& d);
  std::optional<ValueId> reduction(const Demand& d);

  struct ReducedRead {
    std::vector<IndexExpr> index;
    int loop_set = -1;  ///< -1: every extent that is reduced is 1
  };
  ReducedRead read_of_reduction(const Demand& d);

  std::optional<ValueId> find(const Demand& d) const {
    const auto at = memo_.find(d);
    return at == memo_.end() ? std::nullopt : std::optional(at->second);
  }
  ValueId add(KernelValue value);
  ValueId literal(Scalar s);
  ValueId conjunction(ValueId mask, const std::vector<IndexBound>& bounds);
  ValueId load(NodeId node, const std::vector<IndexExpr>& index, ValueId mask);
  bool depends_on(ValueId user, ValueId value) const;
  ValueId after(ValueId check, ValueId value);
  int buffer(NodeId node, bool written);
  void store(NodeId memory, ValueId value, const std::vector<IndexExpr>& index);

  const Graph& graph_;
  const FusionPlan& plan_;
  const FusionUnit& unit_;
  const Layouts& layouts_;
  LoweredLoops out_;
  std::vector<int> axis_number_;                // unit axis -> kernel axis (parallel ones)
  std::vector<std::vector<SymInt>> loop_sets_;  // their extents
  std::vector<std::vector<int>> loop_set_axes_;
  std::map<Demand, ValueId> memo_;
  std::vector<Demand> missing_;  // operands of the node that is attempted
  std::map<std::tuple<int, int, int, ValueId, ValueId, ValueId, IndexExpr, int, uint64_t, int64_t,
                      int64_t, int>,
           ValueId>
      values_;
  std::map<std::pair<uint32_t, bool>, int> buffers_;
};

void Lowering::number_axes() {
  LoopKernel& k = out_.kernel;
  for (const FusionAxis& a : unit_.axes) {
    if (a.kind == FusionAxisKind::Loop) {
      axis_number_.push_back(-1);
      continue;
    }
    axis_number_.push_back(static_cast<int>(k.axes.size()));
    k.axes.push_back({a.extent, -1});
  }
  k.num_parallel = static_cast<int>(k.axes.size());
}

int Lowering::loop_set(const std::vector<SymInt>& extents) {
  for (size_t set = 0; set < loop_sets_.size(); ++set)
    if (are_identical(loop_sets_[set], extents)) return static_cast<int>(set);
  const int set = out_.kernel.num_loop_sets++;
  loop_sets_.push_back(extents);
  loop_set_axes_.emplace_back();
  for (const SymInt e : extents) {
    loop_set_axes_.back().push_back(static_cast<int>(out_.kernel.axes.size()));
    out_.kernel.axes.push_back({e, set});
  }
  return set;
}

std::vector<IndexExpr> Lowering::root_index(const FusionRoot& root) {
  // Loop axes are numbered by the list of their extents, so roots with equal loops share them.
  const Shape domain =
      root.concat.is_valid() ? graph_.shape(root.node) : domain_of(graph_, root.node);
  std::vector<SymInt> extents;
  for (size_t d = 0; d < domain.size(); ++d)
    if (root.axes[d] >= 0 && axis_number_[root.axes[d]] < 0) extents.push_back(domain[d]);
  const int set = extents.empty() ? -1 : loop_set(extents);
  std::vector<IndexExpr> index(domain.size());
  size_t next = 0;
  for (size_t d = 0; d < domain.size(); ++d) {
    if (root.axes[d] < 0) continue;
    const int parallel = axis_number_[root.axes[d]];
    const int axis = parallel >= 0 ? parallel : loop_set_axes_[set][next++];
    index[d] = out_.kernel.context.axis(axis, domain[d]);
  }
  return index;
}

ValueId Lowering::add(KernelValue v) {
  const auto key =
      std::make_tuple(static_cast<int>(v.kind), static_cast<int>(v.op), static_cast<int>(v.dtype),
                      v.operands[0], v.operands[1], v.operands[2], v.index, v.buffer,
                      v.literal.bits(), v.bounds.low.bits(), v.bounds.high.bits(), v.loop_set);
  const auto [at, is_new] =
      values_.try_emplace(key, static_cast<ValueId>(out_.kernel.values.size()));
  if (is_new) out_.kernel.values.push_back(std::move(v));
  return at->second;
}

ValueId Lowering::literal(Scalar s) {
  KernelValue v{.kind = ValueKind::Literal};
  v.dtype = s.dtype;
  v.literal = s;
  return add(std::move(v));
}

ValueId Lowering::conjunction(ValueId mask, const std::vector<IndexBound>& bounds) {
  for (const IndexBound& b : bounds) {
    KernelValue range{.kind = ValueKind::InRange, .dtype = DType::Bool};
    range.index = b.index;
    range.bounds = b.bounds;
    const ValueId in = add(std::move(range));
    if (mask == kNoValue) {
      mask = in;
      continue;
    }
    KernelValue both{.kind = ValueKind::Elementwise, .op = Op::And, .dtype = DType::Bool};
    both.operands[0] = mask;
    both.operands[1] = in;
    mask = add(std::move(both));
  }
  return mask;
}

int Lowering::buffer(NodeId node, bool written) {
  const auto [at, is_new] =
      buffers_.try_emplace({node.value, written}, static_cast<int>(out_.kernel.buffers.size()));
  if (is_new) {
    out_.kernel.buffers.push_back({.dtype = graph_.dtype(node), .is_written = written});
    out_.arguments.push_back({node, written});
  }
  return at->second;
}

ValueId Lowering::load(NodeId node, const std::vector<IndexExpr>& index, ValueId mask) {
  KernelValue v{.kind = ValueKind::Load, .dtype = graph_.dtype(node)};
  v.operands[0] = mask;
  v.buffer = buffer(node, false);
  v.index = linearize(
      out_.kernel.context, index,
      graph_[node].op == Op::Input ? memory_strides(graph_, node) : layouts_.strides(node));
  return add(std::move(v));
}

/// Whether computing `user` computes `value`: through operands and the indices of reads.
bool Lowering::depends_on(ValueId user, ValueId value) const {
  std::vector<bool> seen(static_cast<size_t>(user) + 1);
  std::vector<ValueId> stack = {user};
  while (!stack.empty()) {
    const ValueId at = stack.back();
    stack.pop_back();
    if (at == value) return true;
    // Operands have smaller numbers than their users.
    if (at < value || seen[at]) continue;
    seen[at] = true;
    const KernelValue& v = out_.kernel.values[at];
    std::vector<int> axes;
    out_.kernel.context.collect(v.index, axes, stack);
    for (const ValueId o : v.operands)
      if (o != kNoValue) stack.push_back(o);
  }
  return false;
}

/// `value`, computed no earlier than the index `check`, which is never negative.
ValueId Lowering::after(ValueId check, ValueId value) {
  KernelValue is_index{.kind = ValueKind::Elementwise, .op = Op::Le, .dtype = DType::Bool};
  is_index.operands[0] = literal(Scalar::of_int(DType::Int64, 0));
  is_index.operands[1] = check;
  const DType dtype = out_.kernel.values[value].dtype;
  KernelValue choice{.kind = ValueKind::Elementwise, .op = Op::Select, .dtype = dtype};
  choice.operands[0] = add(std::move(is_index));
  choice.operands[1] = value;
  choice.operands[2] = literal(Scalar::of(dtype, 0));
  return add(std::move(choice));
}

/// The operand's value if it is known; otherwise it is noted as missing.
ValueId Lowering::need(NodeId operand, std::vector<IndexExpr> index, ValueId mask) {
  Demand wanted{operand, std::move(index), mask};
  if (const auto found = find(wanted)) return *found;
  missing_.push_back(std::move(wanted));
  return kNoValue;
}

std::optional<ValueId> Lowering::attempt(const Demand& d) {
  const NodeId node = d.node;
  const Node& n = graph_[node];
  // A root of another kernel is memory; a root of this one is computed wherever it is read.
  const bool own = std::any_of(unit_.roots.begin(), unit_.roots.end(), [&](const FusionRoot& r) {
    return r.node == node && !r.concat.is_valid();
  });
  if (unit_.kind == UnitKind::Contract && node == unit_.node) {
    KernelValue v{.kind = ValueKind::Bound, .dtype = n.dtype};
    return add(std::move(v));
  }
  if (n.op == Op::Input || (plan_.is_root[node] && !own)) return load(node, d.index, d.mask);

  switch (family_of(n.op)) {
    case Family::Leaf: {
      if (n.op == Op::Literal) return literal(graph_.literal(node));
      KernelValue v{.kind = ValueKind::Index, .dtype = n.dtype};
      v.index = n.op == Op::Size ? IndexContext::constant(graph_.attr(node, 0)) : d.index[0];
      return add(std::move(v));
    }
    case Family::Random:
      return random(d);
    case Family::Unary:
    case Family::Binary:
    case Family::Compare:
    case Family::Select:
    case Family::Cast:
      return elementwise(d);
    case Family::View:
      return view(d);
    case Family::Gather:
      return gather(d);
    case Family::Reduce:
      return reduction(d);
    case Family::Contract:
    case Family::Scatter:
    case Family::Scan:
    case Family::Library:
    case Family::External:
      break;
  }
  COREGRAD_UNREACHABLE("lower_loops: a node that is no loop value");
}

std::optional<ValueId> Lowering::random(const Demand& d) {
  const ValueId seed = need(graph_.operand(d.node, 0), {}, kNoValue);
  if (!missing_.empty()) return {};
  KernelValue v{.kind = ValueKind::Random, .dtype = graph_.dtype(d.node)};
  v.operands[0] = seed;
  v.literal = Scalar::of_int(DType::Int64, graph_.attr(d.node, 0));
  v.index = linearize(out_.kernel.context, d.index, contiguous_strides(graph_.shape(d.node)));
  return add(std::move(v));
}

std::optional<ValueId> Lowering::elementwise(const Demand& d) {
  const Node& n = graph_[d.node];
  KernelValue v{.kind = ValueKind::Elementwise, .op = n.op, .dtype = n.dtype};
  for (size_t i = 0; i < n.num_operands; ++i)
    v.operands[i] = need(graph_.operand(d.node, i), d.index, d.mask);
  if (!missing_.empty()) return {};
  return add(std::move(v));
}

std::optional<ValueId> Lowering::view(const Demand& d) {
  const Node& n = graph_[d.node];
  COREGRAD_CHECK(is_index_map(n.op));
  std::vector<IndexBound> bounds;
  std::vector<IndexExpr> source =
      map_through_view(out_.kernel.context, graph_, d.node, d.index, bounds);
  const ValueId mask = bounds.empty() ? d.mask : conjunction(d.mask, bounds);
  const ValueId inner = need(graph_.operand(d.node, 0), std::move(source), mask);
  if (!missing_.empty()) return {};
  if (bounds.empty()) return inner;
  const Scalar fill = graph_.literal(d.node);
  const KernelValue& v = out_.kernel.values[inner];
  // A masked load is zero already where the mask is false.
  if (v.kind == ValueKind::Load && v.operands[0] == mask && fill.bits() == 0) return inner;
  KernelValue choice{.kind = ValueKind::Elementwise, .op = Op::Select, .dtype = n.dtype};
  choice.operands[0] = conjunction(kNoValue, bounds);
  choice.operands[1] = inner;
  choice.operands[2] = literal(fill);
  return add(std::move(choice));
}

std::optional<ValueId> Lowering::gather(const Demand& d) {
  const NodeId x = graph_.operand(d.node, 0);
  const auto dim = static_cast<size_t>(graph_.attr(d.node, 0));
  const SymInt extent = graph_.shape(x)[dim];
  const ValueId raw = need(graph_.operand(d.node, 1), d.index, d.mask);
  if (!missing_.empty()) return {};
  KernelValue checked{.kind = ValueKind::CheckIndex, .dtype = DType::Int64};
  checked.operands[0] = raw;
  checked.operands[1] = d.mask;
  checked.bounds = {0, extent};
  const ValueId index = add(std::move(checked));
  std::vector<IndexExpr> source = d.index;
  source[dim] = out_.kernel.context.value(index, {0, max(extent - 1, 0)});
  const ValueId value = need(x, std::move(source), d.mask);
  if (!missing_.empty()) return {};
  // An element that is the same wherever it is read must not lose the check of the index.
  return depends_on(value, index) ? value : after(index, value);
}

/// Where a reduction reads its operand: its result varies over the parallel axes only, the operand
/// along a loop set.
Lowering::ReducedRead Lowering::read_of_reduction(const Demand& d) {
  const IndexContext& context = out_.kernel.context;
  const Shape shape = graph_.shape(graph_.operand(d.node, 0));
  const std::vector<bool> reduced = reduced_dims(graph_, d.node);
  std::vector<SymInt> extents;
  for (size_t k = 0; k < shape.size(); ++k)
    if (reduced[k] && !shape[k].is_identical(1)) extents.push_back(shape[k]);
  int parallel = 0;
  for (const IndexExpr& e : d.index) {
    if (e == IndexContext::constant(0)) continue;
    const int axis = plain_axis(context, e);
    COREGRAD_CHECK(axis >= 0 && axis < out_.kernel.num_parallel);
    ++parallel;
  }
  COREGRAD_CHECK(parallel == out_.kernel.num_parallel);
  ReducedRead read;
  if (!extents.empty()) read.loop_set = loop_set(extents);
  size_t kept = 0, looped = 0;
  for (size_t k = 0; k < shape.size(); ++k) {
    if (!reduced[k]) {
      read.index.push_back(d.index[kept++]);
    } else if (shape[k].is_identical(1)) {
      read.index.push_back(IndexContext::constant(0));
    } else {
      const std::vector<int>& axes = loop_set_axes_[read.loop_set];
      read.index.push_back(out_.kernel.context.axis(axes[looped++], shape[k]));
    }
  }
  return read;
}

std::optional<ValueId> Lowering::reduction(const Demand& d) {
  const Node& n = graph_[d.node];
  const NodeId x = graph_.operand(d.node, 0);
  ReducedRead read = read_of_reduction(d);
  // The place is inside the result's shape for sure, so no mask of the demand applies.
  const ValueId operand = need(x, std::move(read.index), kNoValue);
  if (!missing_.empty()) return {};
  const auto as_result = [&] {
    if (graph_.dtype(x) == n.dtype) return operand;
    KernelValue cast{.kind = ValueKind::Elementwise, .op = Op::Cast, .dtype = n.dtype};
    cast.operands[0] = operand;
    return add(std::move(cast));
  };
  if (read.loop_set < 0) {
    // Nothing but extents of 1: the operand itself, cast where the reduction changes the dtype.
    if (n.op == Op::ArgMax || n.op == Op::ArgMin) return literal(Scalar::of_int(n.dtype, 0));
    return as_result();
  }
  KernelValue v{.kind = ValueKind::Reduce, .op = n.op, .dtype = n.dtype};
  v.operands[0] = n.op == Op::Sum || n.op == Op::Prod ? as_result() : operand;
  v.loop_set = read.loop_set;
  return add(std::move(v));
}

ValueId Lowering::evaluate(Demand demand) {
  if (const auto found = find(demand)) return *found;
  std::vector<Demand> stack = {std::move(demand)};
  ValueId last = kNoValue;
  while (!stack.empty()) {
    if (const auto found = find(stack.back())) {
      last = *found;
      stack.pop_back();
      continue;
    }
    const Demand current = stack.back();
    missing_.clear();
    const auto value = attempt(current);
    if (value) {
      memo_.emplace(current, *value);
      last = *value;
      stack.pop_back();
    } else {
      COREGRAD_CHECK(!missing_.empty());
      for (Demand& m : missing_) stack.push_back(std::move(m));
    }
  }
  return last;
}

void Lowering::store(NodeId memory, ValueId value, const std::vector<IndexExpr>& index) {
  KernelStore s{.value = value, .buffer = buffer(memory, true)};
  s.index = linearize(out_.kernel.context, index, layouts_.strides(memory));
  out_.kernel.stores.push_back(std::move(s));
}

LoweredLoops Lowering::run() {
  number_axes();
  const bool is_contract = unit_.kind == UnitKind::Contract;
  for (const FusionRoot& root : unit_.roots) {
    // An axis without elements has no index, so a store would not know that it must not happen.
    if (graph_.numel(root.node) == 0) continue;
    std::vector<IndexExpr> index = root_index(root);
    if (root.concat.is_valid()) {
      const ValueId value = evaluate({root.node, index, kNoValue});
      const auto dim = static_cast<size_t>(graph_.attr(root.concat, 0));
      SymInt offset = 0;
      for (int64_t p = 0; p < root.part; ++p)
        offset += graph_.shape(graph_.operand(root.concat, static_cast<size_t>(p)))[dim];
      index[dim] = out_.kernel.context.add(index[dim], IndexContext::constant(offset));
      store(root.concat, value, index);
      continue;
    }
    const std::vector<bool> reduced = reduced_dims(graph_, root.node);
    std::vector<IndexExpr> result;
    for (size_t d = 0; d < index.size(); ++d)
      if (!reduced[d]) result.push_back(index[d]);
    const ValueId value = evaluate({root.node, result, kNoValue});
    if (plan_.is_stored[root.node]) store(root.node, value, result);
  }
  if (is_contract && (unit_.roots.empty() || plan_.is_stored[unit_.node])) {
    std::vector<IndexExpr> index;
    const Shape shape = graph_.shape(unit_.node);
    for (size_t d = 0; d < shape.size(); ++d)
      index.push_back(out_.kernel.context.axis(static_cast<int>(d), shape[d]));
    store(unit_.node, evaluate({unit_.node, index, kNoValue}), index);
  }
  return std::move(out_);
}

}  // namespace

LoweredLoops lower_loops(const Graph& graph, const FusionPlan& plan, const FusionUnit& unit,
                         const Layouts& layouts) {
  return Lowering(graph, plan, unit, layouts).run();
}

LoweredLoops lower_epilogue(const Graph& graph, const FusionPlan& plan, const FusionUnit& unit,
                            const Layouts& layouts) {
  FusionUnit with_axes = unit;
  if (with_axes.axes.empty())
    for (const SymInt extent : graph.shape(unit.node))
      with_axes.axes.push_back({extent, FusionAxisKind::Parallel});
  return Lowering(graph, plan, with_axes, layouts).run();
}

}  // namespace coregrad
