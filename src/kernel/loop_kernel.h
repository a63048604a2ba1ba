#pragma once
// LoopKernel: what the code generator turns into machine code. A loop nest with a list of values.
//
// Shape of every kernel:
//
//   for unit in [begin, end):                      the parallel axes, flattened, last one in blocks
//     values that depend on parallel axes only     (pass 0)
//     for each pass k = 0, 1, ..:
//       one loop nest over each loop set: loads, arithmetic, the reductions and stores of pass k
//       then the parallel-level values and stores that the reductions of pass k make possible
//
// A value's axes follow from its operands and index expressions. A reduction consumes a value that
// varies over one loop set and gives a value that varies over parallel axes only; its pass is one
// more than its operand's. A loop value of an earlier pass that a later pass needs again is emitted
// again, unless `keep` says that it is written to a per-worker row in scratch and read back.
//
// The lane axis is the one that vectors run along: either the innermost axis of the loop sets ("row
// mode": the last axis of every loop set; reductions keep vector accumulators and combine their
// lanes at the end) or the last parallel axis ("lane-parallel mode": every lane is its own row;
// plain elementwise kernels are this mode with no loop set).
//
// Accumulating stores serve reductions over parallel axes: each chunk of units owns one row of a
// partial buffer, which it first fills with the identity; a later step combines the rows.

#include "coregrad/dtype.h"
#include "ir/op.h"
#include "kernel/index_expr.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coregrad {

struct LoopAxis {
  SymInt extent = 1;
  /// -1: parallel. Axes of one loop set are nested in the order of their numbers.
  int loop_set = -1;
};

enum class ValueKind : uint8_t {
  Literal,      ///< constant `literal` of `dtype`
  Index,        ///< `index` as a number of `dtype` (Int32 or Int64)
  InRange,      ///< bool: low <= index < high (in `bounds`)
  Load,         ///< element `index` of `buffer`; where operand 0 (a mask, optional) is false: zero
  Elementwise,  ///< `op` of the operands (unary, binary, compare, select, cast)
  Random,       ///< Philox of (operand 0: int64 seed, stream = literal.i, counter = index)
  CheckIndex,   ///< operand 0 is an int64 index for an extent `bounds.high`: gives it back, or 0
                ///< after reporting to RunStatus when it is outside [bounds.low, bounds.high).
                ///< Operand 1 (optional mask): lanes that do not count
  Reduce,       ///< `op` (a Family::Reduce op) of operand 0 over all axes of `loop_set`.
                ///< ArgMax/ArgMin give the position along the loop set's flattened axes
  Bound,        ///< supplied by whoever emits the kernel (a contraction's result)
};

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;

struct KernelValue {
  ValueKind kind;
  Op op = Op::Literal;
  DType dtype = DType::Float32;
  ValueId operands[3] = {kNoValue, kNoValue, kNoValue};
  IndexExpr index;  ///< in elements
  int buffer = -1;
  Scalar literal;
  Range bounds{0, 0};
  int loop_set = -1;  ///< Reduce
  bool keep = false;  ///< a loop value that is kept in scratch for later passes
};

/// Vector instructions that compute one vector of a value, roughly; 0 for what is loaded, counted
/// or reduced.
inline int computing_cost(const KernelValue& v) {
  if (v.kind == ValueKind::Random) return cost_of(Op::Random, v.dtype);
  return v.kind == ValueKind::Elementwise ? cost_of(v.op, v.dtype) : 0;
}

struct KernelBuffer {
  DType dtype;
  bool is_written = false;
  /// Stores should bypass the caches: there is much of it, and nobody reads it soon. Not the rows
  /// of accumulating stores.
  bool non_temporal = false;
  /// Written, and may be the memory of a read buffer that is read at the written element only.
  bool may_alias = false;
};

struct KernelStore {
  ValueId value;
  int buffer;
  IndexExpr index;
  /// Literal: a plain store. A Family::Reduce op (Sum, Prod, ReduceMax, ReduceMin): combine into
  /// the chunk's row of a partial buffer of `row_elements` elements; `index` is the place in the
  /// row.
  Op combine = Op::Literal;
  SymInt row_elements = 0;
};

struct LoopKernel {
  IndexContext context;
  std::vector<LoopAxis> axes;  ///< parallel axes first, outermost first; then the loop sets
  int num_parallel = 0;
  int num_loop_sets = 0;
  std::vector<KernelBuffer> buffers;  ///< in the order of the step's arguments
  std::vector<KernelValue> values;    ///< operands before users
  std::vector<KernelStore> stores;

  bool lane_parallel =
      true;           ///< lanes run along the last parallel axis instead of the loop sets' last
  int64_t block = 1;  ///< lane-parallel: elements of the last parallel axis in one unit
  SymInt chunk = 1;   ///< units per chunk (Step::chunk); accumulating stores rely on it
  /// Other extents of the outermost axis will follow: what it is comes with the call.
  bool any_size = false;

  /// Units of the whole kernel: product of the parallel extents, the last one counted in blocks
  /// when lane-parallel.
  SymInt range() const;
  /// Whether a size in it is a symbol's.
  bool has_symbols() const;
  /// Whether results of it are written once and not read again.
  bool can_stream() const;
  /// Makes such results bypass the caches.
  void stream();
  /// The same with other sizes: indices are simplified anew.
  LoopKernel with_sizes(const SizeFunction& value_of) const;
  std::string to_text() const;
  /// Everything the machine code depends on, as a string: equal keys give interchangeable code.
  std::string structure_key() const;
};

}  // namespace coregrad
