#pragma once
// The enumeration of primitives and their attributes, from ops.def.

#include "coregrad/dtype.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace coregrad {

enum class Op : uint8_t {
#define COREGRAD_OP(Name, Family, text, arity, cost) Name,
#include "ir/ops.def"
#undef COREGRAD_OP
};

enum class Family : uint8_t {
  Leaf,
  Random,
  Unary,
  Binary,
  Compare,
  Select,
  Cast,
  View,
  Reduce,
  Contract,
  Gather,
  Scatter,
  Scan,
  Library,
  External,
};

struct OpInfo {
  std::string_view name;
  Family family;
  int arity;  ///< -1: any number of operands
  int cost;   ///< see ops.def
};

inline constexpr OpInfo kOpInfo[] = {
#define COREGRAD_OP(Name, Family_, text, arity, cost) {text, Family::Family_, arity, cost},
#include "ir/ops.def"
#undef COREGRAD_OP
};
inline constexpr int kNumOps = static_cast<int>(std::size(kOpInfo));

constexpr const OpInfo& info(Op op) { return kOpInfo[static_cast<size_t>(op)]; }
constexpr Family family_of(Op op) { return info(op).family; }
constexpr std::string_view name_of(Op op) { return info(op).name; }
/// Vector instructions for a vector of results, roughly.
constexpr int cost_of(Op op, DType dtype) {
  // Processors have no vector division of integers.
  return (op == Op::Div || op == Op::Rem) && !is_float(dtype) ? 20 : info(op).cost;
}

/// Unary, binary, compare, select and cast: one result element from one element of each operand.
constexpr bool is_elementwise(Op op) {
  const Family f = family_of(op);
  return f == Family::Unary || f == Family::Binary || f == Family::Compare || f == Family::Select ||
         f == Family::Cast;
}
/// Unary ops that take a series of instructions (Exp .. Erf; not Neg, Abs, Floor and such, which
/// are one).
constexpr bool is_math_unary(Op op) {
  return family_of(op) == Family::Unary && op >= Op::Exp && op <= Op::Erf;
}
/// A view with one operand, whose elements are the operand's elements (or the fill of a pad).
constexpr bool is_index_map(Op op) { return family_of(op) == Family::View && op != Op::Concat; }
constexpr bool is_reduce(Op op) { return family_of(op) == Family::Reduce; }
constexpr bool is_commutative(Op op) {
  return op == Op::Add || op == Op::Mul || op == Op::Max || op == Op::Min || op == Op::And ||
         op == Op::Or || op == Op::Xor || op == Op::Eq || op == Op::Ne;
}

/// What Op::Scatter does where several values meet one element, in index order.
enum class ScatterMode : int64_t { Set, Add, Mul, Max, Min };

}  // namespace coregrad
