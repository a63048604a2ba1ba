// The functions of tensors that are operators, by the table.

#include "tensor/recorded.h"

#include "base/error.h"
#include "coregrad/functional.h"
#include "ops/primitives.h"

namespace coregrad {

DType dtype_of_number(Scalar number, DType other) {
  const Category mine = category_of(number.dtype);
  if (mine <= category_of(other)) return other;
  return mine == Category::Float ? DType::Float32 : DType::Int64;
}

Scalar convert(Scalar number, DType dtype) {
  // Integers must not pass through a double: they would lose bits.
  if (!is_float(number.dtype) && !is_float(dtype)) return Scalar::of_int(dtype, number.i);
  return Scalar::of(dtype, number.as_double());
}

NodeId Binder::number(Scalar value) const {
  const DType dtype = dtype_of_number(value, dtype_);
  // PyTorch rounds a number to float16 or bfloat16 like what it meets, but for products.
  if (rule_ != ops::DTypeRule::Opmath) value = convert(value, dtype);
  // Beside a tensor without dimensions a wider dtype would decide the result's.
  const bool is_held =
      rule_ == ops::DTypeRule::Move ||
      (is_integer(dtype) && !is_float(value.dtype) && Scalar::holds(dtype, value.i));
  return ops::literal(*graph_, convert(value, is_held ? dtype : compute_dtype(dtype)));
}

#define COREGRAD_PARAMETER(p) COREGRAD_PARAMETER_##p
#define COREGRAD_PARAMETER_P(kind, name, ...) parameter::kind name
#define COREGRAD_NAME(p) COREGRAD_NAME_##p
#define COREGRAD_NAME_P(kind, name, ...) name

#define COREGRAD_RESULT(result, name, rule, home, parameters, aten, doc)                        \
  results::result name(COREGRAD_FOR_EACH(COREGRAD_PARAMETER, COREGRAD_UNWRAP parameters)) {     \
    return recorded(#name, ops::DTypeRule::rule, COREGRAD_BUILDER_OF(result, name, parameters), \
                    COREGRAD_FOR_EACH(COREGRAD_NAME, COREGRAD_UNWRAP parameters));              \
  }
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)            \
  Tensor name(const Tensor& input) {                                \
    return recorded(#name, ops::DTypeRule::rule, ops::name, input); \
  }
#define COREGRAD_BINARY(name, primitive, rule, aten, doc)                                        \
  Tensor name(const Operand& input, const Operand& other) {                                      \
    return recorded(#name, ops::DTypeRule::rule, ops::elementwise<Op::primitive>, input, other); \
  }
#include "ops/operators.def"

}  // namespace coregrad
