// Rebuilds each node through the checked constructors, which fold literals and cheap identities.
// Detach has done its work when gradients are graph, and goes. So has a sum or product of nothing,
// which is a constant; loops without iterations over joined axes have no index arithmetic. Dividing
// by a power of two is multiplying here, not at construction: programs that divide by a size are
// built alike for all sizes.

#include "compile/pipeline.h"
#include "ops/primitives.h"

#include <cmath>
#include <optional>
#include <vector>

namespace coregrad {
namespace {

/// 1 / x where that is exact and normal, as x is; nothing elsewhere.
std::optional<Scalar> exact_inverse(const Graph& graph, NodeId x) {
  const std::optional<Scalar> value = ops::constant_value(graph, x);
  if (!value || !is_float(value->dtype) || !std::isfinite(value->f)) return std::nullopt;
  int exponent;
  if (std::fabs(std::frexp(value->f, &exponent)) != 0.5) return std::nullopt;
  const double inverse = 1 / value->f;
  const double tiny = value->dtype == DType::Float32 ? 0x1p-126 : 0x1p-1022;
  if (!std::isfinite(Scalar::of_float(value->dtype, inverse).f) || std::fabs(inverse) < tiny ||
      std::fabs(value->f) < tiny)
    return std::nullopt;
  return Scalar::of_float(value->dtype, inverse);
}

}  // namespace

NodeId canonicalize(Graph& into, const Graph& from, NodeId node, std::span<const NodeId> operands) {
  if (from[node].op == Op::Detach) return operands[0];
  const Op op = from[node].op;
  if ((op == Op::Sum || op == Op::Prod) && from.numel(from.operand(node, 0)) == 0)
    return ops::full(into, from.shape(node), ops::reduction_identity(op, from.dtype(node)));
  if (op == Op::Div)
    if (const std::optional<Scalar> inverse = exact_inverse(into, operands[1])) {
      const std::vector<SymInt> shape(into.shape(operands[1]).begin(),
                                      into.shape(operands[1]).end());
      return ops::mul(into, operands[0], ops::full(into, shape, *inverse));
    }
  return ops::rebuild(into, from, node, operands);
}

}  // namespace coregrad
