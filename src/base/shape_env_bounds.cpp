// What the values of an expression lie between: the best of four ways to find out.

#include "base/checked.h"
#include "base/shape_env.h"
#include "base/size_terms.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace coregrad {
namespace {

constexpr int kMostFactors = 8;    ///< of a term whose bound is sought by expansion
constexpr size_t kMostTerms = 64;  ///< of an expansion
constexpr int kMostExtremes = 4;   ///< that are taken apart, one after the other

}  // namespace

SizeBounds ShapeEnv::interval(const Terms& terms) const {
  SizeBounds total{0, 0};
  for (const SizeTerm& t : terms) {
    SizeBounds term{t.factor, t.factor};
    for (const uint32_t atom : t.atoms) term = product_of(term, atoms_[atom].bounds);
    total = sum_of(total, term);
  }
  return total;
}

// Each atom is its least value and more. Where no factor of what is more is negative, the constant
// is the least value of all: so s * t - t is at least 2 for s and t from 2 on.
std::optional<int64_t> ShapeEnv::low_by_shift(const Terms& terms) const {
  Terms expanded;
  for (const SizeTerm& t : terms) {
    if (t.atoms.size() > kMostFactors) return {};
    Terms product{{t.factor, {}}};
    for (const uint32_t atom : t.atoms) {
      const int64_t least = atoms_[atom].bounds.low;
      if (least == -kUnbounded) return {};
      Terms next;
      for (const SizeTerm& p : product) {
        next.push_back(product_of(p, {1, {atom}}));
        const __int128 factor = static_cast<__int128>(p.factor) * least;
        if (factor >= kUnbounded || factor <= -kUnbounded) return {};
        next.push_back({static_cast<int64_t>(factor), p.atoms});
      }
      product = std::move(next);
      if (product.size() > kMostTerms) return {};
    }
    expanded.insert(expanded.end(), product.begin(), product.end());
    if (expanded.size() > kMostTerms) return {};
  }
  int64_t constant = 0;
  for (const SizeTerm& t : in_form(std::move(expanded))) {
    if (t.atoms.empty())
      constant = t.factor;
    else if (t.factor < 0)
      return {};
  }
  return constant;
}

// What terms are multiplied by so that divisors that are numbers divide the factors of quotients.
int64_t ShapeEnv::multiple_of_divisors(const Terms& terms) const {
  constexpr int64_t kLargest = 1 << 12;
  int64_t multiple = 1;
  for (const SizeTerm& t : terms) {
    if (std::abs(t.factor) > kUnbounded / kLargest) return 1;
    for (const uint32_t number : t.atoms) {
      const SizeAtom& atom = atoms_[number];
      if (atom.kind != AtomOf::FloorDiv || !atom.b.is_number()) continue;
      const int64_t needed = atom.b.number() / std::gcd(atom.b.number(), t.factor);
      if (needed > kLargest) return 1;
      multiple = std::lcm(multiple, needed);
      if (multiple > kLargest) return 1;
    }
  }
  return multiple;
}

// Of terms, by those of a multiple: with q = a // b, a - b < b * q <= a; and a % b < b. So what is
// rounded up to a multiple is at least what it was.
std::optional<int64_t> ShapeEnv::low_by_quotients(const Terms& terms, int64_t multiple) const {
  Terms least;
  bool has_any = false;
  const auto add = [&least](const SizeTerm& factor, const Terms& of) {
    for (const SizeTerm& t : of) least.push_back(product_of(factor, t));
  };
  for (SizeTerm t : terms) {
    t.factor *= multiple;
    const auto at =
        std::ranges::find_if(t.atoms, [&](uint32_t atom) { return divides_by(atoms_[atom].kind); });
    if (at == t.atoms.end()) {
      least.push_back(t);
      continue;
    }
    const SizeAtom& atom = atoms_[*at];
    SizeTerm rest{t.factor, {}};
    std::ranges::copy(t.atoms.begin(), at, std::back_inserter(rest.atoms));
    std::ranges::copy(at + 1, t.atoms.end(), std::back_inserter(rest.atoms));
    const Terms divisor = terms_of(atom.b);
    std::optional<SizeTerm> factor = rest;
    if (atom.kind == AtomOf::FloorDiv)
      factor = divisor.size() == 1 ? quotient_of(rest, divisor[0]) : std::nullopt;
    const auto is_positive = [&](uint32_t a) { return atoms_[a].bounds.low >= 0; };
    if (!factor || !std::ranges::all_of(factor->atoms, is_positive)) {
      least.push_back(t);
      continue;
    }
    has_any = true;
    const SizeTerm one{1, {}}, negative{-factor->factor, factor->atoms};
    if (atom.kind == AtomOf::FloorDiv) {
      add(*factor, terms_of(atom.a));
      if (factor->factor < 0) continue;
      add(negative, divisor);
      add(*factor, {one});
    } else if (factor->factor < 0) {
      add(*factor, divisor);
      add(negative, {one});
    }
  }
  if (!has_any || least.size() > kMostTerms) return {};
  least = in_form(std::move(least));
  const int64_t by_interval = interval(least).low;
  const int64_t low = std::max(by_interval, low_by_shift(least).value_or(by_interval));
  if (low == -kUnbounded) return low;
  return -floor_div(-low, multiple);
}

// min(a, b) is a or b, and no more than either: c - min(a, b) is at least c - a and at least c - b,
// and c + min(a, b) is at least the less of c + a and c + b.
std::optional<int64_t> ShapeEnv::low_by_extremes(const Terms& terms, int depth) const {
  if (depth == kMostExtremes) return {};
  const auto is_extreme = [&](uint32_t atom) {
    return atoms_[atom].kind == AtomOf::Max || atoms_[atom].kind == AtomOf::Min;
  };
  for (size_t i = 0; i < terms.size(); ++i) {
    const auto& atoms = terms[i].atoms;
    const auto at = std::ranges::find_if(atoms, is_extreme);
    if (at == atoms.end()) continue;
    SizeTerm rest{terms[i].factor, {}};
    std::ranges::copy(atoms.begin(), at, std::back_inserter(rest.atoms));
    std::ranges::copy(at + 1, atoms.end(), std::back_inserter(rest.atoms));
    if (!std::ranges::all_of(rest.atoms, [&](uint32_t a) { return atoms_[a].bounds.low >= 0; }))
      continue;
    const SizeAtom& extreme = atoms_[*at];
    const auto low_with = [&](SymInt operand) {
      Terms replaced;
      for (size_t j = 0; j < terms.size(); ++j)
        if (j != i) replaced.push_back(terms[j]);
      for (const SizeTerm& t : terms_of(operand)) replaced.push_back(product_of(rest, t));
      return low_of(in_form(std::move(replaced)), depth + 1);
    };
    const bool is_beyond_both = (rest.factor > 0) == (extreme.kind == AtomOf::Max);
    const int64_t a = low_with(extreme.a), b = low_with(extreme.b);
    return is_beyond_both ? std::max(a, b) : std::min(a, b);
  }
  return {};
}

int64_t ShapeEnv::low_of(const Terms& terms, int depth) const {
  const int64_t by_interval = interval(terms).low;
  const int64_t multiple = multiple_of_divisors(terms);
  return std::max(
      {by_interval, low_by_shift(terms).value_or(by_interval),
       low_by_quotients(terms, 1).value_or(by_interval),
       multiple == 1 ? by_interval : low_by_quotients(terms, multiple).value_or(by_interval),
       low_by_extremes(terms, depth).value_or(by_interval)});
}

SizeBounds ShapeEnv::bounds(SymInt x) const {
  if (x.is_number()) return {x.number(), x.number()};
  const std::scoped_lock lock(mutex_);
  const SizeExpr& expr = x.expr();
  if (expr.facts.bounds_at != knowledge_) {
    Terms negative = expr.terms;
    for (SizeTerm& t : negative) t.factor = -t.factor;
    expr.facts.bounds = {low_of(expr.terms), -low_of(negative)};
    expr.facts.bounds_at = knowledge_;
  }
  return expr.facts.bounds;
}

}  // namespace coregrad
