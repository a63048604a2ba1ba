// Few buffers: greedy by size, the largest first, each at the lowest offset that is free over its
// whole lifetime. Very many: in the order of the steps, each in the smallest hole that is free at
// its start.

#include "compile/memory_plan.h"

#include "base/checked.h"
#include "runtime/guarded_memory.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

namespace coregrad {

namespace {

constexpr size_t kManyBuffers = 2000;

int64_t padded(int64_t bytes) { return round_up(std::max<int64_t>(bytes, 1), 64); }

/// Holes below the end of the block, by offset and by size.
class Holes {
 public:
  int64_t take(int64_t bytes, int64_t& end) {
    const auto best = by_size_.lower_bound({bytes, 0});
    if (best == by_size_.end()) {
      const int64_t offset = end;
      end = checked_add(end, bytes, "memory plan");
      return offset;
    }
    const auto [size, offset] = *best;
    remove(offset, size);
    if (size > bytes) insert(offset + bytes, size - bytes);
    return offset;
  }
  void give(int64_t offset, int64_t bytes) {
    const auto after = by_offset_.lower_bound(offset);
    if (after != by_offset_.end() && after->first == offset + bytes) {
      const int64_t size = after->second;
      remove(offset + bytes, size);
      bytes += size;
    }
    const auto next = by_offset_.lower_bound(offset);
    if (next != by_offset_.begin()) {
      const auto [start, size] = *std::prev(next);
      if (start + size == offset) {
        remove(start, size);
        offset = start;
        bytes += size;
      }
    }
    insert(offset, bytes);
  }

 private:
  void insert(int64_t offset, int64_t size) {
    by_offset_.emplace(offset, size);
    by_size_.emplace(size, offset);
  }
  void remove(int64_t offset, int64_t size) {
    by_offset_.erase(offset);
    by_size_.erase({size, offset});
  }
  std::map<int64_t, int64_t> by_offset_;
  std::set<std::pair<int64_t, int64_t>> by_size_;
};

MemoryPlan plan_in_step_order(const std::vector<Lifetime>& lifetimes) {
  MemoryPlan plan;
  plan.offsets.assign(lifetimes.size(), 0);
  std::vector<size_t> starts(lifetimes.size()), ends(lifetimes.size());
  std::iota(starts.begin(), starts.end(), size_t{0});
  std::iota(ends.begin(), ends.end(), size_t{0});
  std::ranges::stable_sort(starts, {}, [&](size_t i) { return lifetimes[i].first_step; });
  std::ranges::stable_sort(ends, {}, [&](size_t i) { return lifetimes[i].last_step; });
  Holes holes;
  size_t gone = 0;
  for (size_t i : starts) {
    for (; lifetimes[ends[gone]].last_step < lifetimes[i].first_step; ++gone)
      holes.give(plan.offsets[ends[gone]], padded(lifetimes[ends[gone]].bytes));
    plan.offsets[i] = holes.take(padded(lifetimes[i].bytes), plan.total_bytes);
  }
  return plan;
}

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes) {
  if (lifetimes.size() > kManyBuffers) return plan_in_step_order(lifetimes);
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
    const int64_t bytes = padded(life.bytes);
    busy.clear();
    for (size_t p : placed) {
      const Lifetime& other = lifetimes[p];
      if (other.first_step <= life.last_step && life.first_step <= other.last_step)
        busy.emplace_back(plan.offsets[p], plan.offsets[p] + padded(other.bytes));
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

MemoryPlan plan_guarded_memory(const std::vector<Lifetime>& lifetimes) {
  MemoryPlan plan;
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    const int64_t bytes = lifetimes[i].bytes;
    plan.offsets.push_back(
        checked_add(plan.total_bytes, guarded_offset(bytes, i % 2 == 0), "memory plan"));
    plan.guard_pages.push_back(checked_add(plan.total_bytes, guarded_pages(bytes), "memory plan"));
    plan.total_bytes = checked_add(plan.guard_pages.back(), page_bytes(), "memory plan");
  }
  return plan;
}

}  // namespace coregrad
