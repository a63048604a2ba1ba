#pragma once
// Programs for one set of sizes, which take the place of those for all sizes where these run often.

#include "compile/specializer.h"

#include "executable.h"
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace coregrad::python {

/// What became of a template's programs. The GIL guards it.
struct SpecializationStats {
  int64_t asked = 0;  ///< programs that ran often enough
  int64_t made = 0;   ///< of those, that were specialised
  int64_t measured = 0;
  int64_t kept = 0;         ///< of those measured, that were no slower for it
  double log_speedups = 0;  ///< sum over those that were kept
  int64_t bytes = 0;        ///< of all that is there now

  /// How much faster those that were kept became, on average; 1 if there is none.
  double speedup() const;
};

/// What specialising takes; of one template.
struct SpecializationSource {
  Specializer specializer;
  int max_threads;
  double compile_ns;  ///< of the template: about what a program will take
  std::shared_ptr<SpecializationStats> stats;
};

/// Chooses what one program runs. The GIL guards it.
class Specialization {
 public:
  Specialization(std::shared_ptr<const SpecializationSource> source,
                 std::span<const int64_t> values);
  ~Specialization();
  Specialization(const Specialization&) = delete;
  Specialization& operator=(const Specialization&) = delete;

  /// What runs in the place of `general`: that itself, or what is for these sizes alone. They take
  /// turns until it is known which of them is faster.
  const Executable& choose(const Executable& general);
  /// What `ran` took. Once all runs together took as long as compiling does, the other one is made,
  /// in the background.
  void count(const Executable& ran, double ns);

  /// Ends what is compiled in the background, for good.
  static void stop();
  /// Waits for it; lets the GIL go.
  static void finish();

 private:
  struct Job;
  enum class State : uint8_t { Counting, Asked, Measuring, Settled };
  static constexpr size_t kRuns = 31;  ///< whose median is compared

  /// The times of some runs.
  struct Times {
    std::array<double, kRuns> ns{};
    size_t count = 0;
    bool is_full() const { return count == kRuns; }
    void add(double time);
    double median() const;
  };

  void ask();
  void compare();

  std::shared_ptr<const SpecializationSource> source_;
  std::vector<int64_t> values_;
  State state_ = State::Counting;
  double total_ns_ = 0;
  bool is_turn_of_special_ = false;
  Times general_times_, special_times_;
  std::shared_ptr<Job> job_;
  const Executable* special_ = nullptr;  ///< the job's
};

}  // namespace coregrad::python
