// Operators find the environment of a symbolic operand, which does the work.

#include "base/sym_int.h"

#include "base/checked.h"
#include "base/shape_env.h"

#include <algorithm>
#include <numeric>

namespace coregrad {

SymInt::SymInt(const SizeExpr* expr)
    : bits_(static_cast<int64_t>(reinterpret_cast<uintptr_t>(expr)) + INT64_MIN) {
  COREGRAD_CHECK(!is_number());
}

void SymInt::refuse(int64_t number) { raise<ShapeError>("size: {} is out of range", number); }

const SizeExpr& SymInt::expr() const {
  COREGRAD_CHECK(!is_number());
  return *reinterpret_cast<const SizeExpr*>(static_cast<uintptr_t>(bits_ - INT64_MIN));
}

int64_t SymInt::hint_of_expr() const { return expr().hint; }

int64_t SymInt::specialize_expr() const {
  ShapeEnv& env = *expr().env;
  if (!env.decided(*this - expr().hint, Sign::Zero)) COREGRAD_UNREACHABLE("a hint is a value");
  return expr().hint;
}

int64_t SymInt::lower_bound() const { return is_number() ? bits_ : expr().env->low(*this); }
int64_t SymInt::upper_bound() const { return is_number() ? bits_ : expr().env->high(*this); }

std::string SymInt::to_text() const {
  return is_number() ? std::to_string(bits_) : expr().env->to_text(*this);
}

SymInt SymInt::add(SymInt a, SymInt b) { return ShapeEnv::of(a, b).sum(a, b); }
SymInt SymInt::multiply(SymInt a, SymInt b) {
  return both(a, b) ? SymInt(a.bits_ * b.bits_) : ShapeEnv::of(a, b).product(a, b);
}
SymInt SymInt::divide(SymInt a, SymInt b) {
  if (!(a >= 0)) raise<ShapeError>("size: {} divided by {}", a, b);
  return floor_div(a, b);
}
namespace {

/// Whether one of them is a number that no size comes near ("as far as it goes").
bool is_far_off(SymInt a, SymInt b) {
  const auto is_far = [](SymInt x) {
    return x.is_number() && (x.number() >= kUnbounded || x.number() <= -kUnbounded);
  };
  return is_far(a) || is_far(b);
}
/// Of two of which one is far off.
bool is_less_by_far(SymInt a, SymInt b) { return a.is_number() ? a.number() < 0 : b.number() > 0; }

}  // namespace

bool SymInt::decide_equal(SymInt a, SymInt b) {
  return !is_far_off(a, b) && ShapeEnv::of(a, b).decided(a - b, Sign::Zero);
}
bool SymInt::decide_less(SymInt a, SymInt b) {
  if (is_far_off(a, b)) return is_less_by_far(a, b);
  return ShapeEnv::of(a, b).decided(a - b, Sign::Negative);
}

std::strong_ordering SymInt::order_of_exprs(SymInt a, SymInt b) {
  if (a.is_number() != b.is_number()) return b.is_number() <=> a.is_number();
  return a.expr().index <=> b.expr().index;
}

bool SymInt::are_equal(SymInt a, SymInt b) {
  if (both(a, b) || a.is_identical(b)) return a.is_identical(b);
  return !is_far_off(a, b) && ShapeEnv::of(a, b).proven(a - b, Sign::Zero).value_or(false);
}
bool SymInt::is_at_most(SymInt a, SymInt b) {
  if (both(a, b)) return a.bits_ <= b.bits_;
  if (is_far_off(a, b)) return is_less_by_far(a, b);
  return ShapeEnv::of(a, b).proven(b - a, Sign::NotNegative).value_or(false);
}

SymInt floor_div(SymInt a, SymInt b) {
  if (a.is_number() && b.is_number()) {
    if (b.number() <= 0) raise<ShapeError>("size: {} divided by {}", a.number(), b.number());
    return floor_div(a.number(), b.number());
  }
  return ShapeEnv::of(a, b).quotient(a, b, false);
}
SymInt floor_mod(SymInt a, SymInt b) {
  if (a.is_number() && b.is_number()) {
    if (b.number() <= 0) raise<ShapeError>("size: {} divided by {}", a.number(), b.number());
    return floor_mod(a.number(), b.number());
  }
  return ShapeEnv::of(a, b).quotient(a, b, true);
}
bool is_multiple(SymInt a, SymInt b) {
  if (a.is_number() && b.is_number()) return b.number() != 0 && a.number() % b.number() == 0;
  return ShapeEnv::of(a, b).divides(b, a);
}
SymInt common_divisor(SymInt a, SymInt b) {
  if (a.is_number() && b.is_number()) return std::gcd(a.number(), b.number());
  if (is_multiple(a, b)) return b;
  if (is_multiple(b, a)) return a;
  return ShapeEnv::of(a, b).common(a, b);
}
SymInt max(SymInt a, SymInt b) {
  if (a.is_number() && b.is_number()) return std::max(a.number(), b.number());
  if (is_far_off(a, b)) return is_less_by_far(a, b) ? b : a;
  return ShapeEnv::of(a, b).extreme(a, b, AtomOf::Max);
}
SymInt min(SymInt a, SymInt b) {
  if (a.is_number() && b.is_number()) return std::min(a.number(), b.number());
  if (is_far_off(a, b)) return is_less_by_far(a, b) ? a : b;
  return ShapeEnv::of(a, b).extreme(a, b, AtomOf::Min);
}

SymInt checked_add(SymInt a, SymInt b, std::string_view what) {
  if (!a.is_number() || !b.is_number()) return a + b;
  return checked_add(a.number(), b.number(), what);
}
SymInt checked_sub(SymInt a, SymInt b, std::string_view what) {
  if (!a.is_number() || !b.is_number()) return a - b;
  return checked_sub(a.number(), b.number(), what);
}
SymInt checked_mul(SymInt a, SymInt b, std::string_view what) {
  if (!a.is_number() || !b.is_number()) return a * b;
  return checked_mul(a.number(), b.number(), what);
}

SymInt checked_numel(SymInts shape, std::string_view what) {
  for (const SymInt extent : shape) {
    if (extent < 0) raise<ShapeError>("{}: extents must not be negative, got {}", what, extent);
    if (extent == 0) return 0;
  }
  SymInt n = 1;
  for (const SymInt extent : shape) n = checked_mul(n, extent, what);
  return n;
}

}  // namespace coregrad
