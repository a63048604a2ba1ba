#pragma once
// Owns symbols and the expressions of them that SymInts point at.
//
// Expressions are polynomials with integer factors over atoms (symbols, and quotients, remainders
// and extremes of other expressions); equal ones exist once. So sums, products and differences have
// one form, and most questions about sizes are questions about the sign of one polynomial.

#include "base/size_terms.h"
#include "base/sym_int.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace coregrad {

enum class AtomOf : uint8_t { Symbol, FloorDiv, FloorMod, Max, Min };
inline bool divides_by(AtomOf kind) { return kind == AtomOf::FloorDiv || kind == AtomOf::FloorMod; }
/// Of an atom with these operands; b > 0 where it divides.
int64_t value_of(AtomOf kind, int64_t a, int64_t b);

/// What polynomials are made of. Of b > 0 where it divides.
struct SizeAtom {
  AtomOf kind;
  SymInt a, b;
  int64_t symbol = 0;  ///< its number
  int64_t hint = 0;
  SizeBounds bounds{};
};

/// What a guard asks of an expression.
enum class Sign : uint8_t { Zero, NotZero, NotNegative, Negative };

/// What was found out about an expression. What is proven stays so; bounds and what could not be
/// proven are worth something while bounds and guards are what they were.
struct SizeFacts {
  uint64_t bounds_at = 0;  ///< ShapeEnv::knowledge_ when they were sought
  SizeBounds bounds{};
  struct Answer {
    bool is_known = false, holds = false;
    uint64_t sought_at = 0;
  };
  Answer signs[4];  ///< by Sign
};

/// A polynomial: terms in falling order of their atoms, the constant last, without factors of 0.
struct SizeExpr {
  ShapeEnv* env;
  SizeTerms terms;
  int64_t hint;
  uint32_t index;  ///< in the order in which expressions were made
  mutable SizeFacts facts = {};
};

/// Owns symbols and expressions, and keeps the guards. Thread-safe; not to be copied or moved.
class ShapeEnv : public std::enable_shared_from_this<ShapeEnv> {
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
  /// From now on a decision that would need a guard is an error: what was compiled is in use.
  void close() { is_closed_ = true; }
  /// Bounds that decisions narrowed, and guards, a line each.
  std::vector<std::string> guards() const;

  /// What an expression's terms are numbered by.
  SizeAtom atom(uint32_t number) const {
    const std::scoped_lock lock(mutex_);
    return atoms_[number];
  }
  /// ShapeError where it overflows.
  int64_t evaluate(SymInt x, std::span<const int64_t> values) const;
  std::string to_text(SymInt x) const;

 private:
  friend class SymInt;
  friend SymInt floor_div(SymInt, SymInt);
  friend SymInt floor_mod(SymInt, SymInt);
  friend bool is_multiple(SymInt, SymInt);
  friend SymInt common_divisor(SymInt, SymInt);
  friend SymInt max(SymInt, SymInt);
  friend SymInt min(SymInt, SymInt);

  using Terms = SizeTerms;
  struct Guard {
    SymInt x;
    Sign sign;
  };
  struct Parts {
    SymInt quotient, rest;
  };

  static ShapeEnv& of(SymInt a, SymInt b);
  static Terms terms_of(SymInt x);

  /// What `compute` gives, once for each operation and pair of operands.
  enum class Operation : uint8_t { Sum, Product, Quotient, Rest, Max, Min };
  template <class Compute>
  SymInt once(Operation operation, SymInt a, SymInt b, Compute compute);
  SymInt intern(Terms terms);
  SymInt intern_atom(SizeAtom atom);
  SymInt sum(SymInt a, SymInt b);
  SymInt product(SymInt a, SymInt b);
  /// a = quotient * b + rest, as far as polynomials divide.
  Parts divided(SymInt a, SymInt b);
  SymInt quotient(SymInt a, SymInt b, bool wants_rest);
  SymInt new_quotient(SymInt a, SymInt b, bool wants_rest);
  SymInt extreme(SymInt a, SymInt b, AtomOf kind);
  SymInt new_extreme(SymInt a, SymInt b, AtomOf kind);
  bool divides(SymInt a, SymInt b);
  SymInt common(SymInt a, SymInt b);

  SizeBounds bounds(SymInt x) const;
  int64_t low(SymInt x) const { return bounds(x).low; }
  int64_t high(SymInt x) const { return bounds(x).high; }
  int64_t low_of(const Terms& terms, int depth = 0) const;
  SizeBounds interval(const Terms& terms) const;
  std::optional<int64_t> low_by_shift(const Terms& terms) const;
  int64_t multiple_of_divisors(const Terms& terms) const;
  std::optional<int64_t> low_by_quotients(const Terms& terms, int64_t multiple) const;
  std::optional<int64_t> low_by_extremes(const Terms& terms, int depth) const;
  std::optional<bool> proven(SymInt x, Sign sign);
  std::optional<bool> prove(SymInt x, Sign sign);
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
  struct Computation {
    Operation operation;
    int64_t a, b;
    bool operator==(const Computation&) const = default;
  };
  struct HashOfComputation {
    size_t operator()(const Computation& c) const;
  };
  std::unordered_map<Computation, SymInt, HashOfComputation> results_;
  uint64_t knowledge_ = 1;  ///< how often bounds or guards were added to
  std::vector<Guard> guards_;
  std::atomic<bool> is_closed_{false};
};

}  // namespace coregrad
