#include "runtime/cpu_placement.h"

#include <mutex>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace coregrad {

#if defined(__linux__)

struct CpuPlacement::State {
  std::mutex mutex;
  pid_t thread = 0;  ///< 0: nobody is attached
  cpu_set_t own;     ///< the mask without our doing
};

int current_cpu() { return sched_getcpu(); }

void CpuPlacement::attach() {
  const std::lock_guard lock(state_->mutex);
  avoided_.store(-1);
  // A machine with more CPUs than the set holds is refused here, and nothing is ever moved.
  const bool known = sched_getaffinity(0, sizeof(cpu_set_t), &state_->own) == 0;
  state_->thread = known ? static_cast<pid_t>(syscall(SYS_gettid)) : 0;
}

void CpuPlacement::detach() {
  const std::lock_guard lock(state_->mutex);
  state_->thread = 0;
}

void CpuPlacement::avoid(int cpu) {
  if (cpu < 0 || avoided_.load(std::memory_order_relaxed) == cpu) return;
  const std::unique_lock lock(state_->mutex, std::try_to_lock);
  if (!lock.owns_lock() || state_->thread == 0) return;
  cpu_set_t now;
  if (sched_getaffinity(state_->thread, sizeof(now), &now) != 0) return;
  cpu_set_t expected = state_->own;
  if (const int before = avoided_.load(); before >= 0)
    CPU_CLR(static_cast<size_t>(before), &expected);
  if (!CPU_EQUAL(&now, &expected)) state_->own = now;  // somebody else's wish
  cpu_set_t wanted = state_->own;
  CPU_CLR(static_cast<size_t>(cpu), &wanted);
  if (CPU_COUNT(&wanted) == 0) return;
  if (sched_setaffinity(state_->thread, sizeof(wanted), &wanted) == 0) avoided_.store(cpu);
}

#else

struct CpuPlacement::State {};
int current_cpu() { return -1; }
void CpuPlacement::attach() {}
void CpuPlacement::detach() {}
void CpuPlacement::avoid(int) {}

#endif

CpuPlacement::CpuPlacement() : state_(std::make_unique<State>()) {}
CpuPlacement::~CpuPlacement() = default;

}  // namespace coregrad
