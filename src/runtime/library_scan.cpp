// Cumulative sums and products. A line is summed in order, so the result does not depend on
// threads; where lines lie side by side in memory, a block of them goes along together.

#include "runtime/library_internal.h"

#include <array>

namespace coregrad {
namespace {

constexpr int64_t kBlock = 64;

struct ScanContext {
  AlongDim shape;
  int64_t blocks;  ///< of the inner extent
};

template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, float>, double, T>;

template <class T, ScanKind kKind>
void scan_blocks(const StepArgs* args, int64_t begin, int64_t end, int) {
  using Acc = Accumulator<T>;
  const auto& context = context_of<ScanContext>(args);
  const AlongDim& s = context.shape;
  const T* x = buffer<const T>(args, 0);
  T* out = buffer<T>(args, 1);
  const auto combine = [](Acc a, T b) {
    return kKind == ScanKind::Sum ? element_add<Acc>(a, b) : element_mul<Acc>(a, b);
  };
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t first = unit % context.blocks * kBlock;
    const int64_t width = std::min(kBlock, s.inner - first);
    const int64_t base = unit / context.blocks * s.extent * s.inner + first;
    constexpr Acc kStart = kKind == ScanKind::Sum ? Acc{0} : Acc{1};
    if (width == 1) {
      Acc sum = kStart;
      for (int64_t k = 0; k < s.extent; ++k) {
        sum = combine(sum, x[base + k * s.inner]);
        out[base + k * s.inner] = static_cast<T>(sum);
      }
      continue;
    }
    std::array<Acc, kBlock> sums;
    sums.fill(kStart);
    for (int64_t k = 0; k < s.extent; ++k) {
      const T* from = x + base + k * s.inner;
      T* to = out + base + k * s.inner;
      for (int64_t i = 0; i < width; ++i) {
        sums[i] = combine(sums[i], from[i]);
        to[i] = static_cast<T>(sums[i]);
      }
    }
  }
}

}  // namespace

LibraryStep make_scan(ScanKind kind, Element element, std::span<const int64_t> shape, int64_t dim) {
  const AlongDim s = along_dim(shape, dim, "cumulative sum");
  LibraryStep step;
  const int64_t blocks = ceil_div(s.inner, kBlock);
  step.context = std::make_shared<ScanContext>(ScanContext{s, blocks});
  with_computed_type(element, [&]<class T>(std::type_identity<T>) {
    step.function =
        kind == ScanKind::Sum ? scan_blocks<T, ScanKind::Sum> : scan_blocks<T, ScanKind::Product>;
  });
  const auto n = static_cast<double>(s.numel());
  step.flops = n;
  step.bytes = 2 * n * static_cast<double>(size_of(element));
  // A single line waits for each addition; side by side they overlap.
  set_work(step, s.extent == 0 ? 0 : s.outer * blocks, n * (s.inner == 1 ? 1.6 : 0.6));
  return step;
}

}  // namespace coregrad
