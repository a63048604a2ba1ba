#include "ops/fold.h"

#include "base/error.h"
#include "ir/scalar_functions.h"

namespace coregrad {
namespace {

/// Calls fn with the value as what elements of its dtype are computed in.
template <class F>
Scalar with_type(DType dtype, F&& fn) {
  if (is_float(dtype)) return Scalar::of_float(dtype, fn(double{}));
  if (dtype == DType::Bool) return Scalar::of_int(dtype, fn(bool{}));
  if (dtype == DType::Int32) return Scalar::of_int(dtype, fn(int32_t{}));
  COREGRAD_CHECK(dtype == DType::Int64);
  return Scalar::of_int(dtype, fn(int64_t{}));
}

template <class T>
T value_of(Scalar x) {
  if constexpr (std::is_same_v<T, double>) return x.f;
  return static_cast<T>(x.i);
}

}  // namespace

Scalar fold_cast(Scalar x, DType dtype) {
  if (is_float(x.dtype)) return Scalar::of(dtype, x.f);
  if (!is_float(dtype)) return Scalar::of_int(dtype, x.i);
  // Straight to float32: going through double would round twice. Narrow floats come from there.
  return Scalar::of_float(dtype, dtype == DType::Float64
                                     ? static_cast<double>(x.i)
                                     : static_cast<double>(static_cast<float>(x.i)));
}

Scalar fold_unary(Op op, Scalar x) {
  return with_type(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto function = scalar::unary<T>(op);
    COREGRAD_CHECK(function != nullptr);
    return function(value_of<T>(x));
  });
}

Scalar fold_binary(Op op, Scalar a, Scalar b) {
  COREGRAD_CHECK(a.dtype == b.dtype);
  return with_type(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto function = scalar::binary<T>(op);
    COREGRAD_CHECK(function != nullptr);
    return function(value_of<T>(a), value_of<T>(b));
  });
}

bool fold_compare(Op op, Scalar a, Scalar b) {
  COREGRAD_CHECK(a.dtype == b.dtype);
  if (is_float(a.dtype)) return scalar::compare<double>(op)(a.f, b.f);
  return scalar::compare<int64_t>(op)(a.i, b.i);
}

}  // namespace coregrad
