// Buffers that live at the same time never overlap; memory is reused where they do not.

#include "compile/memory_plan.h"

#include "runtime/guarded_memory.h"

#include <gtest/gtest.h>

#include <random>

namespace coregrad {
namespace {

std::vector<Lifetime> random_lifetimes(size_t count, int64_t longest, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Lifetime> lifetimes;
  for (size_t i = 0; i < count; ++i) {
    const auto start = static_cast<int64_t>(random() % count);
    lifetimes.push_back({static_cast<int64_t>(random() % 5000), start,
                         start + static_cast<int64_t>(random() % static_cast<uint64_t>(longest))});
  }
  return lifetimes;
}

std::vector<int64_t> bytes_of(const std::vector<Lifetime>& lifetimes) {
  std::vector<int64_t> bytes;
  for (const Lifetime& life : lifetimes) bytes.push_back(life.bytes);
  return bytes;
}

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes) {
  return MemoryLayout(lifetimes).place(bytes_of(lifetimes));
}

void expect_sound(const std::vector<Lifetime>& lifetimes, const MemoryPlan& plan) {
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % 64, 0);
    ASSERT_LE(plan.offsets[i] + lifetimes[i].bytes, plan.total_bytes);
    for (size_t j = 0; j < i; ++j) {
      const Lifetime &a = lifetimes[i], &b = lifetimes[j];
      if (a.first_step > b.last_step || b.first_step > a.last_step) continue;
      ASSERT_TRUE(plan.offsets[i] + a.bytes <= plan.offsets[j] ||
                  plan.offsets[j] + b.bytes <= plan.offsets[i])
          << i << " and " << j;
    }
  }
}

TEST(MemoryPlan, KeepsBuffersApartThatLiveTogether) {
  const auto check = [](const std::vector<Lifetime>& lifetimes) {
    expect_sound(lifetimes, plan_memory(lifetimes));
  };
  for (uint64_t seed = 0; seed < 20; ++seed) check(random_lifetimes(200, 30, seed));
  check(random_lifetimes(3000, 20, 1));
  check(random_lifetimes(3000, 2000, 2));
}

TEST(MemoryPlan, ALayoutIsForAnySizes) {
  for (const size_t count : {1u, 30u, 200u, 3000u}) {
    std::vector<Lifetime> lifetimes = random_lifetimes(count, 30, count);
    const MemoryLayout layout(lifetimes);
    for (uint64_t seed = 10; seed < 15; ++seed) {
      const std::vector<Lifetime> other = random_lifetimes(count, 30, seed);
      for (size_t i = 0; i < count; ++i) lifetimes[i].bytes = other[i].bytes;
      expect_sound(lifetimes, layout.place(bytes_of(lifetimes)));
    }
  }
}

TEST(MemoryPlan, ReusesMemoryOfTheDead) {
  // A chain: each buffer is read by the next step only.
  for (const size_t count : {100u, 5000u}) {
    std::vector<Lifetime> chain;
    for (size_t i = 0; i < count; ++i)
      chain.push_back({1000, static_cast<int64_t>(i), static_cast<int64_t>(i) + 1});
    EXPECT_EQ(plan_memory(chain).total_bytes, 2 * 1024);
  }
}

TEST(MemoryPlan, GuardedBuffersAreFollowedByAPageOfTheirOwn) {
  const std::vector<Lifetime> lifetimes = random_lifetimes(50, 30, 3);
  const MemoryPlan plan = plan_guarded_memory(bytes_of(lifetimes));
  const int64_t page = page_bytes();
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    const int64_t behind = plan.guard_pages[i] - (plan.offsets[i] + lifetimes[i].bytes);
    EXPECT_EQ(plan.guard_pages[i] % page, 0);
    EXPECT_GE(behind, 0);
    EXPECT_LT(behind, 64);
    EXPECT_TRUE(plan.offsets[i] % 64 == 0 || behind == 0);
    EXPECT_GE(plan.offsets[i], i == 0 ? 0 : plan.guard_pages[i - 1] + page);
  }
  EXPECT_EQ(plan.total_bytes, plan.guard_pages.back() + page);
}

}  // namespace
}  // namespace coregrad
