// Greedy by size: the largest buffer first, each at the lowest offset free over its whole lifetime.

#include "compile/memory_plan.h"

#include "base/checked.h"

#include <algorithm>
#include <numeric>

namespace coregrad {

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes) {
  MemoryPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return lifetimes[a].bytes != lifetimes[b].bytes ? lifetimes[a].bytes > lifetimes[b].bytes
                                                    : a < b;
  });
  std::vector<size_t> placed;
  std::vector<std::pair<int64_t, int64_t>>
      busy;  // [offset, end) of what is alive with the candidate
  for (size_t i : order) {
    const Lifetime& life = lifetimes[i];
    const int64_t bytes = round_up(std::max<int64_t>(life.bytes, 1), 64);
    busy.clear();
    for (size_t p : placed) {
      const Lifetime& other = lifetimes[p];
      if (other.first_step <= life.last_step && life.first_step <= other.last_step)
        busy.emplace_back(plan.offsets[p],
                          plan.offsets[p] + round_up(std::max<int64_t>(other.bytes, 1), 64));
    }
    std::sort(busy.begin(), busy.end());
    int64_t offset = 0;
    for (const auto& [start, end] : busy) {
      if (offset + bytes <= start) break;
      offset = std::max(offset, end);
    }
    plan.offsets[i] = offset;
    plan.total_bytes = std::max(plan.total_bytes, checked_add(offset, bytes, "memory plan"));
    placed.push_back(i);
  }
  return plan;
}

}  // namespace coregrad
