#pragma once
// Sizes as numbers or as expressions of symbols, which only a call gives values.
//
// A SymInt is eight bytes: a number as it is, or a pointer to an expression that a ShapeEnv owns.
// Expressions are polynomials with integer factors over atoms (symbols, and quotients, remainders
// and extremes of other expressions); equal ones exist once. So sums, products and differences have
// one form, and most questions about sizes are questions about the sign of one polynomial.
//
// A comparison is a decision. It is proven from the symbols' bounds where that can be done. Where it
// cannot, it falls as it does for the symbols' hints and is recorded as a guard: what was built on
// it holds for those values of the symbols only that ShapeEnv::admits() lets through. So nothing is
// ever guessed; code that asks less is good for more sizes.

#include "base/error.h"

#include <concepts>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coregrad {

class ShapeEnv;
struct SizeExpr;

class SymInt {
 public:
  constexpr SymInt() = default;
  template <std::integral T>
  constexpr SymInt(T number) : bits_(static_cast<int64_t>(number)) {  // NOLINT: meant to convert
    if (!is_number()) [[unlikely]] refuse(bits_);
  }
  explicit SymInt(const SizeExpr* expr);

  constexpr bool is_number() const { return bits_ >= kLowestNumber; }
  /// Precondition: is_number().
  int64_t number() const {
    COREGRAD_CHECK(is_number());
    return bits_;
  }
  /// Precondition: not a number.
  const SizeExpr& expr() const;
  /// A value that it has for some sizes: for estimates, never for what must be right.
  int64_t hint() const { return is_number() ? bits_ : hint_of_expr(); }
  /// Its hint, which a guard makes the only value.
  int64_t specialized() const { return is_number() ? bits_ : specialize_expr(); }
  /// What it can be.
  int64_t lower_bound() const;
  int64_t upper_bound() const;
  std::string to_text() const;

  /// The same number or the same expression; different expressions may have equal values.
  constexpr bool is_identical(SymInt other) const { return bits_ == other.bits_; }
  /// For hashing and for orders that mean nothing.
  constexpr int64_t bits() const { return bits_; }

  SymInt& operator+=(SymInt b) { return *this = *this + b; }
  SymInt& operator-=(SymInt b) { return *this = *this - b; }
  SymInt& operator*=(SymInt b) { return *this = *this * b; }

  friend SymInt operator+(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ + b.bits_) : add(a, b);
  }
  friend SymInt operator-(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ - b.bits_) : add(a, multiply(b, -1));
  }
  friend SymInt operator*(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ * b.bits_) : multiply(a, b);
  }
  friend SymInt operator-(SymInt a) { return 0 - a; }

  friend bool operator==(SymInt a, SymInt b) {
    return a.bits_ == b.bits_ || (!both(a, b) && decide_equal(a, b));
  }
  friend bool operator<(SymInt a, SymInt b) {
    return both(a, b) ? a.bits_ < b.bits_ : decide_less(a, b);
  }
  friend bool operator>(SymInt a, SymInt b) { return b < a; }
  friend bool operator<=(SymInt a, SymInt b) { return !(b < a); }
  friend bool operator>=(SymInt a, SymInt b) { return !(a < b); }

  /// Whether they are equal for all sizes, without a guard.
  static bool are_equal(SymInt a, SymInt b);
  /// Whether a <= b for all sizes, without a guard.
  static bool is_at_most(SymInt a, SymInt b);

 private:
  static constexpr int64_t kLowestNumber = INT64_MIN + (int64_t{1} << 48);

  static constexpr bool both(SymInt a, SymInt b) { return a.is_number() && b.is_number(); }
  [[noreturn]] static void refuse(int64_t number);
  int64_t hint_of_expr() const;
  int64_t specialize_expr() const;
  static SymInt add(SymInt a, SymInt b);
  static SymInt multiply(SymInt a, SymInt b);
  static bool decide_equal(SymInt a, SymInt b);
  static bool decide_less(SymInt a, SymInt b);

  int64_t bits_ = 0;
};
static_assert(sizeof(SymInt) == sizeof(int64_t) && std::is_trivially_copyable_v<SymInt>);

/// Rounded towards minus infinity, and what is left; b > 0 (a guard where that is not sure).
SymInt floor_div(SymInt a, SymInt b);
SymInt floor_mod(SymInt a, SymInt b);
inline SymInt ceil_div(SymInt a, SymInt b) { return floor_div(a + b - 1, b); }
inline SymInt round_up(SymInt a, SymInt b) { return ceil_div(a, b) * b; }
/// As expressions, without a guard.
SymInt max(SymInt a, SymInt b);
SymInt min(SymInt a, SymInt b);

/// Inclusive; kUnbounded and -kUnbounded for none.
struct SizeBounds {
  int64_t low, high;
};
inline constexpr int64_t kUnbounded = int64_t{1} << 62;

enum class AtomOf : uint8_t { Symbol, FloorDiv, FloorMod, Max, Min };

/// What polynomials are made of. Of b > 0 where it divides.
struct SizeAtom {
  AtomOf kind;
  SymInt a, b;
  int64_t symbol = 0;  ///< its number
  int64_t hint = 0;
  SizeBounds bounds{};
};

/// factor * product of atoms, which are sorted and stand once for each power.
struct SizeTerm {
  int64_t factor;
  std::vector<uint32_t> atoms;
};

/// A polynomial: terms in falling order of their atoms, the constant last, without factors of 0.
struct SizeExpr {
  ShapeEnv* env;
  std::vector<SizeTerm> terms;
  int64_t hint;
  uint32_t index;  ///< in the order in which expressions were made
};

/// What a guard asks of an expression.
enum class Sign : uint8_t { Zero, NotZero, NotNegative, Negative };

/// Owns symbols and expressions, and keeps the guards. Thread-safe; not to be copied or moved.
class ShapeEnv {
 public:
  ShapeEnv() = default;
  ShapeEnv(const ShapeEnv&) = delete;
  ShapeEnv& operator=(const ShapeEnv&) = delete;

  /// A new symbol. `hint` lies in the bounds.
  SymInt symbol(std::string name, SizeBounds bounds, int64_t hint);
  int64_t num_symbols() const { return static_cast<int64_t>(names_.size()); }
  std::string_view name(int64_t symbol) const { return names_[static_cast<size_t>(symbol)]; }

  /// Whether what was decided holds where the symbols have these values: within bounds and guards.
  bool admits(std::span<const int64_t> values) const;
  /// The first bound or guard that does not hold, as text; empty if all do.
  std::string refusal(std::span<const int64_t> values) const;
  /// Bounds that decisions narrowed, and guards, a line each.
  std::vector<std::string> guards() const;

  /// ShapeError where it overflows.
  int64_t evaluate(SymInt x, std::span<const int64_t> values) const;
  std::string to_text(SymInt x) const;

 private:
  friend class SymInt;
  friend class SizeProgram;
  friend SymInt floor_div(SymInt, SymInt);
  friend SymInt floor_mod(SymInt, SymInt);
  friend SymInt max(SymInt, SymInt);
  friend SymInt min(SymInt, SymInt);

  using Terms = std::vector<SizeTerm>;
  struct Guard {
    SymInt x;
    Sign sign;
  };
  struct Parts {
    SymInt quotient, rest;
  };

  static ShapeEnv& of(SymInt a, SymInt b);
  static Terms terms_of(SymInt x);

  SymInt intern(Terms terms);
  SymInt intern_atom(SizeAtom atom);
  SymInt sum(SymInt a, SymInt b);
  SymInt product(SymInt a, SymInt b);
  SymInt times(SymInt x, int64_t factor);
  /// a = quotient * b + rest, as far as polynomials divide.
  Parts divided(SymInt a, SymInt b);
  SymInt quotient(SymInt a, SymInt b, bool wants_rest);
  SymInt extreme(SymInt a, SymInt b, AtomOf kind);

  int64_t low(SymInt x) const;
  int64_t high(SymInt x) const;
  SizeBounds interval(const Terms& terms) const;
  std::optional<int64_t> low_by_shift(const Terms& terms) const;
  std::optional<bool> proven(SymInt x, Sign sign);
  bool decided(SymInt x, Sign sign);
  void narrow(SymInt x, Sign sign);
  std::string text(SymInt x) const;
  std::string atom_text(uint32_t atom) const;

  mutable std::recursive_mutex mutex_;
  std::vector<std::string> names_;
  std::vector<SizeBounds> given_;  ///< the symbols' bounds as they came
  std::deque<SizeAtom> atoms_;
  std::map<std::vector<int64_t>, uint32_t> atom_index_;
  std::map<std::vector<int64_t>, SizeExpr> exprs_;
  std::vector<Guard> guards_;
};

}  // namespace coregrad
