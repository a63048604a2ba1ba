#pragma once
// The generalised sum of products: out[F] = sum over the other labels of lhs[maps] * rhs[maps].
//
// A label is a loop variable with an extent. Each operand dimension is addressed by a DimMap of one
// or two labels; the output's dimensions are labels. Matmul, batched matmul, convolutions of any
// rank with groups, strides, dilation and padding, and all their gradients have this form, so the
// derivative of a contract is again a contract.

#include "base/sym_int.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

/// index = (a * label_u + b * label_v + c) / s. Where the division has a remainder or the index
/// lies outside the operand's extent the element counts as zero. label_v is -1 when there is none.
struct DimMap {
  int64_t u = 0;
  int64_t v = -1;
  SymInt a = 1, b = 0, c = 0, s = 1;

  static DimMap label(int64_t u) { return {u, -1, 1, 0, 0, 1}; }
  bool is_plain() const { return v < 0 && a == 1 && c == 0 && s == 1; }
  bool operator==(const DimMap&) const = default;
};

struct ContractSpec {
  std::vector<SymInt> extents;   ///< one per label
  std::vector<DimMap> lhs, rhs;  ///< one per operand dimension
  std::vector<int64_t> out;      ///< label of each output dimension; every other label is summed

  /// A list of sizes: how many labels there are is the first, their extents begin at kFirstExtent.
  std::vector<SymInt> encode() const;
  static constexpr size_t kFirstExtent = 3;
  static ContractSpec decode(SymInts attrs);

  /// Whether an operand is addressed by more than plain labels.
  bool has_windows() const;
  bool is_summed(int64_t label) const;
  bool uses(const std::vector<DimMap>& maps, int64_t label) const;
  /// Multiply-adds of the whole contract (saturating), by the hints of its extents.
  int64_t work() const;
  bool operator==(const ContractSpec&) const = default;
};

/// One of the roles a label can have: in both operands and the output, in one operand and the
/// output, or summed.
enum class LabelRole : uint8_t { Batch, LhsFree, RhsFree, Summed };
LabelRole role_of(const ContractSpec& spec, int64_t label);

/// The extent that a DimMap can reach without masking is checked by the caller; this gives the
/// half-open range of indices [first, second) the map takes over all label values, before division.
std::pair<SymInt, SymInt> index_range(const DimMap& map, SymInts extents);

}  // namespace coregrad
