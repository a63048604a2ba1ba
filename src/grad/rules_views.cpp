// Rules of the views: each gives its adjoint, which is again made of views (and sums).

#include "grad/rules.h"

#include <algorithm>
#include <numeric>

namespace coregrad::grad {
namespace {

using Dims = std::vector<SymInt>;

/// Zeros of `shape` with x spread into it: dimension d of x starts at low[d] and goes in steps.
NodeId spread(Graph& graph, NodeId x, const Dims& shape, const Dims& low, const Dims& steps) {
  if (graph.numel(x) == 0) return ops::full(graph, shape, Scalar::of_float(graph.dtype(x), 0));
  Dims high(shape.size()), interior(shape.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    interior[d] = steps[d] - 1;
    high[d] = shape[d] - (low[d] + (graph.shape(x)[d] - 1) * steps[d] + 1);
    // The builder refuses interior padding of what has no inside.
    if (graph.shape(x)[d] == 1) interior[d] = 0;
  }
  return ops::pad(graph, x, low, high, interior, Scalar::of_float(graph.dtype(x), 0));
}

void reshape_rule(Backward& b) {
  b.give(0, ops::reshape(b.graph, b.gradient, shape_of(b.graph, b.operand(0))));
}

void permute_rule(Backward& b) {
  const SymInts order = b.graph.attrs(b.node);
  Dims inverse(order.size());
  for (size_t d = 0; d < order.size(); ++d) inverse[order[d]] = static_cast<int64_t>(d);
  b.give(0, ops::permute(b.graph, b.gradient, inverse));
}

void expand_rule(Backward& b) {
  const Shape from = b.graph.shape(b.operand(0)), to = b.graph.shape(b.node);
  Dims dims;
  for (size_t d = 0; d < to.size(); ++d)
    if (from[d] == 1 && to[d] != 1) dims.push_back(static_cast<int64_t>(d));
  b.give(0, dims.empty() ? b.gradient
                         : ops::reduce(b.graph, Op::Sum, b.gradient, dims, /*keepdim=*/true));
}

void slice_rule(Backward& b) {
  const SymInts attrs = b.graph.attrs(b.node);
  Dims low, steps;
  for (size_t i = 0; i < attrs.size(); i += 2) {
    low.push_back(attrs[i]);
    steps.push_back(attrs[i + 1]);
  }
  b.give(0, spread(b.graph, b.gradient, shape_of(b.graph, b.operand(0)), low, steps));
}

void pad_rule(Backward& b) {
  const NodeId x = b.operand(0);
  if (b.graph.numel(x) == 0) return;
  const SymInts attrs = b.graph.attrs(b.node);
  Dims starts, stops, steps;
  for (size_t d = 0; d < attrs.size() / 3; ++d) {
    const SymInt step = attrs[3 * d + 2] + 1;
    starts.push_back(attrs[3 * d]);
    steps.push_back(step);
    stops.push_back(starts.back() + (b.graph.shape(x)[d] - 1) * step + 1);
  }
  b.give(0, ops::slice(b.graph, b.gradient, starts, stops, steps));
}

void flip_rule(Backward& b) {
  const SymInts attrs = b.graph.attrs(b.node);
  Dims dims;
  for (size_t d = 0; d < attrs.size(); ++d)
    if (attrs[d] != 0) dims.push_back(static_cast<int64_t>(d));
  b.give(0, ops::flip(b.graph, b.gradient, dims));
}

void concat_rule(Backward& b) {
  const int64_t dim = b.graph.attr(b.node, 0);
  const size_t parts = b.graph[b.node].num_operands;
  SymInt start = 0;
  for (size_t i = 0; i < parts; ++i) {
    const SymInt extent = b.graph.shape(b.operand(i))[dim];
    if (b.wants(i)) b.give(i, ops::narrow(b.graph, b.gradient, dim, start, start + extent));
    start += extent;
  }
}

/// Windows that do not touch: the offsets are moved next to their windows and merged with them.
NodeId merge_disjoint(Graph& graph, NodeId x, int64_t dim, SymInt extent, int64_t stride,
                      int64_t dilation) {
  const int64_t last = graph.rank(x) - 1;
  const SymInt count = graph.shape(x)[dim];
  // The offsets take all of a stride.
  Dims shape = shape_of(graph, x);
  shape.back() = stride;
  const Dims zero_low(shape.size(), 0);
  Dims steps(shape.size(), 1);
  steps.back() = dilation;
  x = spread(graph, x, shape, zero_low, steps);

  Dims order(shape.size() - 1);
  std::iota(order.begin(), order.end(), 0);
  order.insert(order.begin() + dim + 1, last);
  x = ops::permute(graph, x, order);
  shape.pop_back();
  shape[dim] = count * stride;
  x = ops::reshape(graph, x, shape);
  if (count * stride > extent) return ops::narrow(graph, x, dim, 0, extent);
  shape[dim] = extent;
  return spread(graph, x, shape, Dims(shape.size(), 0), Dims(shape.size(), 1));
}

/// Windows that overlap: for each offset its elements, spread to their places, all added up.
NodeId add_offsets(Graph& graph, NodeId x, int64_t dim, SymInt extent, int64_t stride,
                   int64_t dilation) {
  const int64_t last = graph.rank(x) - 1;
  const int64_t size = graph.shape(x).back();
  Dims shape = shape_of(graph, x);
  shape.pop_back();
  const Dims one = shape;
  shape[dim] = extent;
  Dims steps(shape.size(), 1), low(shape.size(), 0);
  steps[dim] = stride;
  NodeId total;
  for (int64_t k = 0; k < size; ++k) {
    const NodeId part = ops::reshape(graph, ops::narrow(graph, x, last, k, k + 1), one);
    low[dim] = k * dilation;
    const NodeId placed = spread(graph, part, shape, low, steps);
    total = k == 0 ? placed : ops::add(graph, total, placed);
  }
  return total;
}

/// Many overlapping offsets: sum over k of x[(i - k * dilation) / stride, k] as one contract.
NodeId contract_offsets(Graph& graph, NodeId x, int64_t dim, SymInt extent, int64_t stride,
                        int64_t dilation) {
  ContractSpec spec;
  const int64_t rank = graph.rank(x);
  spec.extents = shape_of(graph, x);
  spec.extents[dim] = extent;
  for (int64_t d = 0; d < rank; ++d) {
    spec.lhs.push_back(DimMap::label(d));
    if (d != rank - 1) spec.out.push_back(d);
  }
  spec.lhs[dim] = {dim, rank - 1, 1, -dilation, 0, stride};
  return ops::contract(graph, x, number(graph, x, 1), spec);
}

/// More overlapping offsets than this are summed by a contract.
constexpr int64_t kMaxAddedOffsets = 16;

void window_rule(Backward& b) {
  const SymInts attrs = b.graph.attrs(b.node);
  const NodeId x = b.operand(0);
  if (b.graph.numel(b.node) == 0) return;
  NodeId g = b.gradient;
  // The last trailing dimension belongs to the last windowed one.
  for (size_t w = attrs.size(); w > 0; w -= 4) {
    const int64_t dim = attrs[w - 4], size = attrs[w - 3], stride = attrs[w - 2],
                  dilation = attrs[w - 1];
    const SymInt extent = b.graph.shape(x)[dim];
    const auto adjoint = stride > (size - 1) * dilation ? merge_disjoint
                         : size <= kMaxAddedOffsets     ? add_offsets
                                                        : contract_offsets;
    g = adjoint(b.graph, g, dim, extent, stride, dilation);
  }
  b.give(0, g);
}

constexpr RuleRow kRows[] = {
    {Op::Reshape, reshape_rule}, {Op::Permute, permute_rule}, {Op::Expand, expand_rule},
    {Op::Slice, slice_rule},     {Op::Flip, flip_rule},       {Op::Pad, pad_rule},
    {Op::Window, window_rule},   {Op::Concat, concat_rule},
};

}  // namespace

std::span<const RuleRow> view_rules() { return kRows; }

}  // namespace coregrad::grad
