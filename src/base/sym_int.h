#pragma once
// Sizes as numbers or as expressions of symbols, which only a call gives values.
//
// A SymInt is eight bytes: a number as it is, or a pointer to an expression that a ShapeEnv owns
// (base/shape_env.h).
//
// A comparison is a decision. It is proven from the symbols' bounds where that can be done. Where
// it cannot, it falls as it does for the symbols' hints and is recorded as a guard: what was built
// on it holds for those values of the symbols only that ShapeEnv::admits() lets through. So nothing
// is ever guessed; code that asks less is good for more sizes.

#include "base/error.h"

#include <compare>
#include <concepts>
#include <cstdint>
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
    if (!is_number()) [[unlikely]]
      refuse(bits_);
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
  /// specialized(): what is not written for symbols computes with numbers, and is right for them.
  operator int64_t() const { return specialized(); }  // NOLINT: meant to convert

  /// The same number or the same expression; different expressions may have equal values.
  constexpr bool is_identical(SymInt other) const { return bits_ == other.bits_; }
  /// For hashing and for orders that mean nothing.
  constexpr int64_t bits() const { return bits_; }
  /// An order of numbers and expressions for containers: that of the values of numbers, then that
  /// in which expressions were made.
  static std::strong_ordering order(SymInt a, SymInt b) {
    return both(a, b) ? a.bits_ <=> b.bits_ : order_of_exprs(a, b);
  }

  SymInt& operator+=(SymInt b) { return *this = *this + b; }
  SymInt& operator-=(SymInt b) { return *this = *this - b; }
  SymInt& operator*=(SymInt b) { return *this = *this * b; }
  SymInt& operator/=(SymInt b) { return *this = *this / b; }
  SymInt& operator++() { return *this += 1; }

  friend SymInt operator+(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ + b.bits_) : add(a, b);
  }
  friend SymInt operator-(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ - b.bits_) : add(a, multiply(b, -1));
  }
  friend SymInt operator*(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ * b.bits_) : multiply(a, b);
  }
  friend SymInt operator-(SymInt a) { return SymInt(0) - a; }
  /// Of a and b as C++ has it for numbers; of symbols where a is not negative and b is positive.
  friend SymInt operator/(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ / b.bits_) : divide(a, b);
  }
  friend SymInt operator%(SymInt a, SymInt b) {
    return both(a, b) ? SymInt(a.bits_ % b.bits_) : a - divide(a, b) * b;
  }

  friend bool operator==(SymInt a, SymInt b) {
    return a.bits_ == b.bits_ || (!both(a, b) && decide_equal(a, b));
  }
  friend bool operator<(SymInt a, SymInt b) {
    return both(a, b) ? a.bits_ < b.bits_ : decide_less(a, b);
  }
  friend bool operator>(SymInt a, SymInt b) { return b < a; }
  friend bool operator<=(SymInt a, SymInt b) { return !(b < a); }
  friend bool operator>=(SymInt a, SymInt b) { return !(a < b); }

// Numbers on one side: better matches than conversions of the other side.
#define COREGRAD_WITH_NUMBERS(Result, op)    \
  template <std::integral T>                 \
  friend Result operator op(SymInt a, T b) { \
    return a op SymInt(b);                   \
  }                                          \
  template <std::integral T>                 \
  friend Result operator op(T a, SymInt b) { \
    return SymInt(a) op b;                   \
  }
  COREGRAD_WITH_NUMBERS(SymInt, +)
  COREGRAD_WITH_NUMBERS(SymInt, -)
  COREGRAD_WITH_NUMBERS(SymInt, *)
  COREGRAD_WITH_NUMBERS(SymInt, /)
  COREGRAD_WITH_NUMBERS(SymInt, %)
  COREGRAD_WITH_NUMBERS(bool, <)
  COREGRAD_WITH_NUMBERS(bool, >)
  COREGRAD_WITH_NUMBERS(bool, <=)
  COREGRAD_WITH_NUMBERS(bool, >=)
#undef COREGRAD_WITH_NUMBERS
  template <std::integral T>
  friend bool operator==(SymInt a, T b) {
    return a == SymInt(b);
  }

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
  static SymInt divide(SymInt a, SymInt b);
  static std::strong_ordering order_of_exprs(SymInt a, SymInt b);
  static bool decide_equal(SymInt a, SymInt b);
  static bool decide_less(SymInt a, SymInt b);

  int64_t bits_ = 0;
};
static_assert(sizeof(SymInt) == sizeof(int64_t) && std::is_trivially_copyable_v<SymInt>);

/// A list of sizes, which somebody else holds. Numbers are such a list as they lie in memory.
class SymInts : public std::span<const SymInt> {
 public:
  using std::span<const SymInt>::span;
  SymInts(std::span<const SymInt> sizes) : span(sizes) {}  // NOLINT: meant to convert
  SymInts(std::span<const int64_t> numbers)                // NOLINT: meant to convert
      : span(reinterpret_cast<const SymInt*>(numbers.data()), numbers.size()) {}
  /// Of a vector, not of a list in braces, which would make numbers of the sizes in it.
  template <std::same_as<std::vector<int64_t>> Numbers>
  SymInts(const Numbers& numbers)  // NOLINT: meant to convert
      : SymInts(std::span<const int64_t>(numbers)) {}
  /// The list as it lies in memory, for what knows of numbers only; InternalError for symbols.
  std::span<const int64_t> numbers() const {
    for (const SymInt x : *this) COREGRAD_CHECK(x.is_number());
    return {reinterpret_cast<const int64_t*>(data()), size()};
  }
};

/// Rounded towards minus infinity, and what is left; b > 0 (a guard where that is not sure).
SymInt floor_div(SymInt a, SymInt b);
SymInt floor_mod(SymInt a, SymInt b);
inline SymInt ceil_div(SymInt a, SymInt b) { return floor_div(a + b - 1, b); }
inline SymInt round_up(SymInt a, SymInt b) { return ceil_div(a, b) * b; }
/// Whether a is b times something for all sizes, as far as polynomials tell; without a guard.
bool is_multiple(SymInt a, SymInt b);
/// The largest common divisor that polynomials tell, at least 1; of numbers the largest.
SymInt common_divisor(SymInt a, SymInt b);
/// As expressions, without a guard.
SymInt max(SymInt a, SymInt b);
SymInt min(SymInt a, SymInt b);

/// Size arithmetic that refuses to overflow, as that of numbers in base/checked.h; that of symbols
/// is checked when they have values.
SymInt checked_add(SymInt a, SymInt b, std::string_view what);
SymInt checked_sub(SymInt a, SymInt b, std::string_view what);
SymInt checked_mul(SymInt a, SymInt b, std::string_view what);
/// Number of elements of a shape; 1 for rank 0.
SymInt checked_numel(SymInts shape, std::string_view what);

// Of a SymInt and a number.
#define COREGRAD_OF_NUMBERS(function)                               \
  template <std::same_as<SymInt> S, std::integral T, class... Text> \
  SymInt function(S a, T b, Text... what) {                         \
    return function(a, SymInt(b), what...);                         \
  }                                                                 \
  template <std::integral T, std::same_as<SymInt> S, class... Text> \
  SymInt function(T a, S b, Text... what) {                         \
    return function(SymInt(a), b, what...);                         \
  }
COREGRAD_OF_NUMBERS(floor_div)
COREGRAD_OF_NUMBERS(floor_mod)
COREGRAD_OF_NUMBERS(ceil_div)
COREGRAD_OF_NUMBERS(round_up)
COREGRAD_OF_NUMBERS(max)
COREGRAD_OF_NUMBERS(min)
COREGRAD_OF_NUMBERS(checked_add)
COREGRAD_OF_NUMBERS(checked_sub)
COREGRAD_OF_NUMBERS(checked_mul)
#undef COREGRAD_OF_NUMBERS

/// Numbers that the sizes are; guards where they are symbols.
inline std::vector<int64_t> specialized(SymInts sizes) { return {sizes.begin(), sizes.end()}; }

inline bool has_zero(SymInts sizes) {
  for (const SymInt x : sizes)
    if (x == 0) return true;
  return false;
}

/// Whether two lists are equal for all sizes, without a guard.
inline bool are_equal(SymInts a, SymInts b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!SymInt::are_equal(a[i], b[i])) return false;
  return true;
}

/// The same lists, item by item.
inline bool are_identical(SymInts a, SymInts b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!a[i].is_identical(b[i])) return false;
  return true;
}

}  // namespace coregrad

template <>
inline constexpr bool std::ranges::enable_borrowed_range<coregrad::SymInts> = true;
template <>
inline constexpr bool std::ranges::enable_view<coregrad::SymInts> = true;

/// As its text.
template <>
struct fmt::formatter<coregrad::SymInt> : fmt::formatter<std::string> {
  auto format(coregrad::SymInt x, format_context& context) const {
    return fmt::formatter<std::string>::format(x.to_text(), context);
  }
};
template <>
struct std::common_type<coregrad::SymInt, int64_t> {
  using type = coregrad::SymInt;
};
template <>
struct std::common_type<int64_t, coregrad::SymInt> {
  using type = coregrad::SymInt;
};
