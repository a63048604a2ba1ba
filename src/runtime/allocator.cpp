// Three layers: a small cache in each thread for small blocks, free lists shared by all threads
// (one lock a size class), the system. Blocks below 2 MiB carry a 64-byte header in front of them;
// larger ones are mappings aligned to 2 MiB and found in a table. No small block is aligned to 2
// MiB, so the address alone tells which it is.

#include "runtime/allocator.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/flags.h"
#include "runtime/futex.h"
#include "runtime/guarded_memory.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define COREGRAD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COREGRAD_ASAN 1
#endif
#endif
#if defined(COREGRAD_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace coregrad {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kLargest = int64_t{1} << 46;
// Small blocks: eight classes up to 512 bytes, then four a doubling. Waste is below a fifth.
constexpr int kNumLinear = 8;
constexpr int kNumClasses = kNumLinear + 4 * 12;
// A thread keeps so many free blocks of a class, and none of the classes above kThreadLargest.
constexpr int kThreadBlocks = 8;
constexpr int64_t kThreadLargest = 64 << 10;
constexpr int kThreadClasses = kNumLinear + 4 * 7;
// Free large blocks beyond the peak of use, and beyond this, go back to the system, oldest first.
constexpr int64_t kKeptLarge = int64_t{256} << 20;

constexpr int class_of(int64_t bytes) {
  if (bytes <= 512) return bytes <= 64 ? 0 : static_cast<int>((bytes - 1) / 64);
  const int log2 = 63 - std::countl_zero(static_cast<uint64_t>(bytes - 1));
  const int quarter = static_cast<int>(((bytes - 1) >> (log2 - 2)) & 3);
  return kNumLinear + 4 * (log2 - 9) + quarter;
}
constexpr int64_t class_bytes(int cls) {
  if (cls < kNumLinear) return 64 * (cls + 1);
  const int log2 = 9 + (cls - kNumLinear) / 4;
  return (int64_t{1} << log2) + ((cls - kNumLinear) % 4 + 1) * (int64_t{1} << (log2 - 2));
}
static_assert(class_of(0) == 0 && class_of(64) == 0 && class_of(65) == 1 && class_of(512) == 7);
static_assert(class_of(513) == 8 && class_bytes(8) == 640 && class_of(640) == 8);
static_assert(class_of(kHugePage) == kNumClasses - 1 && class_bytes(kNumClasses - 1) == kHugePage);
static_assert(class_of(kThreadLargest) == kThreadClasses - 1);

/// Large blocks: whole huge pages, eight sizes a doubling, so that near sizes share blocks.
constexpr int64_t large_bytes(int64_t bytes) {
  const int log2 = 63 - std::countl_zero(static_cast<uint64_t>(bytes));
  const int64_t step = std::max(kHugePage, int64_t{1} << std::max(0, log2 - 3));
  return round_up(bytes, step);
}

struct Header {
  int64_t cls;
  uint64_t magic;
};
constexpr uint64_t kMagicUsed = 0x636f726567726164, kMagicFree = 0x6461726765726f63;
static_assert(sizeof(Header) <= kAlignment);

void* block_of(Header* header) { return reinterpret_cast<std::byte*>(header) + kAlignment; }
Header* header_of(void* block) {
  return reinterpret_cast<Header*>(static_cast<std::byte*>(block) - kAlignment);
}

void poison(const void* p, int64_t bytes) {
#if defined(COREGRAD_ASAN)
  ASAN_POISON_MEMORY_REGION(p, static_cast<size_t>(bytes));
#else
  (void)p, (void)bytes;
#endif
}
void unpoison(const void* p, int64_t bytes) {
#if defined(COREGRAD_ASAN)
  ASAN_UNPOISON_MEMORY_REGION(p, static_cast<size_t>(bytes));
#else
  (void)p, (void)bytes;
#endif
}

/// A lock for a few instructions that another thread hardly ever wants.
class SpinLock {
 public:
  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire))
      while (taken_.load(std::memory_order_relaxed)) cpu_pause();
  }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

struct ThreadCache {
  SpinLock lock;  ///< the owner's, but for empty_cache, statistics and fork
  std::array<uint8_t, kThreadClasses> count{};
  std::array<std::array<Header*, kThreadBlocks>, kThreadClasses> blocks;
  int64_t cached_bytes = 0;
  int64_t allocations = 0, hits = 0;
};

/// The free lists of the four classes of a doubling.
struct alignas(128) SharedLists {
  std::mutex mutex;
  std::array<std::vector<Header*>, 4> blocks;
};

struct Large {
  int64_t bytes;
  bool used;
  uint64_t freed_at;  ///< in frees of large blocks
};

struct State {
  std::array<SharedLists, kNumClasses / 4> lists;

  std::mutex large_mutex;
  std::unordered_map<void*, Large> large;            ///< every mapping
  std::map<int64_t, std::vector<void*>> large_free;  ///< by size, most recent last
  int64_t large_free_bytes = 0;
  uint64_t large_frees = 0;

  std::mutex threads_mutex;
  std::vector<ThreadCache*> threads;

  // Threads that have ended, and blocks that no thread cache counts.
  alignas(128) std::atomic<int64_t> allocated{0};
  std::atomic<int64_t> peak{0};
  alignas(128) std::atomic<int64_t> shared_cached{0};
  std::atomic<int64_t> allocations{0};
  std::atomic<int64_t> hits{0};
};

State& state() {
  // Never destroyed: blocks are given back by other static objects and by threads at any time.
  static State& made = *[] {
    static State* s = new State;
    // A child must not inherit a lock that another thread held.
    const auto lock_all = [] {
      s->threads_mutex.lock();
      for (ThreadCache* cache : s->threads) cache->lock.lock();
      s->large_mutex.lock();
      for (SharedLists& lists : s->lists) lists.mutex.lock();
    };
    const auto unlock_all = [] {
      for (SharedLists& lists : s->lists) lists.mutex.unlock();
      s->large_mutex.unlock();
      for (ThreadCache* cache : s->threads) cache->lock.unlock();
      s->threads_mutex.unlock();
    };
    pthread_atfork(lock_all, unlock_all, unlock_all);
    return s;
  }();
  return made;
}

void count_used(State& s, int64_t bytes) {
  const int64_t now = s.allocated.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t peak = s.peak.load(std::memory_order_relaxed);
  while (now > peak && !s.peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

// ---- The system ----

Header* new_small(int cls) {
  // One block in 32768 would look like a large one; it is kept aside and given back.
  void* rejected = nullptr;
  for (;;) {
    void* p = std::aligned_alloc(kAlignment, static_cast<size_t>(class_bytes(cls) + kAlignment));
    if (p == nullptr) {
      std::free(rejected);
      return nullptr;
    }
    auto* header = static_cast<Header*>(p);
    if (reinterpret_cast<uintptr_t>(block_of(header)) % kHugePage != 0) {
      std::free(rejected);
      header->cls = cls;
      return header;
    }
    std::free(rejected);
    rejected = p;
  }
}

void free_small(Header* header) {
  unpoison(block_of(header), class_bytes(static_cast<int>(header->cls)));
  std::free(header);
}

void* map_large(int64_t bytes) {
  const int64_t span = bytes + kHugePage;
  void* p = mmap(nullptr, static_cast<size_t>(span), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  // Cut the mapping down to its aligned part.
  auto* start = static_cast<std::byte*>(p);
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto head = static_cast<int64_t>((kHugePage - address % kHugePage) % kHugePage);
  if (head > 0) munmap(start, static_cast<size_t>(head));
  if (span - head > bytes) munmap(start + head + bytes, static_cast<size_t>(span - head - bytes));
#if defined(MADV_HUGEPAGE)
  madvise(start + head, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return start + head;
}

void unmap_large(void* p, int64_t bytes) {
  unpoison(p, bytes);
  munmap(p, static_cast<size_t>(bytes));
}

// ---- The free lists of all threads ----

Header* pop_shared(State& s, int cls) {
  SharedLists& lists = s.lists[cls / 4];
  const std::lock_guard lock(lists.mutex);
  std::vector<Header*>& blocks = lists.blocks[cls % 4];
  if (blocks.empty()) return nullptr;
  Header* header = blocks.back();
  blocks.pop_back();
  s.shared_cached.fetch_sub(class_bytes(cls), std::memory_order_relaxed);
  return header;
}

void push_shared(State& s, int cls, Header* const* headers, int count) {
  SharedLists& lists = s.lists[cls / 4];
  const std::lock_guard lock(lists.mutex);
  std::vector<Header*>& blocks = lists.blocks[cls % 4];
  blocks.insert(blocks.end(), headers, headers + count);
  s.shared_cached.fetch_add(count * class_bytes(cls), std::memory_order_relaxed);
}

/// Gives free large blocks back, oldest first, until at most `keep` bytes are left. Lock held.
void trim_large(State& s, int64_t keep) {
  while (s.large_free_bytes > keep) {
    auto oldest = s.large.end();
    for (auto it = s.large.begin(); it != s.large.end(); ++it)
      if (!it->second.used &&
          (oldest == s.large.end() || it->second.freed_at < oldest->second.freed_at))
        oldest = it;
    void* const p = oldest->first;
    const int64_t bytes = oldest->second.bytes;
    std::erase(s.large_free[bytes], p);
    s.large.erase(oldest);
    s.large_free_bytes -= bytes;
    s.shared_cached.fetch_sub(bytes, std::memory_order_relaxed);
    unmap_large(p, bytes);
  }
}

// ---- The thread's cache ----

struct CacheOwner {
  ThreadCache* cache = nullptr;
  ~CacheOwner();
};
// The plain pointer outlives the owner: blocks freed by later destructors go to the shared lists.
thread_local ThreadCache* t_cache = nullptr;
thread_local bool t_ended = false;
thread_local CacheOwner t_owner;

void flush(State& s, ThreadCache& cache) {
  for (int cls = 0; cls < kThreadClasses; ++cls) {
    uint8_t& count = cache.count[cls];
    if (count > 0) push_shared(s, cls, cache.blocks[cls].data(), count);
    count = 0;
  }
  cache.cached_bytes = 0;
}

CacheOwner::~CacheOwner() {
  if (cache == nullptr) return;
  State& s = state();
  t_cache = nullptr;
  t_ended = true;
  {
    const std::lock_guard lock(s.threads_mutex);
    std::erase(s.threads, cache);
    flush(s, *cache);
    s.allocations.fetch_add(cache->allocations, std::memory_order_relaxed);
    s.hits.fetch_add(cache->hits, std::memory_order_relaxed);
  }
  delete cache;
}

ThreadCache* make_thread_cache() {
  if (t_ended) return nullptr;
  State& s = state();
  auto* cache = new ThreadCache;
  const std::lock_guard lock(s.threads_mutex);
  s.threads.push_back(cache);
  t_owner.cache = cache;
  return t_cache = cache;
}

inline ThreadCache* thread_cache() { return t_cache != nullptr ? t_cache : make_thread_cache(); }

// ---- Requests ----

[[noreturn]] void out_of_memory(State& s, int64_t bytes) {
  raise<OutOfMemoryError>(
      "allocate: the system refused a block of {} bytes; {} bytes are in use by this process's "
      "tensors",
      bytes, s.allocated.load());
}

void* hand_out(State& s, Header* header, int cls, int64_t bytes) {
  header->magic = kMagicUsed;
  count_used(s, class_bytes(cls));
  void* block = block_of(header);
  unpoison(block, bytes);
  poison(static_cast<std::byte*>(block) + bytes, class_bytes(cls) - bytes);
  return block;
}

void* allocate_small(State& s, int64_t bytes) {
  const int cls = class_of(bytes);
  ThreadCache* cache = thread_cache();
  if (cache != nullptr) {
    const std::lock_guard lock(cache->lock);
    ++cache->allocations;
    if (cls < kThreadClasses && cache->count[cls] > 0) {
      ++cache->hits;
      cache->cached_bytes -= class_bytes(cls);
      auto& blocks = cache->blocks[cls];
      return hand_out(s, blocks[--cache->count[cls]], cls, bytes);
    }
  } else {
    s.allocations.fetch_add(1, std::memory_order_relaxed);
  }
  if (Header* header = pop_shared(s, cls)) {
    s.hits.fetch_add(1, std::memory_order_relaxed);
    return hand_out(s, header, cls, bytes);
  }
  Header* header = new_small(cls);
  if (header == nullptr) {
    empty_cache();
    header = new_small(cls);
  }
  if (header == nullptr) out_of_memory(s, bytes);
  return hand_out(s, header, cls, bytes);
}

void deallocate_small(State& s, void* block) {
  Header* header = header_of(block);
  COREGRAD_CHECK(header->magic == kMagicUsed);
  header->magic = kMagicFree;
  const int cls = static_cast<int>(header->cls);
  s.allocated.fetch_sub(class_bytes(cls), std::memory_order_relaxed);
  poison(block, class_bytes(cls));
  ThreadCache* cache = cls < kThreadClasses ? thread_cache() : nullptr;
  if (cache == nullptr) return push_shared(s, cls, &header, 1);
  const std::lock_guard lock(cache->lock);
  auto& blocks = cache->blocks[cls];
  uint8_t& count = cache->count[cls];
  if (count == kThreadBlocks) {
    // Half of them go, so that neither a series of frees nor one of requests locks each time.
    count = kThreadBlocks / 2;
    push_shared(s, cls, blocks.data(), kThreadBlocks / 2);
    std::copy(blocks.begin() + kThreadBlocks / 2, blocks.end(), blocks.begin());
    cache->cached_bytes -= kThreadBlocks / 2 * class_bytes(cls);
  }
  blocks[count++] = header;
  cache->cached_bytes += class_bytes(cls);
}

/// A free block of `size`, or of the next sizes up to a quarter more; null if there is none. Lock
/// held.
void* take_free_large(State& s, int64_t size) {
  const auto end = s.large_free.upper_bound(size + size / 4);
  for (auto it = s.large_free.lower_bound(size); it != end; ++it) {
    if (it->second.empty()) continue;
    void* p = it->second.back();
    it->second.pop_back();
    s.large_free_bytes -= it->first;
    s.shared_cached.fetch_sub(it->first, std::memory_order_relaxed);
    s.hits.fetch_add(1, std::memory_order_relaxed);
    return p;
  }
  return nullptr;
}

void* map_new_large(State& s, int64_t size) {
  void* p = map_large(size);
  if (p != nullptr) s.large[p] = {size, true, 0};
  return p;
}

void* allocate_large(State& s, int64_t bytes) {
  if (bytes > kLargest) out_of_memory(s, bytes);
  const int64_t size = large_bytes(bytes);
  s.allocations.fetch_add(1, std::memory_order_relaxed);
  std::unique_lock lock(s.large_mutex);
  void* p = take_free_large(s, size);
  if (p == nullptr) p = map_new_large(s, size);
  if (p == nullptr) {
    lock.unlock();
    empty_cache();
    lock.lock();
    p = map_new_large(s, size);
  }
  if (p == nullptr) out_of_memory(s, bytes);
  Large& large = s.large[p];
  large.used = true;
  count_used(s, large.bytes);
  unpoison(p, bytes);
  poison(static_cast<std::byte*>(p) + bytes, large.bytes - bytes);
  return p;
}

void deallocate_large(State& s, void* block) {
  const std::lock_guard lock(s.large_mutex);
  const auto found = s.large.find(block);
  COREGRAD_CHECK(found != s.large.end() && found->second.used);
  const int64_t bytes = found->second.bytes;
  s.allocated.fetch_sub(bytes, std::memory_order_relaxed);
  poison(block, bytes);
  found->second.used = false;
  found->second.freed_at = ++s.large_frees;
  s.large_free[bytes].push_back(block);
  s.large_free_bytes += bytes;
  s.shared_cached.fetch_add(bytes, std::memory_order_relaxed);
  trim_large(s, std::max(kKeptLarge, s.peak.load(std::memory_order_relaxed)));
}

}  // namespace

void* allocate(int64_t bytes) {
  COREGRAD_CHECK(bytes >= 0);
  State& s = state();
  if (flags().check_memory) [[unlikely]] {
    void* const block = bytes <= kLargest ? allocate_guarded(bytes) : nullptr;
    if (block == nullptr) out_of_memory(s, bytes);
    return block;
  }
  return bytes < kHugePage ? allocate_small(s, bytes) : allocate_large(s, bytes);
}

void deallocate(void* block) {
  if (block == nullptr || deallocate_guarded(block)) return;
  State& s = state();
  const bool large = reinterpret_cast<uintptr_t>(block) % kHugePage == 0;
  large ? deallocate_large(s, block) : deallocate_small(s, block);
}

MemoryStats memory_stats() {
  State& s = state();
  const std::lock_guard lock(s.threads_mutex);
  MemoryStats stats;
  stats.allocated_bytes = s.allocated.load();
  stats.peak_allocated_bytes = s.peak.load();
  stats.cached_bytes = s.shared_cached.load();
  stats.allocations = s.allocations.load();
  stats.cache_hits = s.hits.load();
  for (ThreadCache* cache : s.threads) {
    const std::lock_guard cache_lock(cache->lock);
    stats.cached_bytes += cache->cached_bytes;
    stats.allocations += cache->allocations;
    stats.cache_hits += cache->hits;
  }
  return stats;
}

void reset_peak_memory_stats() {
  State& s = state();
  s.peak.store(s.allocated.load());
}

void empty_cache() {
  State& s = state();
  {
    const std::lock_guard lock(s.threads_mutex);
    for (ThreadCache* cache : s.threads) {
      const std::lock_guard cache_lock(cache->lock);
      flush(s, *cache);
    }
  }
  for (int cls = 0; cls < kNumClasses; ++cls) {
    while (Header* header = pop_shared(s, cls)) free_small(header);
  }
  const std::lock_guard lock(s.large_mutex);
  trim_large(s, 0);
}

}  // namespace coregrad
