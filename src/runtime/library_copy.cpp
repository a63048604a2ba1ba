// Copies between strided layouts, and fills. Dimensions are sorted by the destination's strides and
// merged; if the source runs fastest along another dimension, tiles of the two keep both sides'
// cache lines in L1.

#include "runtime/library_internal.h"

#include <cstdlib>
#include <cstring>
#include <vector>

namespace coregrad {
namespace {

struct CopyDim {
  int64_t extent, source, destination;
};

struct CopyContext {
  int64_t source_offset = 0, destination_offset = 0;
  std::vector<CopyDim> outer;
  CopyDim cross{1, 0, 0};  ///< the dimension along which the source runs fastest, if not `inner`
  CopyDim inner{1, 1, 1};  ///< the dimension along which the destination runs fastest
  int64_t cross_blocks = 1, inner_blocks = 1;
};

constexpr int64_t kCrossBlock = 32;
constexpr int64_t kInnerBlock = 8192;
constexpr int64_t kTile = 32;

struct Bytes16 {
  uint64_t words[2];
};

/// inner x cross elements of both sides.
template <class T>
void copy_block(T* to, const T* from, const CopyDim& cross, int64_t cross_count,
                const CopyDim& inner, int64_t inner_count) {
  if (cross_count == 1) {
    if (inner.source == 1 && inner.destination == 1) {
      std::memcpy(to, from, static_cast<size_t>(inner_count) * sizeof(T));
    } else if (inner.source == 0 && inner.destination == 1) {
      std::fill_n(to, inner_count, *from);
    } else {
      for (int64_t i = 0; i < inner_count; ++i) to[i * inner.destination] = from[i * inner.source];
    }
    return;
  }
  for (int64_t tile = 0; tile < inner_count; tile += kTile) {
    const int64_t tile_end = std::min(tile + kTile, inner_count);
    for (int64_t k = 0; k < cross_count; ++k)
      for (int64_t i = tile; i < tile_end; ++i)
        to[k * cross.destination + i * inner.destination] =
            from[k * cross.source + i * inner.source];
  }
}

template <class T>
void copy_units(const StepArgs* args, int64_t begin, int64_t end, int) {
  const auto& c = context_of<CopyContext>(args);
  const T* source = buffer<const T>(args, 0) + c.source_offset;
  T* destination = buffer<T>(args, 1) + c.destination_offset;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t inner_first = unit % c.inner_blocks * kInnerBlock;
    const int64_t cross_first = unit / c.inner_blocks % c.cross_blocks * kCrossBlock;
    int64_t rest = unit / c.inner_blocks / c.cross_blocks;
    int64_t from = inner_first * c.inner.source + cross_first * c.cross.source;
    int64_t to = inner_first * c.inner.destination + cross_first * c.cross.destination;
    for (size_t d = c.outer.size(); d-- > 0;) {
      const int64_t at = rest % c.outer[d].extent;
      rest /= c.outer[d].extent;
      from += at * c.outer[d].source;
      to += at * c.outer[d].destination;
    }
    copy_block(destination + to, source + from, c.cross,
               std::min(kCrossBlock, c.cross.extent - cross_first), c.inner,
               std::min(kInnerBlock, c.inner.extent - inner_first));
  }
}

StepFunction copy_function(int64_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return copy_units<uint8_t>;
    case 2:
      return copy_units<uint16_t>;
    case 4:
      return copy_units<uint32_t>;
    case 8:
      return copy_units<uint64_t>;
    case 16:
      return copy_units<Bytes16>;
  }
  raise<InternalError>("strided copy: element size must be 1, 2, 4, 8 or 16 bytes, got {}",
                       element_bytes);
}

/// Dimensions of extent above 1, the destination's largest stride first, merged where both sides
/// can.
std::vector<CopyDim> simplified(const StridedCopySpec& spec) {
  std::vector<CopyDim> dims;
  for (size_t d = 0; d < spec.shape.size(); ++d) {
    if (spec.shape[d] == 1) continue;
    COREGRAD_CHECK(spec.destination_strides[d] != 0);
    // Offsets are sums of these; none may leave 64 bits.
    checked_mul(checked_mul(spec.shape[d], spec.source_strides[d], "strided copy"),
                spec.element_bytes, "strided copy");
    checked_mul(checked_mul(spec.shape[d], spec.destination_strides[d], "strided copy"),
                spec.element_bytes, "strided copy");
    dims.push_back({spec.shape[d], spec.source_strides[d], spec.destination_strides[d]});
  }
  std::sort(dims.begin(), dims.end(), [](const CopyDim& a, const CopyDim& b) {
    return std::abs(a.destination) > std::abs(b.destination);
  });
  std::vector<CopyDim> merged;
  for (const CopyDim& dim : dims) {
    if (!merged.empty() && merged.back().source == dim.extent * dim.source &&
        merged.back().destination == dim.extent * dim.destination) {
      merged.back() = {merged.back().extent * dim.extent, dim.source, dim.destination};
    } else {
      merged.push_back(dim);
    }
  }
  return merged;
}

struct FillContext {
  int64_t count;
  uint64_t bits;
};
constexpr int64_t kFillUnit = 16384;

template <class T>
void fill_units(const StepArgs* args, int64_t begin, int64_t end, int) {
  const auto& c = context_of<FillContext>(args);
  std::fill(buffer<T>(args, 0) + begin * kFillUnit,
            buffer<T>(args, 0) + std::min(c.count, end * kFillUnit), static_cast<T>(c.bits));
}

StepFunction fill_function(int64_t element_bytes) {
  switch (element_bytes) {
    case 1:
      return fill_units<uint8_t>;
    case 2:
      return fill_units<uint16_t>;
    case 4:
      return fill_units<uint32_t>;
    case 8:
      return fill_units<uint64_t>;
  }
  raise<InternalError>("fill: element size must be 1, 2, 4 or 8 bytes, got {}", element_bytes);
}

}  // namespace

LibraryStep make_strided_copy(const StridedCopySpec& spec) {
  COREGRAD_CHECK(spec.source_strides.size() == spec.shape.size());
  COREGRAD_CHECK(spec.destination_strides.size() == spec.shape.size());
  const int64_t count = checked_numel(spec.shape, "strided copy");
  auto context = std::make_shared<CopyContext>();
  CopyContext& c = *context;
  LibraryStep step;
  step.kind = StepKind::Copy;
  step.function = copy_function(spec.element_bytes);
  step.context = context;
  if (count == 0) return step;

  c.source_offset = spec.source_offset;
  c.destination_offset = spec.destination_offset;
  c.outer = simplified(spec);
  if (!c.outer.empty()) {
    c.inner = c.outer.back();
    c.outer.pop_back();
  }
  auto fastest = c.outer.end();
  for (auto it = c.outer.begin(); it != c.outer.end(); ++it) {
    const int64_t stride = std::abs(it->source);
    if (stride == 0 || stride >= std::abs(c.inner.source)) continue;
    if (fastest == c.outer.end() || stride < std::abs(fastest->source)) fastest = it;
  }
  const bool crossed = fastest != c.outer.end();
  if (crossed) {
    c.cross = *fastest;
    c.outer.erase(fastest);
  }
  c.inner_blocks = ceil_div(c.inner.extent, kInnerBlock);
  c.cross_blocks = ceil_div(c.cross.extent, kCrossBlock);
  int64_t units = c.inner_blocks * c.cross_blocks;
  for (const CopyDim& dim : c.outer) units *= dim.extent;
  const auto n = static_cast<double>(count);
  step.bytes = 2 * n * static_cast<double>(spec.element_bytes);
  const bool rows = !crossed && c.inner.source == 1 && c.inner.destination == 1;
  set_work(step, units, step.bytes / 20 + (rows ? 0 : n * 0.6) + static_cast<double>(units) * 4);
  return step;
}

LibraryStep make_copy(int64_t bytes) {
  const int64_t shape[] = {bytes}, strides[] = {1};
  return make_strided_copy({1, shape, strides, strides});
}

LibraryStep make_fill(int64_t element_bytes, int64_t count, uint64_t bits) {
  LibraryStep step;
  step.kind = StepKind::Copy;
  step.function = fill_function(element_bytes);
  step.context = std::make_shared<FillContext>(FillContext{count, bits});
  step.bytes = static_cast<double>(checked_mul(count, element_bytes, "fill"));
  set_work(step, ceil_div(count, kFillUnit), step.bytes / 20);
  return step;
}

}  // namespace coregrad
