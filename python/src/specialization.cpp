#include "specialization.h"

#include "base/log.h"
#include "runtime/background_thread.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>

namespace coregrad::python {
namespace {

namespace nb = nanobind;

/// Of specialised programs that one template has at a time.
constexpr int64_t kMaxBytes = 64 << 20;

}  // namespace

/// One compilation. It owns Python's objects (the functions of external steps), so the last owner
/// must have the GIL: `jobs` keeps it until then.
struct Specialization::Job {
  std::shared_ptr<const SpecializationSource> source;
  std::vector<int64_t> values;
  std::unique_ptr<const Executable> made;
  std::atomic<bool> is_done{false};  ///< `made` is there, or null if it could not be made
  std::atomic<bool> is_wanted{true};

  int64_t bytes() const { return made->bytes() + kCodeBytes; }
  void run() {
    try {
      if (is_wanted)
        made =
            make_plan_executable(source->specializer.compile_for(values).plan, source->max_threads);
    } catch (const std::exception& error) {
      log().debug("no program for one set of sizes: {}", error.what());
    }
    is_done.store(true, std::memory_order_release);
  }

  /// Those that may still be running. The GIL guards it.
  static std::vector<std::shared_ptr<Job>>& all() {
    static auto* const jobs = new std::vector<std::shared_ptr<Job>>;  // as the thread, for ever
    return *jobs;
  }
};

double SpecializationStats::speedup() const {
  return kept == 0 ? 1 : std::exp(log_speedups / static_cast<double>(kept));
}

void Specialization::Times::add(double time) {
  if (!is_full()) ns[count++] = time;
}

double Specialization::Times::median() const {
  std::array<double, kRuns> sorted = ns;
  const auto middle = sorted.begin() + kRuns / 2;
  std::ranges::nth_element(sorted, middle);
  return *middle;
}

Specialization::Specialization(std::shared_ptr<const SpecializationSource> source,
                               std::span<const int64_t> values)
    : source_(std::move(source)), values_(values.begin(), values.end()) {}

Specialization::~Specialization() {
  if (job_) job_->is_wanted = false;
  if (special_ != nullptr) source_->stats->bytes -= job_->bytes();
}

const Executable& Specialization::choose(const Executable& general) {
  if (state_ == State::Asked && job_->is_done.load(std::memory_order_acquire)) {
    special_ = job_->made.get();
    state_ = State::Settled;
    if (special_ != nullptr) {
      state_ = State::Measuring;
      ++source_->stats->made;
      source_->stats->bytes += job_->bytes();
    }
  }
  if (state_ == State::Measuring) is_turn_of_special_ = !is_turn_of_special_;
  return is_turn_of_special_ ? *special_ : general;
}

void Specialization::count(const Executable& ran, double ns) {
  switch (state_) {
    case State::Counting:
      total_ns_ += ns;
      if (total_ns_ >= source_->compile_ns) ask();
      return;
    case State::Asked:
    case State::Settled:
      return;
    case State::Measuring:
      (&ran == special_ ? special_times_ : general_times_).add(ns);
      if (special_times_.is_full() && general_times_.is_full()) compare();
      return;
  }
}

void Specialization::ask() {
  if (source_->stats->bytes >= kMaxBytes) {
    state_ = State::Settled;
    return;
  }
  ++source_->stats->asked;
  state_ = State::Asked;
  job_ = std::make_shared<Job>(source_, values_);
  std::erase_if(Job::all(), [](const std::shared_ptr<Job>& job) { return job->is_done.load(); });
  Job::all().push_back(job_);
  BackgroundThread::global().submit([job = job_.get()] { job->run(); });
}

void Specialization::compare() {
  const double speedup = general_times_.median() / special_times_.median();
  SpecializationStats& stats = *source_->stats;
  ++stats.measured;
  state_ = State::Settled;
  // Where it is not kept, a run on another thread may still be in it: its job stays.
  is_turn_of_special_ = speedup >= 1;
  if (!is_turn_of_special_) return;
  ++stats.kept;
  stats.log_speedups += std::log(speedup);
}

void Specialization::stop() {
  {
    const nb::gil_scoped_release release;
    BackgroundThread::global().stop();
  }
  Job::all().clear();
}

void Specialization::finish() {
  const nb::gil_scoped_release release;
  BackgroundThread::global().wait();
}

}  // namespace coregrad::python
