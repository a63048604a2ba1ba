#pragma once
// Terms of polynomials, and bounds of their values: arithmetic that knows nothing of symbols.

#include <cstdint>
#include <optional>
#include <vector>

namespace coregrad {

/// Inclusive; kUnbounded and -kUnbounded for none.
struct SizeBounds {
  int64_t low, high;
};
inline constexpr int64_t kUnbounded = int64_t{1} << 62;

int64_t bounded_sum(int64_t a, int64_t b);
SizeBounds sum_of(SizeBounds a, SizeBounds b);
SizeBounds product_of(SizeBounds a, SizeBounds b);

/// factor * product of atoms, which are sorted and stand once for each power.
struct SizeTerm {
  int64_t factor;
  std::vector<uint32_t> atoms;
};
using SizeTerms = std::vector<SizeTerm>;

SizeTerm product_of(const SizeTerm& a, const SizeTerm& b);
/// a / b where that is a term.
std::optional<SizeTerm> quotient_of(const SizeTerm& a, const SizeTerm& b);
/// Sorted, with terms of one monomial added up.
SizeTerms in_form(SizeTerms terms);
/// The value of terms in form that have no atoms.
std::optional<int64_t> number_in(const SizeTerms& terms);
/// The greatest common divisor of the factors.
int64_t content(const SizeTerms& terms);

}  // namespace coregrad
