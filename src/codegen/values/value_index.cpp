// Index expressions as code: scalars at lane 0, vectors only for what is not affine in the lane.

#include "base/checked.h"
#include "base/error.h"
#include "codegen/values/value_emitter.h"

#include <llvm/IR/Constants.h>

#include <algorithm>

namespace coregrad {

using llvm::ConstantInt;
using llvm::Value;

void ValueEmitter::get_values_of(const IndexExpr& index) {
  if (index.is_constant()) return;
  std::vector<int> axes, values;
  kernel_.context.collect(index, axes, values);
  for (const int id : values) get(id);
}

ValueEmitter::SplitIndex ValueEmitter::split(const IndexExpr& index) const {
  SplitIndex result;
  result.base.constant = index.constant;
  const bool lanes = has_lanes();
  for (const auto& term : index.terms) {
    if (!lanes) {
      result.base.terms.push_back(term);
      continue;
    }
    const Atom& atom = kernel_.context.atom(term.atom);
    SymInt slope = 0;
    bool is_affine = true;
    switch (atom.kind) {
      case AtomKind::Axis:
        slope = atom.id == lane_.axis ? 1 : 0;
        break;
      case AtomKind::Value:
        is_affine = !varies_over_lanes(atom.id);
        break;
      case AtomKind::Div:
      case AtomKind::Mod: {
        const SplitIndex inner = split(atom.operand);
        if (inner.is_uniform()) break;
        is_affine = false;
        if (!inner.is_affine() || !lane_.aligned || !SymInt::is_at_most(1, inner.slope)) break;
        // Aligned lanes that stay between two multiples of the divisor share the quotient: the
        // operand is span * n + c + slope * lane with 0 <= c < slope, and span divides the divisor.
        const SymInt span = inner.slope * lane_.width;
        bool in_step = is_multiple(atom.divisor, span) &&
                       SymInt::is_at_most(floor_mod(inner.base.constant, span) + 1, inner.slope);
        for (const auto& t : inner.base.terms) {
          const Atom& a = kernel_.context.atom(t.atom);
          const bool is_lane_axis = a.kind == AtomKind::Axis && a.id == lane_.axis;
          in_step &=
              is_lane_axis ? t.factor.is_identical(inner.slope) : is_multiple(t.factor, span);
        }
        if (!in_step) break;
        is_affine = true;
        slope = atom.kind == AtomKind::Mod ? inner.slope : SymInt(0);
        break;
      }
    }
    if (is_affine) {
      result.base.terms.push_back(term);
      result.slope += slope * term.factor;
    } else {
      result.vectors.push_back(term);
    }
  }
  return result;
}

bool ValueEmitter::index_varies_over_lanes(const IndexExpr& index) const {
  return !split(index).is_uniform();
}

int ValueEmitter::level_of(const IndexExpr& index) const {
  if (index.is_constant()) return 0;
  std::vector<int> axes, values;
  kernel_.context.collect(index, axes, values);
  int level = 0;
  for (const int axis : axes) {
    level = std::max(level, axes_[axis].second);
    if (axis == lane_.axis && has_lanes()) level = std::max(level, lane_level_);
  }
  for (const int id : values) level = std::max(level, emitted_[id].level);
  return level;
}

bool ValueEmitter::fits_int32(const IndexExpr& index) const {
  // Half of the type's range is left to lanes beyond the end of an axis.
  const Range range = kernel_.context.range(index);
  return range.low.lower_bound() >= -(int64_t{1} << 30) &&
         range.high.upper_bound() < (int64_t{1} << 30);
}

Value* ValueEmitter::size_like(llvm::Type* type, SymInt size) {
  llvm::Type* const element = type->getScalarType();
  if (size.is_number())
    return ConstantInt::get(type, static_cast<uint64_t>(size.number()), /*IsSigned=*/true);
  Value* const scalar = builder_.CreateTrunc(sizes_.size(size), element);
  const auto* const vector = llvm::dyn_cast<llvm::FixedVectorType>(type);
  return vector ? builder_.CreateVectorSplat(vector->getNumElements(), scalar) : scalar;
}

Value* ValueEmitter::divide(AtomKind kind, Value* x, SymInt divisor, bool is_non_negative) {
  Value* const d = size_like(x->getType(), divisor);
  if (is_non_negative)
    return kind == AtomKind::Div ? builder_.CreateUDiv(x, d) : builder_.CreateURem(x, d);
  Value* const zero = ConstantInt::get(x->getType(), 0);
  Value* const remainder = builder_.CreateSRem(x, d);
  Value* const is_negative = builder_.CreateICmpSLT(remainder, zero);
  if (kind == AtomKind::Mod)
    return builder_.CreateAdd(remainder, builder_.CreateSelect(is_negative, d, zero));
  return builder_.CreateAdd(builder_.CreateSDiv(x, d),
                            builder_.CreateSExt(is_negative, x->getType()));
}

std::pair<Value*, int> ValueEmitter::scalar_atom(AtomId id) {
  const Atom& atom = kernel_.context.atom(id);
  switch (atom.kind) {
    case AtomKind::Axis: {
      const auto& [value, level] = axes_[atom.id];
      COREGRAD_CHECK(value != nullptr);
      return {value, level};
    }
    case AtomKind::Value: {
      const Emitted& e = emitted_[atom.id];
      COREGRAD_CHECK(e.value && !e.value->getType()->isVectorTy());
      const AtLevel at(*this, e.level);
      return {builder_.CreateSExtOrTrunc(e.value, builder_.getInt64Ty()), e.level};
    }
    case AtomKind::Div:
    case AtomKind::Mod:
      break;
  }
  if (atoms_.size() <= id.value) atoms_.resize(id.value + 1);
  if (atoms_[id.value].value) return {atoms_[id.value].value, atoms_[id.value].level};
  Value* const operand = scalar_index(atom.operand);
  const int level = level_of(atom.operand);
  const Range range = kernel_.context.range(atom.operand);
  const AtLevel at(*this, level);
  Value* result = nullptr;
  const bool is_non_negative = range.low.lower_bound() >= 0;
  if (is_non_negative && range.high.upper_bound() <= INT32_MAX &&
      atom.divisor.upper_bound() <= INT32_MAX) {
    Value* const narrow = builder_.CreateTrunc(operand, builder_.getInt32Ty());
    result =
        builder_.CreateZExt(divide(atom.kind, narrow, atom.divisor, true), builder_.getInt64Ty());
  } else {
    result = divide(atom.kind, operand, atom.divisor, is_non_negative);
  }
  // The memo may have grown while the operand was emitted.
  scopes_[level].atoms.emplace_back(id.value, atoms_[id.value]);
  atoms_[id.value] = {result, nullptr, level};
  return {result, level};
}

Value* ValueEmitter::scalar_index(const IndexExpr& index) {
  struct Part {
    Value* value;
    int level;
    SymInt factor;
    size_t position;
  };
  std::vector<Part> parts;
  for (const auto& term : index.terms) {
    const auto [value, level] = scalar_atom(term.atom);
    parts.push_back({value, level, term.factor, parts.size()});
  }
  // Outer levels first, so that an inner loop adds only what it changes.
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.level != b.level ? a.level < b.level : a.position < b.position;
  });
  Value* sum = nullptr;
  for (const Part& part : parts) {
    const AtLevel at(*this, part.level);
    Value* const product = part.factor.is_identical(1)
                               ? part.value
                               : builder_.CreateNSWMul(part.value, sizes_.size(part.factor));
    sum = sum ? builder_.CreateNSWAdd(sum, product) : product;
  }
  Value* const constant = sizes_.size(index.constant);
  if (!sum) return constant;
  if (index.constant.is_identical(0)) return sum;
  const AtLevel at(*this, parts.back().level);
  return builder_.CreateNSWAdd(sum, constant);
}

Value* ValueEmitter::vector_atom(AtomId id, int bits) {
  const Atom& atom = kernel_.context.atom(id);
  const auto width = static_cast<unsigned>(lane_.width);
  const auto of_bits = [&](int n) -> llvm::Type* {
    return llvm::FixedVectorType::get(builder_.getIntNTy(static_cast<unsigned>(n)), width);
  };
  switch (atom.kind) {
    case AtomKind::Axis:
      break;
    case AtomKind::Value:
      return builder_.CreateSExtOrTrunc(get_vector(atom.id), of_bits(bits));
    case AtomKind::Div:
    case AtomKind::Mod: {
      const bool is_narrow = fits_int32(atom.operand) && atom.divisor.upper_bound() <= INT32_MAX;
      const bool is_non_negative = kernel_.context.range(atom.operand).low.lower_bound() >= 0;
      Value* const result = divide(atom.kind, vector_index(atom.operand, is_narrow ? 32 : 64),
                                   atom.divisor, is_non_negative);
      return builder_.CreateSExtOrTrunc(result, of_bits(bits));
    }
  }
  COREGRAD_UNREACHABLE("an axis is affine in the lane");
}

Value* ValueEmitter::lane_offsets(const SplitIndex& index, int bits) {
  const auto width = static_cast<unsigned>(lane_.width);
  llvm::IntegerType* const element = builder_.getIntNTy(static_cast<unsigned>(bits));
  llvm::Type* const type = llvm::FixedVectorType::get(element, width);
  Value* sum = nullptr;
  if (!index.slope.is_identical(0) || index.vectors.empty()) {
    std::vector<llvm::Constant*> lanes;
    for (unsigned l = 0; l < width; ++l) lanes.push_back(ConstantInt::get(element, l));
    sum = builder_.CreateMul(llvm::ConstantVector::get(lanes), size_like(type, index.slope));
  }
  for (const auto& term : index.vectors) {
    Value* const atom = vector_atom(term.atom, bits);
    Value* const product =
        term.factor.is_identical(1) ? atom : builder_.CreateMul(atom, size_like(type, term.factor));
    sum = sum ? builder_.CreateAdd(sum, product) : product;
  }
  return sum;
}

Value* ValueEmitter::vector_index(const IndexExpr& index, int bits) {
  const SplitIndex parts = split(index);
  Value* const base = builder_.CreateTrunc(scalar_index(parts.base),
                                           builder_.getIntNTy(static_cast<unsigned>(bits)));
  Value* const splat = builder_.CreateVectorSplat(static_cast<unsigned>(lane_.width), base);
  return parts.is_uniform() ? splat : builder_.CreateAdd(splat, lane_offsets(parts, bits));
}

Value* ValueEmitter::emit_index(const IndexExpr& index) {
  get_values_of(index);
  if (!index_varies_over_lanes(index)) return scalar_index(index);
  return vector_index(index, 64);
}

}  // namespace coregrad
