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
  const DType dtype = dtype_of_number(value, tensors_.front().dtype());
  // A number is rounded to the tensor's dtype before it is compared with it.
  if (rule_ == ops::DTypeRule::Test) value = convert(value, dtype);
  // Next to what is computed in float32 it is float32, as in PyTorch.
  return ops::literal(*graph_,
                      convert(value, rule_ == ops::DTypeRule::Move ? dtype : compute_dtype(dtype)));
}

// What a parameter is in a function of tensors, and its name.
#define COREGRAD_PARAMETER(parameter) COREGRAD_PARAMETER_##parameter
#define COREGRAD_PARAMETER_tensor(name) const Tensor& name
#define COREGRAD_PARAMETER_operand(name) const Operand& name
#define COREGRAD_PARAMETER_number(name, ...) double name
#define COREGRAD_PARAMETER_whole(name, ...) int64_t name
#define COREGRAD_PARAMETER_flag(name, ...) bool name
#define COREGRAD_PARAMETER_word(name, ...) std::string_view name
#define COREGRAD_NAME(parameter) COREGRAD_NAME_##parameter
#define COREGRAD_NAME_tensor(name) name
#define COREGRAD_NAME_operand(name) name
#define COREGRAD_NAME_number(name, ...) name
#define COREGRAD_NAME_whole(name, ...) name
#define COREGRAD_NAME_flag(name, ...) name
#define COREGRAD_NAME_word(name, ...) name

#define COREGRAD_OPERATOR(name, rule, home, parameters, aten, doc)                 \
  Tensor name(COREGRAD_FOR_EACH(COREGRAD_PARAMETER, COREGRAD_UNWRAP parameters)) { \
    return recorded(#name, ops::DTypeRule::rule, ops::name,                        \
                    COREGRAD_FOR_EACH(COREGRAD_NAME, COREGRAD_UNWRAP parameters)); \
  }
#define COREGRAD_UNARY(name, primitive, rule, aten, doc)            \
  Tensor name(const Tensor& input) {                                \
    return recorded(#name, ops::DTypeRule::rule, ops::name, input); \
  }
#include "ops/operators.def"

}  // namespace coregrad
