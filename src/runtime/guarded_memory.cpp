#include "runtime/guarded_memory.h"

#include "base/checked.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>
#include <unordered_map>

namespace coregrad {
namespace {

constexpr int64_t kAlignment = 64;
constexpr std::byte kBehind{0xa5};

struct Guarded {
  std::byte* mapping;
  int64_t mapped, bytes;
};

struct Table {
  std::mutex mutex;
  std::unordered_map<void*, Guarded> blocks;
  std::atomic<int64_t> count{0};
  bool next_is_aligned = false;
};

Table& table() {
  static auto* const made = new Table();  // blocks are freed by other static objects
  return *made;
}

}  // namespace

int64_t page_bytes() {
  static const int64_t bytes = sysconf(_SC_PAGESIZE);
  return bytes;
}

void forbid_page(void* page) { mprotect(page, static_cast<size_t>(page_bytes()), PROT_NONE); }

int64_t guarded_pages(int64_t bytes) { return round_up(std::max<int64_t>(bytes, 1), page_bytes()); }

int64_t guarded_offset(int64_t bytes, bool is_aligned) {
  return guarded_pages(bytes) - (is_aligned ? round_up(bytes, kAlignment) : bytes);
}

void* allocate_guarded(int64_t bytes) {
  Table& t = table();
  const int64_t pages = guarded_pages(bytes), mapped = pages + 2 * page_bytes();
  void* const p = mmap(nullptr, static_cast<size_t>(mapped), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  auto* const mapping = static_cast<std::byte*>(p);
  forbid_page(mapping);
  forbid_page(mapping + page_bytes() + pages);
  const std::lock_guard lock(t.mutex);
  const bool is_aligned = t.next_is_aligned = !t.next_is_aligned;
  std::byte* const body = mapping + page_bytes();
  std::byte* block = body + guarded_offset(bytes, is_aligned);
  // A block of nothing may not begin where the page behind it does: that is another block's
  // address.
  if (bytes == 0) block = body;
  const auto rest = static_cast<size_t>(body + pages - (block + bytes));
  std::memset(block + bytes, static_cast<int>(kBehind), rest);
  t.blocks[block] = {mapping, mapped, bytes};
  t.count.fetch_add(1, std::memory_order_release);
  return block;
}

bool deallocate_guarded(void* block) {
  Table& t = table();
  if (t.count.load(std::memory_order_acquire) == 0) return false;
  const std::lock_guard lock(t.mutex);
  const auto at = t.blocks.find(block);
  if (at == t.blocks.end()) return false;
  const Guarded& g = at->second;
  const std::byte* const end = g.mapping + g.mapped - page_bytes();
  const std::byte* const behind = static_cast<std::byte*>(block) + g.bytes;
  if (!std::all_of(behind, end, [](std::byte b) { return b == kBehind; })) {
    std::fprintf(stderr, "coregrad: a block of %lld bytes was written behind its end\n",
                 static_cast<long long>(g.bytes));
    std::abort();
  }
  munmap(g.mapping, static_cast<size_t>(g.mapped));
  t.blocks.erase(at);
  t.count.fetch_sub(1, std::memory_order_release);
  return true;
}

}  // namespace coregrad
