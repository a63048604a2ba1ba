#pragma once
// Which labels of a contraction run along rows, along lanes and in the summed direction.
//
// One operand is the *lane side* (its free labels run along vector lanes), the other the *row side*
// (its elements are broadcast). Labels are put into four flat index spaces, each walked with one
// counter, the last label fastest:
//   p  whatever is looped over outside (batch labels, and free labels that cannot share a vector)
//   m  rows, n  lanes, k  summed

#include "kernel/target.h"
#include "schedule/contract/operand.h"

#include <vector>

namespace coregrad {

/// Fewer rows or lanes than this, where they are a symbol's, have plans of their own, and fewer
/// lanes than a tile has.
constexpr int64_t kFew = 16;

struct ContractRoles {
  DType dtype = DType::Float32;
  std::vector<SymInt> sizes;     ///< one per label
  std::vector<int64_t> extents;  ///< the sizes, or their hints
  bool swapped = false;          ///< the row side is rhs
  AffineOperand row_side, lane_side;
  FlatSpace p, m, n, k;
  int64_t width = 1;           ///< elements of a vector
  bool any_size = false;       ///< ContractKernel::any_size, or there are symbols
  bool has_symbols = false;    ///< one plan for all their values
  bool stores_vectors = true;  ///< neighbouring lanes of the first result are neighbours in memory
  int64_t store_step = 1;      ///< elements from one lane of it to the next, within the last label

  int64_t extent(int64_t label) const { return extents[label]; }
  /// A space as an operand sees it.
  std::vector<Segment> segments(const AffineOperand& operand, const FlatSpace& space) const {
    return segments_of(operand, space, sizes);
  }
  /// Whether an operand's memory is a matrix of `space` and k: one stride each, nothing to check.
  bool is_plain(const AffineOperand& operand, const FlatSpace& space) const;
  /// Whether the row side is the same for every p.
  bool shares_rows() const;
};

/// The assignments that planning compares. `kernel` must be valid.
std::vector<ContractRoles> possible_roles(const ContractKernel& kernel, const Target& target);

}  // namespace coregrad
