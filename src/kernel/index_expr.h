#pragma once
// Symbolic element indices: affine sums over loop axes, with floor division and modulo by
// sizes.
//
// View chains become these expressions; simplification uses the ranges of the axes, so that for
// 0 <= j < 8: (8*i + j) / 8 = i and (8*i + j) mod 8 = j, and a reshape that merely splits or merges
// dimensions costs nothing.

#include "base/sym_int.h"

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

/// What stands in the place of a size.
using SizeFunction = std::function<SymInt(SymInt)>;
/// Whether a size of the list is no number.
bool has_symbols(SymInts sizes);

/// An atom of an affine sum: a loop axis, the run-time value of a kernel value (an index read from
/// memory), or floor(e / d) or e mod d of another expression.
struct AtomId {
  uint32_t value = 0;
  constexpr auto operator<=>(const AtomId&) const = default;
};

/// constant + sum of factor * atom; terms sorted by atom, no zero factors. A value type.
struct IndexExpr {
  struct Term {
    AtomId atom;
    SymInt factor;
  };
  SymInt constant = 0;
  std::vector<Term> terms;

  bool is_constant() const { return terms.empty(); }
  // By what they are: expressions that differ may have equal values.
  std::strong_ordering operator<=>(const IndexExpr& other) const;
  bool operator==(const IndexExpr& other) const { return (*this <=> other) == 0; }
};

/// Inclusive bounds.
struct Range {
  SymInt low, high;
};

enum class AtomKind : uint8_t { Axis, Value, Div, Mod };

struct Atom {
  AtomKind kind;
  int32_t id;         ///< axis or value number
  SymInt divisor;     ///< Div and Mod
  IndexExpr operand;  ///< Div and Mod
  Range range;
};

/// Owns the atoms of one kernel. Not thread-safe.
class IndexContext {
 public:
  /// Axis `id` with values 0 .. extent-1 (extent >= 1).
  IndexExpr axis(int id, SymInt extent);
  /// The run-time value `id`, known to lie in `range`.
  IndexExpr value(int id, Range range);
  static IndexExpr constant(SymInt c) { return {c, {}}; }

  IndexExpr add(const IndexExpr& a, const IndexExpr& b) const;
  IndexExpr mul(const IndexExpr& a, SymInt factor) const;
  IndexExpr sub(const IndexExpr& a, const IndexExpr& b) const { return add(a, mul(b, -1)); }
  /// Floor division and modulo by d > 0.
  IndexExpr div(const IndexExpr& a, SymInt d);
  IndexExpr mod(const IndexExpr& a, SymInt d);

  Range range(const IndexExpr& e) const;
  const Atom& atom(AtomId id) const { return atoms_[id.value]; }

  /// Every axis and value atom the expression rests on, through divisions too.
  void collect(const IndexExpr& e, std::vector<int>& axes, std::vector<int>& values) const;
  bool depends_on_axis(const IndexExpr& e, int axis) const;
  /// Whether a constant, a factor or a divisor is no number.
  bool has_symbols(const IndexExpr& e) const;
  /// The factor of `axis` if the expression is affine in it (it stands in no division); otherwise
  /// false. Factor 0 means independent.
  bool affine_in(const IndexExpr& e, int axis, SymInt* factor) const;
  /// The expression with axes replaced: replacement[axis] where present in the map.
  IndexExpr substitute(const IndexExpr& e, const std::map<int, IndexExpr>& replacement);

  std::string to_text(const IndexExpr& e) const;

 private:
  AtomId intern(Atom atom);
  /// Whether `div` is the floor division that goes with the remainder `mod`.
  bool is_quotient_of(const Atom& div, const Atom& mod) const;
  /// The largest divisor g of d for which e = g * high + low with 0 <= low < g for all values; 1
  /// when there is none. Then floor(e / d) = floor(high / (d/g)) and e mod d = g * (high mod (d/g))
  /// + low.
  SymInt split_by_factor(const IndexExpr& e, SymInt d, IndexExpr* high, IndexExpr* low) const;
  std::vector<Atom> atoms_;
};

/// The expression of one context in another, with every axis replaced: `axes[a]` for axis a, and
/// sizes by `value_of`, if there is one.
IndexExpr translate(const IndexContext& from, const IndexExpr& e, std::span<const IndexExpr> axes,
                    IndexContext& to, const SizeFunction& value_of = {});

/// The index of row-major element number `linear` in `shape`, one expression per dimension.
std::vector<IndexExpr> delinearize(IndexContext& context, const IndexExpr& linear, SymInts shape);
/// Sum of index[d] * strides[d].
IndexExpr linearize(IndexContext& context, std::span<const IndexExpr> index, SymInts strides);
/// Row-major strides of a shape, in elements.
std::vector<SymInt> contiguous_strides(SymInts shape);

}  // namespace coregrad
