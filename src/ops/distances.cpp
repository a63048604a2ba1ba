// Distances: norms of differences.

#include "base/error.h"
#include "ops/math.h"

namespace coregrad::ops {

NodeId dist(Graph& g, NodeId a, NodeId b, double p) { return norm(g, sub(g, a, b), p, {}, false); }

NodeId cdist(Graph& g, NodeId a, NodeId b, double p) {
  if (p < 0) raise<ValueError>("cdist: p must not be negative: got {}", p);
  if (g.rank(a) < 2 || g.rank(b) < 2 || g.shape(a).back() != g.shape(b).back())
    raise<ShapeError>("cdist: rows must have one extent: got {} and {}", describe(g, a),
                      describe(g, b));
  const NodeId differences = sub(g, unsqueeze(g, a, -2), unsqueeze(g, b, -3));
  const int64_t last[] = {-1};
  // The distance of rows without elements is 0, the largest element of none is none.
  if (g.shape(a).back() == 0) return sum(g, differences, last, false, std::nullopt);
  return norm(g, differences, p, last, false);
}

}  // namespace coregrad::ops
