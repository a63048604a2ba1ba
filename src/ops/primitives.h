#pragma once
// Checked construction of primitives: shape and dtype rules, broadcasting, promotion, literal
// folding and the cheap identities. Everything that makes nodes goes through here (or through
// composites written with it); errors name the operation, the rule and what was got.
//
// Conventions: `graph` first; dimensions may be negative (counted from the end); `dims` empty means
// what the function says. Binary functions broadcast and promote as PyTorch does for tensors:
// category first, with 0-d operands ("wrapped numbers" are the caller's business: make the literal
// in the right dtype) taking part only when they bring a higher category.
//
// float16, bfloat16 and the integers other than int32 and int64 are stored, never computed with.
// Leaves, views, select, gather and a scatter that sets take them as they are. Every other function
// here computes in `compute_dtype` (float32, int32, for uint32 int64) and casts what it gives once:
// floats are rounded, integers wrap around. A narrow float is cast to and from float32 alone, a
// small integer from what it is computed in.

#include "ir/contract.h"
#include "ir/graph.h"

#include <array>
#include <optional>
#include <span>
#include <vector>

namespace coregrad::ops {

// Leaves
/// Input `index` with the given strides in elements (empty: contiguous).
NodeId input(Graph& graph, int64_t index, DType dtype, Shape shape, SymInts strides = {});
NodeId literal(Graph& graph, Scalar value);
NodeId literal(Graph& graph, DType dtype, double value);
/// A literal expanded to a shape.
NodeId full(Graph& graph, Shape shape, Scalar value);
NodeId iota(Graph& graph, DType dtype, SymInt n);
/// A size as int64 of rank 0: a literal where it is a number.
NodeId size(Graph& graph, SymInt n);
/// See ops.def; `seed` is int64 of rank 0.
NodeId random(Graph& graph, NodeId seed, DType dtype, Shape shape, int64_t stream);

// Elementwise
/// A Unary op. Float-only functions of integer or bool operands compute in float32, as PyTorch
/// does.
NodeId unary(Graph& graph, Op op, NodeId x);
/// A Binary op with broadcasting and promotion. Div of integers is Op::Div (towards zero): true
/// division is composites' business. Pow, Atan2 as PyTorch.
NodeId binary(Graph& graph, Op op, NodeId a, NodeId b);
/// Eq, Ne, Lt, Le with broadcasting and promotion.
NodeId compare(Graph& graph, Op op, NodeId a, NodeId b);
NodeId select(Graph& graph, NodeId condition, NodeId a, NodeId b);
NodeId cast(Graph& graph, NodeId x, DType dtype);

/// x, without a gradient.
inline NodeId detach(Graph& g, NodeId x) { return unary(g, Op::Detach, x); }
inline NodeId add(Graph& g, NodeId a, NodeId b) { return binary(g, Op::Add, a, b); }
inline NodeId sub(Graph& g, NodeId a, NodeId b) { return binary(g, Op::Sub, a, b); }
inline NodeId mul(Graph& g, NodeId a, NodeId b) { return binary(g, Op::Mul, a, b); }
inline NodeId maximum(Graph& g, NodeId a, NodeId b) { return binary(g, Op::Max, a, b); }
inline NodeId minimum(Graph& g, NodeId a, NodeId b) { return binary(g, Op::Min, a, b); }

// Views
/// One extent may be -1.
NodeId reshape(Graph& graph, NodeId x, Shape shape);
NodeId permute(Graph& graph, NodeId x, SymInts order);
/// Broadcasts to a shape by the usual rule (trailing dimensions aligned; new leading ones allowed).
NodeId broadcast_to(Graph& graph, NodeId x, Shape shape);
/// One start, stop, step per dimension; 0 <= start <= stop <= extent, step >= 1 (already clamped).
NodeId slice(Graph& graph, NodeId x, SymInts starts, SymInts stops, SymInts steps);
/// A slice of one dimension.
NodeId narrow(Graph& graph, NodeId x, int64_t dim, SymInt start, SymInt stop, SymInt step = 1);
NodeId flip(Graph& graph, NodeId x, SymInts dims);
/// Low, high and interior padding per dimension (>= 0).
NodeId pad(Graph& graph, NodeId x, SymInts low, SymInts high, SymInts interior, Scalar fill);
/// One sliding window of a dimension.
struct WindowDim {
  int64_t dim;
  SymInt size;
  SymInt stride = 1;
  SymInt dilation = 1;
};
/// Overlapping windows as a view: each windowed dimension becomes the number of whole windows that
/// fit, (extent - (size - 1) * dilation - 1) / stride + 1, and a trailing dimension of `size` is
/// appended for it, in ascending order of the dimensions.
NodeId window(Graph& graph, NodeId x, std::span<const WindowDim> windows);
NodeId concat(Graph& graph, std::span<const NodeId> parts, int64_t dim);
NodeId unsqueeze(Graph& graph, NodeId x, int64_t dim);
/// Removes the given dimensions, which must have extent 1.
NodeId squeeze(Graph& graph, NodeId x, SymInts dims);
NodeId transpose(Graph& graph, NodeId x, int64_t dim0, int64_t dim1);

// Reductions
/// Over `dims` (empty: all). Sum and Prod of bool or int32 give int64. Max and Min of nothing are
/// errors; ArgMax and ArgMin take exactly one dimension.
NodeId reduce(Graph& graph, Op op, NodeId x, SymInts dims, bool keepdim = false);

/// Both operands of one dtype, not bool. Extents of plain dimensions must equal their labels'.
NodeId contract(Graph& graph, NodeId lhs, NodeId rhs, const ContractSpec& spec);

// Indexing
/// index has x's rank; extents other than dim are at most x's. Indices are checked at run time.
NodeId gather(Graph& graph, NodeId x, int64_t dim, NodeId index);
/// x with values[.., i, ..] combined into [.., index[.., i, ..], ..].
NodeId scatter(Graph& graph, NodeId x, int64_t dim, NodeId index, NodeId values, ScatterMode mode);
NodeId scan(Graph& graph, Op op, NodeId x, int64_t dim);
NodeId argsort(Graph& graph, NodeId x, int64_t dim, bool descending);

/// An operation run by someone else. `id` names it for the plan's owner; result `number` of it.
NodeId external(Graph& graph, int64_t id, int64_t number, std::span<const NodeId> operands,
                DType dtype, Shape shape);

/// The node with other operands (same shapes and dtypes), folded and simplified as at construction.
NodeId rebuild(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands);

/// What a Sum, Prod, ReduceMax or ReduceMin of no elements is: the value that changes no other.
Scalar reduction_identity(Op op, DType dtype);

/// The dtype in which operands meet: PyTorch's promotion. Those without dimensions count where
/// there are no others, or by a higher category.
DType result_type(const Graph& graph, std::span<const NodeId> operands);
inline DType result_type(const Graph& graph, NodeId a, NodeId b) {
  return result_type(graph, std::array{a, b});
}
/// Dimension in [0, rank) from one in [-rank, rank); IndexError otherwise.
int64_t normalize_dim(int64_t dim, int64_t rank, std::string_view operation);
/// The common shape by the broadcasting rule; ShapeError names the operation.
std::vector<SymInt> broadcast_shapes(Shape a, Shape b, std::string_view operation);
/// The value that every element of the node has, when it is a literal or a literal expanded.
std::optional<Scalar> constant_value(const Graph& graph, NodeId node);
/// "f32[2,3]" for messages.
std::string describe(const Graph& graph, NodeId node);

}  // namespace coregrad::ops
