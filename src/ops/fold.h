#pragma once
// Primitives on scalars: what literal folding computes.

#include "coregrad/dtype.h"
#include "ir/op.h"

namespace coregrad {

/// A scalar in another dtype by the rules of Op::Cast.
Scalar fold_cast(Scalar x, DType dtype);
/// A Unary op on a scalar of a dtype it takes; the result has x's dtype.
Scalar fold_unary(Op op, Scalar x);
/// A Binary op on two scalars of one dtype it takes.
Scalar fold_binary(Op op, Scalar a, Scalar b);
/// A Compare op on two scalars of one dtype.
bool fold_compare(Op op, Scalar a, Scalar b);

}  // namespace coregrad
