// Scatter. A lane is a position in all dimensions but the scattered one; lanes never meet, so units
// are blocks of lanes. Where lanes are few, a unit also owns a range of destinations only, and all
// such units read all indices. Either way one unit sees all values of an element, in index order.

#include "runtime/library_internal.h"

#include <numeric>
#include <vector>

namespace coregrad {
namespace {

/// One dimension of the lanes, with its strides in elements.
struct LaneDim {
  int64_t extent, out, index, value;
};

struct ScatterContext {
  std::vector<LaneDim> outer;  ///< all lane dimensions but the last
  LaneDim inner{1, 0, 0, 0};   ///< the last one
  LaneDim along{0, 0, 0, 0};   ///< the scattered dimension; extent of the index
  int64_t destinations = 0;    ///< extent of the result along it
  int64_t block = 1;           ///< lanes of `inner` in a unit
  int64_t blocks = 1;
  int64_t ranges = 1;  ///< of destinations
};

template <class T, ScatterCombine kMode>
T combine(T old, T value) {
  switch (kMode) {
    case ScatterCombine::Set:
      return value;
    case ScatterCombine::Add:
      return element_add(old, value);
    case ScatterCombine::Mul:
      return element_mul(old, value);
    case ScatterCombine::Max:
      return element_max(old, value);
    case ScatterCombine::Min:
      return element_min(old, value);
  }
  return value;
}

/// One unit: a block of lanes and a range of destinations.
template <class T, ScatterCombine kMode>
struct Unit {
  const ScatterContext& c;
  RunStatus* status;
  T* out;
  const int64_t* index;
  const T* values;
  int64_t low, high;

  /// The destination at an index element, or -1 if another unit has it or nobody.
  int64_t destination(int64_t at) const {
    const int64_t to = index[at];
    if (to >= low && to < high) return to;
    if (static_cast<uint64_t>(to) >= static_cast<uint64_t>(c.destinations)) [[unlikely]]
      report_bad_index(status, "scatter", to, c.destinations);
    return -1;
  }

  void put(int64_t lane, int64_t k) const {
    const int64_t to = destination(k * c.along.index + lane * c.inner.index);
    if (to < 0) return;
    T& element = out[to * c.along.out + lane * c.inner.out];
    element = combine<T, kMode>(element, values[k * c.along.value + lane * c.inner.value]);
  }

  /// All lanes of the block go to the same destinations.
  template <class PutRow>
  void put_rows(int64_t first, PutRow put_row) const {
    for (int64_t k = 0; k < c.along.extent; ++k)
      if (const int64_t to = destination(k * c.along.index); to >= 0)
        put_row(out + to * c.along.out + first * c.inner.out,
                values + k * c.along.value + first * c.inner.value);
  }

  /// Rows without gaps, in pieces of a fixed length that need no loop.
  void put_dense_rows(int64_t first, int64_t count) const {
    constexpr int64_t kPiece = 64 / static_cast<int64_t>(sizeof(T));
    put_rows(first, [count](T* __restrict row, const T* __restrict from) {
      int64_t i = 0;
      for (; i + kPiece <= count; i += kPiece)
        for (int64_t j = i; j < i + kPiece; ++j) row[j] = combine<T, kMode>(row[j], from[j]);
      for (; i < count; ++i) row[i] = combine<T, kMode>(row[i], from[i]);
    });
  }

  void run(int64_t first, int64_t count) const {
    if (c.inner.index == 0 && c.inner.out == 1 && c.inner.value == 1) {
      put_dense_rows(first, count);
    } else if (c.inner.index == 0) {
      put_rows(first, [&](T* row, const T* from) {
        for (int64_t i = 0; i < count; ++i)
          row[i * c.inner.out] = combine<T, kMode>(row[i * c.inner.out], from[i * c.inner.value]);
      });
    } else if (c.along.index <= c.inner.index) {
      for (int64_t lane = first; lane < first + count; ++lane)
        for (int64_t k = 0; k < c.along.extent; ++k) put(lane, k);
    } else {
      for (int64_t k = 0; k < c.along.extent; ++k)
        for (int64_t lane = first; lane < first + count; ++lane) put(lane, k);
    }
  }
};

template <class T, ScatterCombine kMode>
void scatter_units(const StepArgs* args, int64_t begin, int64_t end, int) {
  const auto& c = context_of<ScatterContext>(args);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t range = unit % c.ranges;
    const int64_t first = unit / c.ranges % c.blocks * c.block;
    int64_t rest = unit / c.ranges / c.blocks;
    int64_t out = 0, index = 0, value = 0;
    for (size_t d = c.outer.size(); d-- > 0;) {
      const LaneDim& dim = c.outer[d];
      const int64_t at = rest % dim.extent;
      rest /= dim.extent;
      out += at * dim.out;
      index += at * dim.index;
      value += at * dim.value;
    }
    const int64_t part = ceil_div(c.destinations, c.ranges);
    const Unit<T, kMode> work{c,
                              args->status,
                              buffer<T>(args, 0) + out,
                              buffer<const int64_t>(args, 1) + index,
                              buffer<const T>(args, 2) + value,
                              range * part,
                              std::min(c.destinations, (range + 1) * part)};
    work.run(first, std::min(c.block, c.inner.extent - first));
  }
}

template <class T>
StepFunction function_for(ScatterCombine mode) {
  switch (mode) {
    case ScatterCombine::Set:
      return scatter_units<T, ScatterCombine::Set>;
    case ScatterCombine::Add:
      return scatter_units<T, ScatterCombine::Add>;
    case ScatterCombine::Mul:
      return scatter_units<T, ScatterCombine::Mul>;
    case ScatterCombine::Max:
      return scatter_units<T, ScatterCombine::Max>;
    case ScatterCombine::Min:
      return scatter_units<T, ScatterCombine::Min>;
  }
  COREGRAD_UNREACHABLE("scatter mode");
}

std::vector<int64_t> contiguous_strides(std::span<const int64_t> shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

std::vector<int64_t> strides_or_contiguous(std::span<const int64_t> strides,
                                           std::span<const int64_t> shape) {
  if (strides.empty()) return contiguous_strides(shape);
  COREGRAD_CHECK(strides.size() == shape.size());
  return {strides.begin(), strides.end()};
}

/// True if the two dimensions, `a` outside `b`, can be walked as one.
bool can_merge(const LaneDim& a, const LaneDim& b) {
  return a.out == b.extent * b.out && a.index == b.extent * b.index &&
         a.value == b.extent * b.value;
}

}  // namespace

LibraryStep make_scatter(const ScatterSpec& spec) {
  const size_t rank = spec.shape.size();
  COREGRAD_CHECK(spec.index_shape.size() == rank);
  checked_numel(spec.shape, "scatter");
  const int64_t count = checked_numel(spec.index_shape, "scatter");
  COREGRAD_CHECK(!is_only_stored(spec.element) || spec.combine == ScatterCombine::Set);
  auto context = std::make_shared<ScatterContext>();
  ScatterContext& c = *context;
  LibraryStep step;
  with_element_type(spec.element, [&]<class T>(std::type_identity<T>) {
    step.function = function_for<T>(spec.combine);
  });
  step.context = context;
  if (count == 0) return step;

  const auto out_strides = contiguous_strides(spec.shape);
  const auto index_strides = strides_or_contiguous(spec.index_strides, spec.index_shape);
  const auto value_strides = strides_or_contiguous(spec.value_strides, spec.index_shape);
  c.along = {1, 0, 0, 0};
  c.destinations = 1;
  std::vector<LaneDim> lanes;
  for (size_t d = 0; d < rank; ++d) {
    const LaneDim dim{spec.index_shape[d], out_strides[d], index_strides[d], value_strides[d]};
    if (static_cast<int64_t>(d) == spec.dim) {
      c.along = dim;
      c.destinations = spec.shape[d];
      continue;
    }
    COREGRAD_CHECK(spec.index_shape[d] <= spec.shape[d]);
    if (dim.extent == 1) continue;
    if (!lanes.empty() && can_merge(lanes.back(), dim)) {
      const int64_t extent = lanes.back().extent * dim.extent;
      lanes.back() = dim;
      lanes.back().extent = extent;
    } else {
      lanes.push_back(dim);
    }
  }
  if (!lanes.empty()) {
    c.inner = lanes.back();
    lanes.pop_back();
  }
  c.outer = std::move(lanes);

  // Whole rows keep their length where destinations can be cut instead; single lanes go in blocks
  // that share no cache line.
  constexpr int64_t kMostUnits = 16;
  const bool rows = c.inner.index == 0 && c.inner.extent > 1;
  c.block = std::min<int64_t>(c.inner.extent, rows ? 1024 : 16);
  c.blocks = ceil_div(c.inner.extent, c.block);
  const int64_t outer = std::accumulate(c.outer.begin(), c.outer.end(), int64_t{1},
                                        [](int64_t n, const LaneDim& d) { return n * d.extent; });
  const int64_t units = outer * c.blocks;
  // Each range of destinations reads all indices again, which costs as much as some four elements.
  if (count >= 65536 && units < kMostUnits)
    c.ranges = std::clamp<int64_t>(std::min(kMostUnits / units, c.block / 16), 1,
                                   std::max<int64_t>(1, c.destinations));
  const auto n = static_cast<double>(count);
  const double index_reads =
      (rows ? n / static_cast<double>(c.block) : n) * static_cast<double>(c.ranges);
  step.flops = spec.combine == ScatterCombine::Set ? 0 : n;
  step.bytes = 3 * n * static_cast<double>(size_of(spec.element)) + 8 * index_reads;
  set_work(step, units * c.ranges, n * (rows ? 0.25 : 2.0) + index_reads * 1.0);
  return step;
}

}  // namespace coregrad
