// Argsort. Each line is gathered as (key, index) pairs whose unsigned keys order like the elements,
// sorted with a stable sort in the worker's scratch, and the indices are written out.

#include "runtime/library_internal.h"

#include <array>
#include <bit>
#include <limits>

namespace coregrad {
namespace {

struct SortContext {
  AlongDim shape;
};

template <class T>
using KeyOf = std::conditional_t<sizeof(T) <= 4, uint32_t, uint64_t>;

/// An unsigned key with the element's order; NaN last, both zeros equal.
template <class T>
KeyOf<T> key_of(T value) {
  using Key = KeyOf<T>;
  constexpr Key kSign = Key{1} << (sizeof(Key) * 8 - 1);
  if constexpr (std::is_same_v<T, bool>) {
    return value;
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<Key>(value) ^ kSign;
  } else {
    if (value != value) return std::numeric_limits<Key>::max();
    const Key bits = std::bit_cast<Key>(value == 0 ? T{0} : value);
    return bits & kSign ? ~bits : bits | kSign;
  }
}

template <class Key, class Index>
struct Item {
  Key key;
  Index index;
};

constexpr int64_t kRun = 16;
// From here on counting digits is faster than comparing.
constexpr int64_t kRadixFrom = 192;

template <class Item>
void insertion_sort(Item* items, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const Item item = items[i];
    int64_t k = i;
    for (; k > 0 && item.key < items[k - 1].key; --k) items[k] = items[k - 1];
    items[k] = item;
  }
}

/// Sorted items end up in the returned one of the two arrays.
template <class Item>
Item* merge_sort(Item* items, Item* other, int64_t n) {
  for (int64_t at = 0; at < n; at += kRun) insertion_sort(items + at, std::min(kRun, n - at));
  for (int64_t run = kRun; run < n; run *= 2) {
    for (int64_t at = 0; at < n; at += 2 * run) {
      int64_t left = at, right = std::min(at + run, n);
      const int64_t left_end = right, right_end = std::min(at + 2 * run, n);
      for (int64_t to = at; to < right_end; ++to) {
        const bool take_right =
            left == left_end || (right < right_end && items[right].key < items[left].key);
        other[to] = take_right ? items[right++] : items[left++];
      }
    }
    std::swap(items, other);
  }
  return items;
}

/// Least significant digit first; digits that all keys share are skipped.
template <class Item>
Item* radix_sort(Item* items, Item* other, int64_t n) {
  constexpr size_t kDigits = sizeof(Item::key);
  std::array<std::array<int64_t, 256>, kDigits> counts{};
  for (int64_t i = 0; i < n; ++i)
    for (size_t d = 0; d < kDigits; ++d) ++counts[d][(items[i].key >> (8 * d)) & 255];
  for (size_t d = 0; d < kDigits; ++d) {
    auto& places = counts[d];
    if (places[(items[0].key >> (8 * d)) & 255] == n) continue;
    int64_t sum = 0;
    for (int64_t& place : places) sum += std::exchange(place, sum);
    for (int64_t i = 0; i < n; ++i) other[places[(items[i].key >> (8 * d)) & 255]++] = items[i];
    std::swap(items, other);
  }
  return items;
}

template <class T, class Index, bool kDescending>
void argsort_lines(const StepArgs* args, int64_t begin, int64_t end, int) {
  using Pair = Item<KeyOf<T>, Index>;
  const AlongDim& s = context_of<SortContext>(args).shape;
  const T* x = buffer<const T>(args, 0);
  int64_t* out = buffer<int64_t>(args, 1);
  auto* items = static_cast<Pair*>(args->scratch);
  for (int64_t line = begin; line < end; ++line) {
    const int64_t base = line / s.inner * s.extent * s.inner + line % s.inner;
    for (int64_t k = 0; k < s.extent; ++k) {
      const KeyOf<T> key = key_of(x[base + k * s.inner]);
      // The complement reverses the order of keys and leaves equal elements as they come.
      items[k] = {kDescending ? static_cast<KeyOf<T>>(~key) : key, static_cast<Index>(k)};
    }
    const Pair* sorted = s.extent < kRadixFrom ? merge_sort(items, items + s.extent, s.extent)
                                               : radix_sort(items, items + s.extent, s.extent);
    for (int64_t k = 0; k < s.extent; ++k)
      out[base + k * s.inner] = static_cast<int64_t>(sorted[k].index);
  }
}

}  // namespace

LibraryStep make_argsort(Element element, std::span<const int64_t> shape, int64_t dim,
                         bool descending) {
  const AlongDim s = along_dim(shape, dim, "argsort");
  const bool wide = s.extent > std::numeric_limits<uint32_t>::max();
  LibraryStep step;
  step.context = std::make_shared<SortContext>(SortContext{s});
  with_computed_type(element, [&]<class T>(std::type_identity<T>) {
    step.function =
        wide ? (descending ? argsort_lines<T, uint64_t, true> : argsort_lines<T, uint64_t, false>)
             : (descending ? argsort_lines<T, uint32_t, true> : argsort_lines<T, uint32_t, false>);
    const auto pair = static_cast<int64_t>(wide ? sizeof(Item<KeyOf<T>, uint64_t>)
                                                : sizeof(Item<KeyOf<T>, uint32_t>));
    step.scratch_bytes = checked_mul(2 * pair, s.extent, "argsort: scratch");
  });
  const auto n = static_cast<double>(s.numel());
  step.bytes = n * static_cast<double>(size_of(element) + 8);
  const double digits = static_cast<double>(std::max<int64_t>(size_of(element), 4));
  const double a_item =
      s.extent < kRadixFrom ? 2 + 2 * std::log2(static_cast<double>(s.extent) + 1) : 4 + 2 * digits;
  set_work(step, s.extent == 0 ? 0 : s.outer * s.inner, n * a_item);
  return step;
}

}  // namespace coregrad
