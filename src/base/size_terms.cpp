#include "base/size_terms.h"

#include "base/checked.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace coregrad {
namespace {

/// The order of monomials: by the power of the first atom, then of the next.
bool comes_before(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  const auto [x, y] = std::ranges::mismatch(a, b);
  if (x == a.end()) return false;
  return y == b.end() || *x < *y;
}

// Bounds end at kUnbounded, which stands for everything beyond.
int64_t bounded(__int128 x) {
  return static_cast<int64_t>(
      std::clamp<__int128>(x, -static_cast<__int128>(kUnbounded), kUnbounded));
}
int64_t bounded_product(int64_t a, int64_t b) { return bounded(static_cast<__int128>(a) * b); }

}  // namespace

SizeTerms in_form(SizeTerms terms) {
  std::ranges::sort(
      terms, [](const SizeTerm& a, const SizeTerm& b) { return comes_before(a.atoms, b.atoms); });
  SizeTerms form;
  for (SizeTerm& term : terms) {
    if (!form.empty() && form.back().atoms == term.atoms)
      form.back().factor = checked_add(form.back().factor, term.factor, "size");
    else
      form.push_back(std::move(term));
  }
  std::erase_if(form, [](const SizeTerm& t) { return t.factor == 0; });
  return form;
}

std::optional<int64_t> number_in(const SizeTerms& terms) {
  if (terms.empty()) return 0;
  if (terms.size() == 1 && terms[0].atoms.empty()) return terms[0].factor;
  return {};
}

SizeTerm product_of(const SizeTerm& a, const SizeTerm& b) {
  SizeTerm result{checked_mul(a.factor, b.factor, "size"), {}};
  std::ranges::merge(a.atoms, b.atoms, std::back_inserter(result.atoms));
  return result;
}

std::optional<SizeTerm> quotient_of(const SizeTerm& a, const SizeTerm& b) {
  if (a.factor % b.factor != 0 || !std::ranges::includes(a.atoms, b.atoms)) return {};
  SizeTerm result{a.factor / b.factor, {}};
  std::ranges::set_difference(a.atoms, b.atoms, std::back_inserter(result.atoms));
  return result;
}

int64_t content(const SizeTerms& terms) {
  int64_t g = 0;
  for (const SizeTerm& t : terms) g = std::gcd(g, t.factor);
  return g;
}

int64_t bounded_sum(int64_t a, int64_t b) {
  if (a == kUnbounded || b == kUnbounded) return kUnbounded;
  if (a == -kUnbounded || b == -kUnbounded) return -kUnbounded;
  return bounded(static_cast<__int128>(a) + b);
}

SizeBounds product_of(SizeBounds a, SizeBounds b) {
  const auto [low, high] =
      std::minmax({bounded_product(a.low, b.low), bounded_product(a.low, b.high),
                   bounded_product(a.high, b.low), bounded_product(a.high, b.high)});
  return {low, high};
}

SizeBounds sum_of(SizeBounds a, SizeBounds b) {
  return {bounded_sum(a.low, b.low), bounded_sum(a.high, b.high)};
}

}  // namespace coregrad
