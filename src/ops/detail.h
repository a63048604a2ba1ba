#pragma once
// Shared by the files that implement primitives.h; not for anyone else.

#include "ir/graph.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coregrad::ops {

using Dims = std::vector<SymInt>;

/// Interns after the checks that every node must pass: rank at most kMaxRank, extents not negative.
NodeId make(Graph& graph, Op op, DType dtype, Shape shape, std::span<const NodeId> operands,
            SymInts attrs = {}, uint64_t literal = 0);

/// An owned copy of a node's shape.
Dims shape_of(const Graph& graph, NodeId node);
bool same_shape(Shape a, Shape b);
/// "[2,3]".
std::string shape_text(Shape shape);
/// Distinct dimensions in [0, rank), sorted; all of them when `dims` is empty.
Dims normalize_dims(SymInts dims, int64_t rank, std::string_view operation);
/// One value for each of n spatial dimensions, from one value or n, each at least `least`.
Dims per_dimension(SymInts given, size_t n, int64_t least, std::string_view operation,
                   std::string_view what);
inline Dims per_dimension(const std::vector<int64_t>& given, size_t n, int64_t least,
                          std::string_view operation, std::string_view what) {
  return per_dimension(Dims(given.begin(), given.end()), n, least, operation, what);
}
/// A vector in the place of one dimension of `rank`.
NodeId along(Graph& graph, NodeId vector, size_t dim, size_t rank);
/// The number of each element's place in a dimension, int64, in x's shape.
NodeId places_along(Graph& graph, NodeId x, int64_t dim);
/// Whether x is a scalar and `dim` one of the two numbers by which PyTorch calls its only place.
bool is_scalar_dim(const Graph& graph, NodeId x, int64_t dim);
/// An int64 literal.
NodeId whole(Graph& graph, int64_t value);
/// ValueError unless `op` belongs to the family.
void require_family(Op op, Family family, std::string_view operation);

}  // namespace coregrad::ops
