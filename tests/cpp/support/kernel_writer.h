#pragma once
// Loop kernels by hand. Descriptions alone.

#include "kernel/loop_kernel.h"

#include <algorithm>
#include <utility>

namespace coregrad::test {

/// Writes a LoopKernel down.
class KernelWriter {
 public:
  KernelWriter() = default;
  explicit KernelWriter(bool lane_parallel) { kernel.lane_parallel = lane_parallel; }

  /// The next axis; loop sets are numbered from 0.
  IndexExpr axis(int64_t extent, int loop_set = -1) {
    kernel.axes.push_back({extent, loop_set});
    if (loop_set < 0) ++kernel.num_parallel;
    kernel.num_loop_sets = std::max(kernel.num_loop_sets, loop_set + 1);
    return kernel.context.axis(static_cast<int>(kernel.axes.size()) - 1, extent);
  }
  int input(DType dtype) {
    kernel.buffers.push_back({dtype});
    return static_cast<int>(kernel.buffers.size()) - 1;
  }
  int output(DType dtype) {
    kernel.buffers.push_back({dtype, true});
    return static_cast<int>(kernel.buffers.size()) - 1;
  }
  ValueId add(KernelValue v) {
    kernel.values.push_back(std::move(v));
    return static_cast<ValueId>(kernel.values.size()) - 1;
  }
  ValueId load(int buffer, const IndexExpr& index, ValueId mask = kNoValue) {
    KernelValue v{.kind = ValueKind::Load,
                  .dtype = kernel.buffers[static_cast<size_t>(buffer)].dtype};
    v.index = index;
    v.buffer = buffer;
    v.operands[0] = mask;
    return add(v);
  }
  ValueId literal(DType dtype, double x) {
    KernelValue v{.kind = ValueKind::Literal, .dtype = dtype};
    v.literal = Scalar::of(dtype, x);
    return add(v);
  }
  ValueId index(const IndexExpr& e, DType dtype = DType::Int64) {
    KernelValue v{.kind = ValueKind::Index, .dtype = dtype};
    v.index = e;
    return add(v);
  }
  ValueId in_range(const IndexExpr& e, int64_t low, int64_t high) {
    KernelValue v{.kind = ValueKind::InRange, .dtype = DType::Bool};
    v.index = e;
    v.bounds = {low, high};
    return add(v);
  }
  ValueId op(Op o, DType dtype, ValueId a, ValueId b = kNoValue, ValueId c = kNoValue) {
    KernelValue v{.kind = ValueKind::Elementwise, .op = o, .dtype = dtype};
    v.operands[0] = a, v.operands[1] = b, v.operands[2] = c;
    return add(v);
  }
  ValueId check(ValueId a, int64_t extent, ValueId mask = kNoValue) {
    KernelValue v{.kind = ValueKind::CheckIndex, .dtype = DType::Int64};
    v.operands[0] = a, v.operands[1] = mask;
    v.bounds = {0, extent};
    return add(v);
  }
  ValueId reduce(Op o, DType dtype, ValueId a, int loop_set = 0) {
    KernelValue v{.kind = ValueKind::Reduce, .op = o, .dtype = dtype};
    v.operands[0] = a;
    v.loop_set = loop_set;
    return add(v);
  }
  void store(ValueId value, int buffer, const IndexExpr& index) {
    kernel.stores.push_back({value, buffer, index});
  }
  void combine(Op o, ValueId value, int buffer, const IndexExpr& index, int64_t row_elements) {
    kernel.stores.push_back({value, buffer, index, o, row_elements});
  }
  IndexExpr sum(const IndexExpr& a, const IndexExpr& b) { return kernel.context.add(a, b); }
  IndexExpr times(const IndexExpr& a, int64_t n) { return kernel.context.mul(a, n); }
  IndexExpr plus(const IndexExpr& a, int64_t n) {
    return kernel.context.add(a, IndexContext::constant(n));
  }

  LoopKernel kernel;
};

}  // namespace coregrad::test
