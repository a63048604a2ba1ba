#include "runtime/cpu_count.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <vector>
#endif

namespace coregrad {
namespace {

int cpus_in_affinity_mask() {
#if defined(__linux__)
  // The kernel refuses a mask that is shorter than its own, so the mask grows until it fits.
  for (size_t cpus = 1024; cpus <= 1024 * 1024; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok) return std::max(count, 1);
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

#if defined(__linux__)
/// CPUs granted by "<quota> <period>" (version 2), or infinity.
double quota_in(const std::string& path) {
  std::ifstream file(path);
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return HUGE_VAL;
  const double value = std::strtod(quota.c_str(), nullptr);
  return value > 0 ? value / period : HUGE_VAL;
}

/// CPUs granted by the two files of version 1, or infinity.
double quota_in_v1(const std::string& folder) {
  std::ifstream quota_file(folder + "/cpu.cfs_quota_us"),
      period_file(folder + "/cpu.cfs_period_us");
  double quota = 0, period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0)
    return HUGE_VAL;
  return quota / period;
}

double cpus_in_quota() {
  const std::string root = "/sys/fs/cgroup";
  double cpus = std::min(quota_in(root + "/cpu.max"), quota_in_v1(root + "/cpu"));
  // Every level above this process's group may set a quota; the smallest one counts.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::")) continue;
    std::string path = line.substr(3);
    while (path.size() > 1) {
      cpus = std::min(cpus, quota_in(root + path + "/cpu.max"));
      path.resize(path.find_last_of('/'));
    }
  }
  return cpus;
}
#endif

}  // namespace

int usable_cpus() {
  const int cpus = cpus_in_affinity_mask();
#if defined(__linux__)
  const double quota = cpus_in_quota();
  if (quota < cpus) return std::max(1, static_cast<int>(std::ceil(quota)));
#endif
  return cpus;
}

}  // namespace coregrad
