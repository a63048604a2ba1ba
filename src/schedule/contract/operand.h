#pragma once
// How a contraction reads an operand: affine addresses over labels, and flat spaces of labels.
//
// Sizes may be symbols. What is compared decides for all of their values; numbers that are chosen
// by sizes are chosen by hints, and again when the symbols have values (ContractPlan::with_sizes).

#include "kernel/contract_kernel.h"

#include <cstdint>
#include <vector>

namespace coregrad {

/// An operand dimension whose index may leave the extent, or that divides: the element is zero
/// unless x = a*u + b*v + c is a multiple of s and 0 <= x / s < extent.
struct CheckedDim {
  int64_t u = -1, v = -1;  ///< labels; -1: none
  int64_t a = 0, b = 0, c = 0, s = 1;
  SymInt extent = 0;
  SymInt stride = 0;  ///< elements; only dimensions with s > 1 address through it

  int64_t factor(int64_t label) const { return (u == label ? a : 0) + (v == label ? b : 0); }
};

/// Element address = base + sum of coef[label] * label, plus stride * (x / s) of checks with s > 1.
struct AffineOperand {
  DType memory = DType::Float32;  ///< dtype of the elements in memory
  SymInt base = 0;
  std::vector<SymInt> coef;
  std::vector<CheckedDim> checks;

  bool depends_on(int64_t label) const;
  bool is_checked(int64_t label) const;
};

/// An operand whose dimensions `maps` gives over labels. Labels of extent 1 are always 0.
AffineOperand affine_operand(const ContractOperand& operand, DType dtype,
                             const std::vector<DimMap>& maps, const std::vector<SymInt>& sizes);

struct FlatSpace {
  std::vector<int64_t> labels;  ///< outermost first; none whose size is 1
  SymInt size = 1;
  int64_t extent = 1;    ///< the size, or its hint
  bool is_fixed = true;  ///< the extent is what it will be
  int64_t least = 1;     ///< of what it is planned for, besides 0
};

/// Labels of a flat space that one operand addresses with one coefficient.
struct Segment {
  SymInt extent = 1;
  SymInt coef = 0;
  int64_t label = -1;  ///< set if the segment is a single label (checks may need its value)
};

/// The space as the operand sees it, outermost first; neighbours merge where addresses allow. Never
/// empty: a space without labels is one segment of extent 1.
std::vector<Segment> segments_of(const AffineOperand& operand, const FlatSpace& space,
                                 const std::vector<SymInt>& sizes);

/// Whether a size is this number for all values of symbols.
inline bool is_always(SymInt x, int64_t number) { return x.is_identical(number); }

}  // namespace coregrad
