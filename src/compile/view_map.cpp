#include "compile/view_map.h"

#include "base/checked.h"
#include "kernel/contract_kernel.h"
#include "ops/primitives.h"

#include <algorithm>

namespace coregrad {
namespace {

/// Through a reshape, one run at a time of dimensions that hold the same elements on both sides: an
/// index that leaves its extent (under the bounds of a pad) stays one of its own dimension.
std::vector<IndexExpr> map_through_reshape(IndexContext& context, Shape from, Shape to,
                                           std::span<const IndexExpr> index) {
  std::vector<IndexExpr> mapped(from.size(), IndexContext::constant(0));
  if (has_zero(to)) return mapped;  // no element has an index
  for (size_t i = 0, j = 0;;) {
    while (i < to.size() && to[i].is_identical(1)) ++i;
    while (j < from.size() && from[j].is_identical(1)) ++j;
    if (i == to.size() || j == from.size()) return mapped;
    const size_t first = i, into = j;
    SymInt here = to[i++], there = from[j++];
    while (!SymInt::are_equal(here, there)) {
      // Sizes that cannot be told apart are one run, at most up to the end.
      const bool is_less = j == from.size() || !SymInt::is_at_most(there, here);
      if (is_less && i < to.size())
        here *= to[i++];
      else if (j < from.size())
        there *= from[j++];
      else
        break;  // all that is left on both sides, which are of one size
    }
    const std::vector<IndexExpr> run =
        delinearize(context,
                    linearize(context, index.subspan(first, i - first),
                              contiguous_strides(to.subspan(first, i - first))),
                    from.subspan(into, j - into));
    std::ranges::copy(run, mapped.begin() + static_cast<std::ptrdiff_t>(into));
  }
}

}  // namespace

std::vector<IndexExpr> map_through_view(IndexContext& context, const Graph& graph, NodeId view,
                                        std::span<const IndexExpr> index,
                                        std::vector<IndexBound>& bounds) {
  const NodeId operand = graph.operand(view, 0);
  const Shape from = graph.shape(operand), to = graph.shape(view);
  const SymInts attrs = graph.attrs(view);
  const size_t rank = from.size();
  std::vector<IndexExpr> mapped(rank);
  const Op op = graph[view].op;
  if (op == Op::Reshape) return map_through_reshape(context, from, to, index);
  if (op == Op::Window) {
    // attrs: (dimension, size, stride, dilation) per windowed dimension; window dimensions trail.
    for (size_t d = 0; d < rank; ++d) mapped[d] = index[d];
    for (size_t w = 0; w * 4 < attrs.size(); ++w) {
      const auto d = static_cast<size_t>(attrs[4 * w]);
      mapped[d] = context.add(context.mul(mapped[d], attrs[4 * w + 2]),
                              context.mul(index[rank + w], attrs[4 * w + 3]));
    }
    return mapped;
  }
  for (size_t d = 0; d < rank; ++d) {
    if (op == Op::Permute) {
      mapped[attrs[d]] = index[d];
    } else if (op == Op::Expand) {
      const bool repeats =
          from[d].is_identical(1) || (!from[d].is_identical(to[d]) && from[d] == 1);
      mapped[d] = repeats ? IndexContext::constant(0) : index[d];
    } else if (op == Op::Slice) {
      mapped[d] = context.add(context.mul(index[d], attrs[2 * d + 1]),
                              IndexContext::constant(attrs[2 * d]));
    } else if (op == Op::Flip) {
      mapped[d] = attrs[d] ? context.sub(IndexContext::constant(from[d] - 1), index[d]) : index[d];
    } else {
      COREGRAD_CHECK(op == Op::Pad);
      const SymInt low = attrs[3 * d], step = attrs[3 * d + 2] + 1;
      IndexExpr shifted = context.sub(index[d], IndexContext::constant(low));
      const SymInt span = from[d].is_identical(0) ? SymInt(0) : (from[d] - 1) * step + 1;
      const Range r = context.range(shifted);
      if (!SymInt::is_at_most(0, r.low) || !SymInt::is_at_most(r.high, span - 1))
        bounds.push_back({shifted, {0, span}});
      if (step > 1) {
        const IndexExpr remainder = context.mod(shifted, step);
        if (!(remainder == IndexContext::constant(0))) bounds.push_back({remainder, {0, 1}});
        shifted = context.div(shifted, step);
      }
      mapped[d] = from[d].is_identical(1) ? IndexContext::constant(0) : shifted;
    }
  }
  return mapped;
}

std::vector<SymInt> memory_strides(const Graph& graph, NodeId node) {
  const Shape shape = graph.shape(node);
  if (graph[node].op == Op::Input) {
    const SymInts attrs = graph.attrs(node);
    return {attrs.begin() + 1, attrs.end()};
  }
  return contiguous_strides(shape);
}

namespace {

/// The node under index maps and casts that keep every value.
NodeId below_moves(const Graph& graph, NodeId node) {
  while (is_index_map(graph[node].op) ||
         (graph[node].op == Op::Cast &&
          is_exact_cast(graph.dtype(graph.operand(node, 0)), graph.dtype(node))))
    node = graph.operand(node, 0);
  return node;
}

/// Whether a product of `dtype` can read the operand of a cast in its place: elements that take
/// less memory, or as much where no step could have cast them when it wrote them.
bool is_read_through(const Graph& graph, NodeId cast, DType dtype) {
  const DType to = graph.dtype(cast), from = graph.dtype(graph.operand(cast, 0));
  if (!can_be_memory(from, dtype)) return false;
  if (size_of(from) < size_of(to)) return true;
  return size_of(from) == size_of(to) &&
         graph[below_moves(graph, graph.operand(cast, 0))].op == Op::Input;
}

}  // namespace

StridedView strided_view(const Graph& graph, NodeId node, bool through_casts) {
  const Shape shape = graph.shape(node);
  IndexContext context;
  std::vector<IndexExpr> index(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) index[d] = context.axis(static_cast<int>(d), shape[d]);

  StridedView view;
  // The strides of an index into `at`, or nothing where it is not affine in the node's dimensions.
  const auto settle = [&](NodeId at) {
    const IndexExpr place = linearize(context, index, memory_strides(graph, at));
    std::vector<SymInt> strides(shape.size(), 0);
    for (const IndexExpr::Term& t : place.terms) {
      const Atom& atom = context.atom(t.atom);
      if (atom.kind != AtomKind::Axis) return false;
      strides[atom.id] = t.factor;
    }
    view = {at, std::move(strides), place.constant};
    return true;
  };
  COREGRAD_CHECK(settle(node));
  std::vector<IndexBound> bounds;
  bool is_cast = false;
  for (NodeId at = node;;) {
    if (through_casts && graph[at].op == Op::Cast &&
        is_read_through(graph, at, graph.dtype(node))) {
      // Several casts are as one if those below the first keep every value.
      if (is_cast && !is_exact_cast(graph.dtype(graph.operand(at, 0)), graph.dtype(at))) break;
      is_cast = true;
      at = graph.operand(at, 0);
      settle(at);
      continue;
    }
    if (!is_index_map(graph[at].op)) break;
    index = map_through_view(context, graph, at, index, bounds);
    at = graph.operand(at, 0);
    if (!bounds.empty()) break;
    // A step that is not affine may be undone by a later one, so go on to the end of the chain.
    settle(at);
  }
  return view;
}

std::vector<StridedView> memory_operands(const Graph& graph, NodeId node) {
  std::vector<StridedView> views;
  const std::span<const NodeId> operands = graph.operands(node);
  const Op op = graph[node].op;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (op == Op::Contract) {
      views.push_back(strided_view(graph, operands[i], true));
      continue;
    }
    if (op == Op::Scatter && i == 0 && ops::constant_value(graph, operands[0])) {
      views.push_back({NodeId{}, {}, 0});
      continue;
    }
    if (op == Op::Scatter && i > 0) {
      views.push_back(strided_view(graph, operands[i]));
      continue;
    }
    views.push_back({operands[i], memory_strides(graph, operands[i]), 0});
  }
  return views;
}

}  // namespace coregrad
