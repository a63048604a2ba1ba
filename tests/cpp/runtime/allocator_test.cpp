#include "runtime/allocator.h"

#include "base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace coregrad {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

bool is_aligned(const void* p, uintptr_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

TEST(Allocator, AlignsBlocksTo64Bytes) {
  for (int64_t bytes : {0, 1, 63, 64, 65, 500, 513, 4096, 100000, 1 << 20, (2 << 20) - 1}) {
    const Block block = allocate_block(bytes);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_aligned(block.get(), 64)) << bytes;
    std::memset(block.get(), 1, static_cast<size_t>(bytes));
  }
}

TEST(Allocator, AlignsLargeBlocksToHugePages) {
  for (int64_t bytes : {2 * kMiB, 2 * kMiB + 1, 7 * kMiB, 40 * kMiB}) {
    const Block block = allocate_block(bytes);
    EXPECT_TRUE(is_aligned(block.get(), 2 * kMiB)) << bytes;
    static_cast<char*>(block.get())[bytes - 1] = 1;
  }
}

TEST(Allocator, ReusesAFreedBlock) {
  for (int64_t bytes : {int64_t{100}, int64_t{3000}, int64_t{300000}, 5 * kMiB}) {
    void* first = allocate(bytes);
    deallocate(first);
    const int64_t hits = memory_stats().cache_hits;
    void* second = allocate(bytes);
    EXPECT_EQ(first, second) << bytes;
    EXPECT_EQ(memory_stats().cache_hits, hits + 1);
    deallocate(second);
  }
}

TEST(Allocator, ReusesALargeBlockForASlightlySmallerRequest) {
  empty_cache();
  void* first = allocate(20 * kMiB);
  deallocate(first);
  void* second = allocate(17 * kMiB);
  EXPECT_EQ(first, second);
  deallocate(second);
}

TEST(Allocator, WastesLessThanAQuarter) {
  for (int64_t bytes = 512; bytes < 40 * kMiB; bytes += bytes / 7 + 1) {
    const int64_t before = memory_stats().allocated_bytes;
    empty_cache();
    const Block block = allocate_block(bytes);
    const int64_t taken = memory_stats().allocated_bytes - before;
    EXPECT_GE(taken, bytes);
    EXPECT_LE(taken, bytes < 2 * kMiB ? bytes + bytes / 4 : bytes + bytes / 8 + 2 * kMiB) << bytes;
  }
}

TEST(Allocator, CountsWhatIsInUse) {
  const MemoryStats before = memory_stats();
  reset_peak_memory_stats();
  {
    const Block a = allocate_block(1000), b = allocate_block(10 * kMiB);
    const MemoryStats during = memory_stats();
    EXPECT_GE(during.allocated_bytes, before.allocated_bytes + 1000 + 10 * kMiB);
    EXPECT_EQ(during.peak_allocated_bytes, during.allocated_bytes);
    EXPECT_EQ(during.allocations, before.allocations + 2);
  }
  const MemoryStats after = memory_stats();
  EXPECT_EQ(after.allocated_bytes, before.allocated_bytes);
  EXPECT_GE(after.peak_allocated_bytes, before.allocated_bytes + 10 * kMiB);
  EXPECT_GE(after.cached_bytes, 10 * kMiB);
  reset_peak_memory_stats();
  EXPECT_EQ(memory_stats().peak_allocated_bytes, after.allocated_bytes);
}

TEST(Allocator, EmptiesItsCache) {
  {
    const Block a = allocate_block(100), b = allocate_block(500000), c = allocate_block(3 * kMiB);
  }
  EXPECT_GT(memory_stats().cached_bytes, 0);
  empty_cache();
  EXPECT_EQ(memory_stats().cached_bytes, 0);
}

TEST(Allocator, KeepsABoundedAmountOfLargeBlocks) {
  empty_cache();
  reset_peak_memory_stats();
  for (int64_t i = 1; i <= 30; ++i) allocate_block(i * 8 * kMiB);
  const MemoryStats stats = memory_stats();
  EXPECT_LE(stats.cached_bytes, std::max(256 * kMiB, stats.peak_allocated_bytes) + kMiB);
  empty_cache();
}

TEST(Allocator, NamesTheBytesWhenMemoryIsOut) {
  try {
    allocate(int64_t{1} << 60);
    FAIL() << "no error";
  } catch (const OutOfMemoryError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("1152921504606846976 bytes"));
    EXPECT_THAT(error.what(), testing::HasSubstr("in use"));
  }
  EXPECT_THROW(allocate(INT64_MAX), OutOfMemoryError);
}

TEST(Allocator, TakesNullBack) { deallocate(nullptr); }

TEST(Allocator, SurvivesManyThreadsThatFreeEachOthersBlocks) {
  const int64_t before = memory_stats().allocated_bytes;
  struct Item {
    unsigned char* p;
    int64_t bytes;
    unsigned char mark;
  };
  std::mutex mutex;
  std::vector<Item> pool;
  std::atomic<int> damaged{0};
  const auto check_and_free = [&](const Item& item) {
    for (int64_t i = 0; i < item.bytes; i += std::max<int64_t>(1, item.bytes / 50))
      if (item.p[i] != item.mark) ++damaged;
    if (item.bytes > 0 && item.p[item.bytes - 1] != item.mark) ++damaged;
    deallocate(item.p);
  };
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 3000; ++i) {
        const int64_t bytes = static_cast<int64_t>(random() % (int64_t{1} << (random() % 17)));
        const auto mark = static_cast<unsigned char>(random());
        auto* p = static_cast<unsigned char*>(allocate(i % 500 == 0 ? bytes + 2 * kMiB : bytes));
        std::memset(p, mark, static_cast<size_t>(bytes));
        Item taken{nullptr, 0, 0};
        {
          const std::lock_guard lock(mutex);
          pool.push_back({p, bytes, mark});
          if (pool.size() > 100) {
            std::swap(pool[random() % pool.size()], pool.back());
            taken = pool.back();
            pool.pop_back();
          }
        }
        if (taken.p != nullptr) check_and_free(taken);
        if (i % 1000 == 999) empty_cache();
      }
    });
  for (auto& t : threads) t.join();
  for (const Item& item : pool) check_and_free(item);
  EXPECT_EQ(damaged, 0);
  EXPECT_EQ(memory_stats().allocated_bytes, before);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
TEST(AllocatorDeathTest, CatchesTheUseOfAFreedBlock) {
  volatile char* p = static_cast<char*>(allocate(100));
  deallocate(const_cast<char*>(p));
  EXPECT_DEATH(p[0] = 1, "use-after-poison");
}
TEST(AllocatorDeathTest, CatchesAWriteBehindABlock) {
  volatile char* p = static_cast<char*>(allocate(100));
  EXPECT_DEATH(p[100] = 1, "use-after-poison");
  deallocate(const_cast<char*>(p));
}
#endif
#endif

}  // namespace
}  // namespace coregrad
