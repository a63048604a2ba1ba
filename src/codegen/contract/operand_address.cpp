#include "codegen/contract/operand_address.h"

#include "base/error.h"
#include "codegen/ir/llvm_util.h"
#include "codegen/values/elementwise_emitter.h"

#include <llvm/IR/Function.h>
#include <llvm/IR/Module.h>

namespace coregrad {

llvm::Value* emit_mul_add(llvm::IRBuilder<>& builder, StepParams& params, llvm::Value* value,
                          SymInt factor, llvm::Value* sum) {
  if (params.is_constant(factor)) return emit_mul_add(builder, value, factor.number(), sum);
  return builder.CreateAdd(sum, builder.CreateMul(value, params.size(factor)));
}

std::vector<llvm::Value*> emit_decode(llvm::IRBuilder<>& builder, StepParams& params,
                                      llvm::Value* flat, const std::vector<Segment>& segments) {
  std::vector<llvm::Value*> values(segments.size());
  for (size_t i = segments.size(); i-- > 0;) {
    if (i == 0) {
      values[i] = flat;
      break;
    }
    llvm::Value* const extent = params.size(segments[i].extent);
    values[i] = builder.CreateURem(flat, extent);
    flat = builder.CreateUDiv(flat, extent);
  }
  return values;
}

PartialAddress emit_base(llvm::IRBuilder<>& builder, StepParams& params,
                         const AffineOperand& operand) {
  PartialAddress address;
  address.offset = params.size(operand.base);
  for (const CheckedDim& check : operand.checks)
    address.positions.push_back(emit_i64(builder, check.c));
  return address;
}

void emit_advance(llvm::IRBuilder<>& builder, StepParams& params, const AffineOperand& operand,
                  const Segment& segment, llvm::Value* value, PartialAddress& address) {
  address.offset = emit_mul_add(builder, params, value, segment.coef, address.offset);
  if (segment.label < 0) return;
  for (size_t c = 0; c < operand.checks.size(); ++c)
    address.positions[c] =
        emit_mul_add(builder, value, operand.checks[c].factor(segment.label), address.positions[c]);
}

void emit_advance(llvm::IRBuilder<>& builder, StepParams& params, const AffineOperand& operand,
                  const std::vector<Segment>& segments, llvm::Value* flat,
                  PartialAddress& address) {
  const std::vector<llvm::Value*> values = emit_decode(builder, params, flat, segments);
  for (size_t i = 0; i < segments.size(); ++i)
    emit_advance(builder, params, operand, segments[i], values[i], address);
}

PartialAddress emit_address(llvm::IRBuilder<>& builder, StepParams& params,
                            const ContractRoles& roles, const AffineOperand& operand,
                            std::initializer_list<FlatPosition> positions) {
  PartialAddress address = emit_base(builder, params, operand);
  for (const FlatPosition& position : positions)
    emit_advance(builder, params, operand, roles.segments(operand, position.space), position.at,
                 address);
  return address;
}

llvm::Type* contract_element_type(llvm::LLVMContext& context, DType dtype) {
  switch (dtype) {
    case DType::Float32:
      return llvm::Type::getFloatTy(context);
    case DType::Float64:
      return llvm::Type::getDoubleTy(context);
    case DType::Int32:
      return llvm::Type::getInt32Ty(context);
    case DType::Int64:
      return llvm::Type::getInt64Ty(context);
    default:
      break;
  }
  raise<InternalError>("contract: no products of {}", name_of(dtype));
}

ElementMemory::ElementMemory(llvm::IRBuilder<>& builder, DType memory, DType element)
    : builder_(builder),
      memory_(memory),
      element_(element),
      type_(memory == DType::Bool ? builder.getInt8Ty()
                                  : element_type(builder.getContext(), memory)) {}

llvm::Type* ElementMemory::type(unsigned width) const {
  return width == 0 ? type_ : llvm::FixedVectorType::get(type_, width);
}

llvm::Value* ElementMemory::pointer(llvm::Value* base, llvm::Value* elements) {
  return builder_.CreateGEP(type_, base, elements);
}

llvm::Value* ElementMemory::load(llvm::Value* at, unsigned width) {
  return cast(builder_.CreateAlignedLoad(type(width), at, align()));
}

llvm::Value* ElementMemory::load(llvm::Value* at, unsigned width, llvm::Value* mask) {
  return cast(builder_.CreateMaskedLoad(type(width), at, align(), mask,
                                        llvm::Constant::getNullValue(type(width))));
}

llvm::Value* ElementMemory::gather(llvm::Value* base, llvm::Value* offsets, llvm::Value* mask) {
  llvm::Type* const vector = type(static_cast<unsigned>(
      llvm::cast<llvm::FixedVectorType>(offsets->getType())->getNumElements()));
  return cast(builder_.CreateMaskedGather(vector, pointer(base, offsets), align(), mask,
                                          llvm::Constant::getNullValue(vector)));
}

llvm::Value* ElementMemory::cast(llvm::Value* value) {
  if (memory_ == element_) return value;
  // Any byte but 0 is true.
  if (memory_ == DType::Bool)
    value = builder_.CreateICmpNE(value, llvm::Constant::getNullValue(value->getType()));
  llvm::Value* const operands[] = {value};
  return emit_elementwise(builder_, Op::Cast, memory_, element_, operands);
}

}  // namespace coregrad
