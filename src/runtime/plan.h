#pragma once
// A plan: what the compiler makes of a graph. Immutable and flat; knows nothing of graphs.
//
// A plan is a list of steps over numbered buffer slots. Inputs and outputs are bound by the caller
// of each run; temporaries lie at fixed offsets in one block per run.

#include "base/shared_string.h"

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

/// What kernels report while they run; read by the executor after the last step.
struct RunStatus {
  int64_t bad_index = 0;                 ///< first element index found out of range
  int64_t bad_extent = -1;               ///< its dimension's extent; -1: no error
  const char* bad_operation = "gather";  ///< whose index it is; machine code gathers only
  std::exception_ptr error;  ///< first exception of an external step; the ones behind it do nothing
};

/// Everything a step function gets. Pointers are valid for the duration of the call.
struct StepArgs {
  void* const* buffers;   ///< one pointer per step argument
  const int64_t* params;  ///< the step's integers (run-time extents)
  void* scratch;  ///< this worker's scratch block, Step::scratch_bytes long, 64-byte aligned
  RunStatus* status;
  const void* context;  ///< Step::context
};

/// The one signature of all steps: does units [begin, end) of the step's range, which are one chunk
/// of it in every call, however many threads there are: a reduction in parts finds the row of its
/// part by the number of the chunk.
using StepFunction = void (*)(const StepArgs* args, int64_t begin, int64_t end, int worker);

struct SlotId {
  uint32_t value = UINT32_MAX;
  constexpr bool is_valid() const { return value != UINT32_MAX; }
  constexpr auto operator<=>(const SlotId&) const = default;
};

enum class SlotKind : uint8_t { Input, Output, Temporary };

struct Slot {
  SlotKind kind;
  int64_t index;  ///< input or output number; byte offset of a temporary in its block
  int64_t bytes;
  int64_t offset = 0;  ///< bytes from the start of an input or output
};

enum class StepKind : uint8_t { Loop, Contract, Copy, Library, External };

struct Step {
  StepFunction function = nullptr;
  const void* context = nullptr;  ///< kept alive by Plan::keep_alive
  StepKind kind = StepKind::Loop;
  uint32_t first_arg = 0, num_args = 0;      ///< into Plan::args
  uint32_t first_param = 0, num_params = 0;  ///< into Plan::params
  int64_t range = 1;                         ///< units of work
  int64_t chunk = 1;          ///< units claimed at a time; never depends on the number of threads
  int64_t scratch_bytes = 0;  ///< per worker
  double flops = 0;           ///< for reports
  double bytes = 0;           ///< read and written, for reports
  double cost_ns = 0;         ///< estimate for one thread; small steps stay on the calling thread
  SharedString name;          ///< for reports and traces
};

/// Sums over a plan's steps, so that a run need not look at each of them.
struct PlanTotals {
  double flops = 0, bytes = 0, cost_ns = 0;
  double shared_cost_ns = 0;   ///< of the steps offered to the team
  int64_t parallel_steps = 0;  ///< how many those are
  int64_t chunks = 0;          ///< and theirs
  bool has_external = false;
};

class StepObserver;  // runtime/executor.h

struct Plan {
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<SlotId> args;
  std::vector<int64_t> params;
  int64_t num_inputs = 0, num_outputs = 0;
  int64_t temporary_bytes = 0;
  int64_t max_scratch_bytes = 0;
  /// Steps of less are not worth a hand-over to a spinning worker, whose cache lacks the data.
  double serial_cost_ns = 5000;
  /// Offsets in the block of temporaries of pages that nothing may touch (COREGRAD_CHECK_MEMORY).
  std::vector<int64_t> guard_pages;
  std::vector<std::shared_ptr<const void>> keep_alive;  ///< machine code and step contexts
  /// The user's operators that gather, for error messages.
  std::vector<SharedString> gathering;
  /// Looks at every run that names no observer of its own (COREGRAD_VALIDATE).
  std::shared_ptr<StepObserver> observer;
  /// total_up() of the steps, once they are final; without it every run sums up anew.
  std::optional<PlanTotals> totals;

  std::span<const SlotId> args_of(const Step& s) const {
    return {args.data() + s.first_arg, s.num_args};
  }
  std::span<const int64_t> params_of(const Step& s) const {
    return {params.data() + s.first_param, s.num_params};
  }
};

/// What a plan takes of memory, without what it shares with others.
int64_t bytes_of(const Plan& plan);

/// One line a step: for COREGRAD_DEBUG and dumps.
std::string to_text(const Plan& plan);

}  // namespace coregrad
