// Few buffers: greedy by size, the largest first, each at the lowest offset that is free over its
// whole lifetime. Very many: in the order of the steps, each in the smallest hole that is free at
// its start.

#include "compile/memory_plan.h"

#include "base/checked.h"
#include "runtime/guarded_memory.h"

#include <algorithm>
#include <functional>
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

MemoryLayout::MemoryLayout(std::vector<Lifetime> lifetimes) : lifetimes_(std::move(lifetimes)) {
  if (lifetimes_.size() > kManyBuffers) return;
  order_.resize(lifetimes_.size());
  std::iota(order_.begin(), order_.end(), uint32_t{0});
  std::ranges::stable_sort(order_, std::greater(), [&](uint32_t i) { return lifetimes_[i].bytes; });
  for (size_t at = 0; at < order_.size(); ++at) {
    const Lifetime& life = lifetimes_[order_[at]];
    for (size_t before = 0; before < at; ++before) {
      const Lifetime& other = lifetimes_[order_[before]];
      if (other.first_step <= life.last_step && life.first_step <= other.last_step)
        together_.push_back(order_[before]);
    }
    ends_.push_back(static_cast<uint32_t>(together_.size()));
  }
}

MemoryPlan MemoryLayout::place(std::span<const int64_t> bytes) const {
  COREGRAD_CHECK(bytes.size() == lifetimes_.size());
  if (order_.empty() && !lifetimes_.empty()) {
    std::vector<Lifetime> sized = lifetimes_;
    for (size_t i = 0; i < sized.size(); ++i) sized[i].bytes = bytes[i];
    return plan_in_step_order(sized);
  }
  MemoryPlan plan;
  plan.offsets.assign(bytes.size(), 0);
  std::vector<std::pair<int64_t, int64_t>>
      busy;  // [offset, end) of what is alive with the candidate
  size_t next = 0;
  for (size_t at = 0; at < order_.size(); ++at) {
    const uint32_t i = order_[at];
    const int64_t size = padded(bytes[i]);
    busy.clear();
    for (; next < ends_[at]; ++next) {
      const uint32_t other = together_[next];
      busy.emplace_back(plan.offsets[other], plan.offsets[other] + padded(bytes[other]));
    }
    std::sort(busy.begin(), busy.end());
    int64_t offset = 0;
    for (const auto& [start, end] : busy) {
      if (offset + size <= start) break;
      offset = std::max(offset, end);
    }
    plan.offsets[i] = offset;
    plan.total_bytes = std::max(plan.total_bytes, checked_add(offset, size, "memory plan"));
  }
  return plan;
}

MemoryPlan plan_guarded_memory(std::span<const int64_t> bytes) {
  MemoryPlan plan;
  for (size_t i = 0; i < bytes.size(); ++i) {
    plan.offsets.push_back(
        checked_add(plan.total_bytes, guarded_offset(bytes[i], i % 2 == 0), "memory plan"));
    plan.guard_pages.push_back(
        checked_add(plan.total_bytes, guarded_pages(bytes[i]), "memory plan"));
    plan.total_bytes = checked_add(plan.guard_pages.back(), page_bytes(), "memory plan");
  }
  return plan;
}

}  // namespace coregrad
