#pragma once
// Every environment variable the library reads, in one place, read once per process.

#include <string>
#include <string_view>
#include <vector>

namespace coregrad {

/// What runs a graph: a compiled plan, one with a kernel for each node and no optimisation, or the
/// slow reference interpreter. The last two are for debugging.
enum class Executor { Plan, Unfused, Interpreter };

/// From "plan", "unfused" or "interpreter"; ValueError that begins with `what` for anything else.
Executor parse_executor(std::string_view text, std::string_view what);

struct Flags {
  /// COREGRAD_DEBUG: 1 evaluations and cache hits, 2 a line a step with rates, 3 the graph after
  /// each pass that changed it, 4 LLVM IR, 5 assembly. Each level includes the ones below.
  int debug = 0;
  /// COREGRAD_VALIDATE=1: recompute each step with the reference interpreter and compare.
  bool validate = false;
  /// COREGRAD_EXECUTOR: of native tensors. The PyTorch backend reads the same variable.
  Executor executor = Executor::Plan;
  /// COREGRAD_TRACE: file that receives a Chrome/Perfetto trace of steps and compile phases.
  std::string trace_file;
  /// COREGRAD_NUM_THREADS: team size; 0 means the number of CPUs this process may run on.
  int num_threads = 0;
  /// COREGRAD_ISA: "amx", "avx512", "avx2", "neon" or "generic" in place of what the host offers.
  std::string isa;
  /// COREGRAD_MACHINE: "tiny", or caches, threads and thresholds by name (kernel/target.h), in
  /// place of the host's. For tests.
  std::string machine;
  /// COREGRAD_CHECK_MEMORY=1: every buffer ends at a page that cannot be touched, and each aligned
  /// access of a kernel is checked. For tests.
  bool check_memory = false;
  /// COREGRAD_DISABLE_PASSES: comma-separated pass names the pipeline skips.
  std::vector<std::string> disabled_passes;
  /// COREGRAD_DUMP: directory that receives graphs (text, DOT) and plans as files.
  std::string dump_dir;
};

/// The process's flags. Environment variables are ignored in a set-user-id process.
const Flags& flags();

/// Replaces the flags for tests; returns what they were.
Flags set_flags_for_test(Flags replacement);

}  // namespace coregrad
