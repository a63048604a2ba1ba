#pragma once
// Steps written in C++ for what loops over expressions cannot say: sorting, scans, scatter, copies
// between strided layouts. All are deterministic for any number of threads.

#include "runtime/element.h"
#include "runtime/plan.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace coregrad {

/// What a plan needs to know about a library step; `append` makes a Step of it.
struct LibraryStep {
  StepFunction function = nullptr;
  std::shared_ptr<const void> context;
  StepKind kind = StepKind::Library;
  int64_t range = 0;
  int64_t chunk = 1;
  int64_t scratch_bytes = 0;
  double flops = 0, bytes = 0, cost_ns = 0;
};

/// Work of a chunk of a library step.
inline constexpr double kLibraryChunkNs = 20000;
/// Units of a chunk of about `chunk_ns` of work, so that there are at most 64 chunks.
int64_t library_chunk(int64_t range, double cost_ns, double chunk_ns = kLibraryChunkNs);

/// Adds the step with these arguments to the plan, which keeps its context alive.
void append(Plan& plan, const LibraryStep& step, std::span<const SlotId> args, std::string name);

/// Arguments: x, indices (int64). Contiguous buffers of one shape. indices[.., k, ..] is where the
/// k-th smallest (or largest) element along `dim` lies. Stable; NaN is larger than any number; -0
/// equals 0.
LibraryStep make_argsort(Element element, std::span<const int64_t> shape, int64_t dim,
                         bool descending);

enum class ScanKind : uint8_t { Sum, Product };
/// Arguments: x, result. Contiguous, of one shape; the result may be x itself. float32 accumulates
/// in float64, integers wrap, bool is or / and.
LibraryStep make_scan(ScanKind kind, Element element, std::span<const int64_t> shape, int64_t dim);

/// In the order of the IR's ScatterMode.
enum class ScatterCombine : uint8_t { Set, Add, Mul, Max, Min };

struct ScatterSpec {
  Element element;
  ScatterCombine combine;
  int64_t dim;
  std::span<const int64_t> shape;        ///< of the result, contiguous
  std::span<const int64_t> index_shape;  ///< of index and values; same rank
  /// In elements; empty: contiguous. A stride of 0 says that the index is the same along a
  /// dimension (rows are scattered as wholes), which is much cheaper than an expanded copy.
  std::span<const int64_t> index_strides = {};
  std::span<const int64_t> value_strides = {};
};
/// Arguments: result (holds x already), index (int64), values. Values that meet at one element
/// combine in ascending order along `dim`. An index out of range is reported and skipped.
LibraryStep make_scatter(const ScatterSpec& spec);

struct StridedCopySpec {
  int64_t element_bytes;  ///< 1, 2, 4, 8 or 16
  std::span<const int64_t> shape;
  std::span<const int64_t> source_strides;  ///< in elements; 0 repeats, negative runs backwards
  std::span<const int64_t> destination_strides;       ///< no two elements at one place
  int64_t source_offset = 0, destination_offset = 0;  ///< of element 0, in elements
};
/// Arguments: source, destination, which do not overlap.
LibraryStep make_strided_copy(const StridedCopySpec& spec);

/// Arguments: source, destination. One contiguous block.
LibraryStep make_copy(int64_t bytes);

/// Argument: destination. `count` elements of 1, 2, 4 or 8 bytes, each the low bytes of `bits`.
LibraryStep make_fill(int64_t element_bytes, int64_t count, uint64_t bits);

}  // namespace coregrad
