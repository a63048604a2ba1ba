#pragma once
// The emitter of whole loop kernels; internal to loop_*.cpp. Start reading at `run`.
//
//   run           arguments, partial rows, then for_units                        (loop_emitter.cpp)
//   for_units     the parallel axes; lane-parallel kernels go on to for_lanes
//   level_body    one unit, or one group of lanes: passes, nests, then stores
//   for_lanes     vectors along an axis and what is left of it                    (loop_lanes.cpp)
//   emit_nest     loops over a loop set; row-mode kernels end in row_lanes        (loop_nest.cpp)
//   emit_stores   plain and accumulating stores                                   (loop_stores.cpp)
//
// A `Group` is the set of value emitters that stand at the parallel level side by side: one in row
// mode (scalars), one a vector in lane-parallel mode. They walk the loop sets in step.

#include "codegen/ir/step_params.h"
#include "codegen/loops/loop_accumulator.h"
#include "codegen/values/value_emitter.h"
#include "kernel/loop_kernel.h"
#include "kernel/target.h"
#include "schedule/loop_schedule.h"

#include <llvm/IR/IRBuilder.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace coregrad {

/// Bytes that the pointers of buffers are multiples of where a kernel's stores bypass the caches.
inline constexpr int64_t kStreamAlignment = 64;

class KernelEmitter {
 public:
  KernelEmitter(llvm::Function* function, const LoopKernel& kernel, const LoopSchedule& schedule,
                const Target& target, bool streams)
      : function_(function),
        kernel_(kernel),
        schedule_(schedule),
        target_(target),
        streams_(streams),
        builder_(llvm::BasicBlock::Create(function->getContext(), "entry", function)),
        axis_values_(kernel.axes.size(), builder_.getInt64(0)),
        // Without cheap masks (AVX2 has them for 4 and 8 bytes) the rest of a row goes one by one.
        masked_rest_(target.has_masks || target.isa == Isa::Avx2) {
    params_.start(function->getArg(0));
  }

  /// Writes the whole function.
  void run();
  const std::vector<SymInt>& params() const { return params_.values(); }

 private:
  using Value = llvm::Value;
  using Group = std::vector<ValueEmitter*>;
  using Sums = std::vector<std::unique_ptr<Accumulator>>;
  /// Where an accumulating store keeps its sum while loops run.
  enum class Place { Function, LaneLoop, Memory };
  struct Combine {
    size_t store;
    Place place;
    std::unique_ptr<Accumulator> accumulator;  ///< none for Memory
  };

  /// A loop of a loop set that runs in blocks of `block` turns. Behind each, float sums move from
  /// `level` to the one above.
  struct Cut {
    size_t position;  ///< of the loop's axis in the loop set; kLaneLoop: the lane loop of a row
    int64_t block;
    size_t level;
  };
  static constexpr size_t kLaneLoop = SIZE_MAX;

  // Structure
  void read_arguments();
  void fill_partial_rows();
  void for_units();
  int rows_at_once() const;
  void unit(Value* number, int rows);
  /// Whether the axis of lanes is known to be one block.
  bool fits_one_block(int axis) const {
    const SymInt extent = kernel_.axes[axis].extent;
    return extent.is_number() && extent.number() <= kernel_.block;
  }
  void level_body(Group& outer, int axis, int copies, Value* base, const VectorLane& lane);
  void inside_and_at_borders(Group& rows, int axis, int vectors, Value* base, VectorLane lane,
                             const std::function<void(const VectorLane&)>& body);
  void passes(Group& group);
  void emit_nest(Group& group, const LoopNest& nest);
  void row_lanes(ValueEmitter& at, const LoopNest& nest, Sums& sums);
  void nest_body(Group& group, const LoopNest& nest, Sums& sums, int first_slot);

  // Loops
  using Body = std::function<void(Value*)>;
  /// first, first + step, .. below end; runs at least once.
  void loop(Value* first, Value* end, int64_t step, const Body& body);
  /// The same in blocks within blocks, with a flush behind each as `cuts` (the innermost first)
  /// say.
  void blocked_loop(Value* first, Value* end, int64_t step, std::span<const Cut> cuts,
                    const Body& body);
  /// The lane loop over [begin, end) of `axis`: `body(copies, base, lane)` emits `copies` vectors.
  using LaneBody = std::function<void(int copies, Value* base, const VectorLane& lane)>;
  void for_lanes(ValueEmitter& at, int axis, Value* begin, Value* end, bool aligned, double cost,
                 int unroll, const LaneBody& body);
  void static_lanes(ValueEmitter& at, int axis, Value* begin, int64_t count, bool aligned,
                    double cost, int unroll, const LaneBody& body);
  Value* lane_mask(Value* remaining);
  bool may_repeat_lanes(double cost) const;

  void plan_cuts(const LoopNest& nest, Sums& sums);
  std::span<const Cut> cuts_of(size_t position) const;

  // Stores
  void plan_combines();
  Combine* combine_of(size_t store);
  void start_lane_sums(const std::vector<size_t>& stores);
  void finish_lane_sums(ValueEmitter& at, const std::vector<size_t>& stores);
  void emit_stores(Group& group, const std::vector<size_t>& stores, int first_slot,
                   int slot_step = 1);
  void emit_combine(ValueEmitter& at, size_t store, int slot);
  void combine_in_memory(ValueEmitter& at, const KernelStore& store, Value* value);

  // Loop positions
  Value* loop_position(int loop_set, const VectorLane& lane, llvm::Type* type);
  Value* kept_address(ValueId value, int slot);
  llvm::Type* kept_type(ValueId id, int width);
  bool has_varying_values(const ValueEmitter& at, const IndexExpr& index) const;

  const KernelValue& value(ValueId id) const { return kernel_.values[id]; }
  Value* number(int64_t n) { return builder_.getInt64(static_cast<uint64_t>(n)); }
  Value* size(SymInt n) { return params_.size(n); }
  void set_axis(ValueEmitter& at, int axis, llvm::Value* v) {
    at.set_axis(axis, v);
    axis_values_[axis] = v;
  }

  /// The extent of the only parallel axis comes with the call, though it is a number.
  bool has_open_extent() const {
    return kernel_.any_size && kernel_.lane_parallel && kernel_.num_parallel == 1 &&
           kernel_.axes[0].extent > 1;
  }

  llvm::Function* function_;
  const LoopKernel& kernel_;
  const LoopSchedule& schedule_;
  const Target& target_;
  bool streams_;  ///< the call has seen that non_temporal buffers are multiples of kStreamAlignment
  llvm::IRBuilder<> builder_;
  std::vector<Value*> axis_values_;
  bool masked_rest_;
  std::vector<llvm::AllocaInst*> allocas_;
  std::vector<Value*> buffers_;
  Value *status_ = nullptr, *scratch_ = nullptr;
  std::optional<ValueEmitter> values_;
  std::vector<Combine> combines_;
  Sums* sums_ = nullptr;   ///< of the nest that is emitted
  std::vector<Cut> cuts_;  ///< of its loops, by level
  StepParams params_;
  Value *begin_ = nullptr, *end_ = nullptr;
};

}  // namespace coregrad
