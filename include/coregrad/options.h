#pragma once
// Choices that operations take.

#include <cstdint>
#include <optional>
#include <vector>

namespace coregrad {

/// What a loss gives: each element's, their mean, or their sum.
enum class Reduction : uint8_t { None, Mean, Sum };

/// Lists hold a value for each spatial dimension, or one for all of them.
struct ConvOptions {
  std::vector<int64_t> stride = {1};
  std::vector<int64_t> padding = {0};  ///< on both sides; may be larger than what is used
  std::vector<int64_t> dilation = {1};
  int64_t groups = 1;
  std::vector<int64_t> output_padding = {0};  ///< transposed convolutions only
};

struct PoolOptions {
  std::vector<int64_t> kernel;       ///< one extent per pooled dimension; those are the last
  std::vector<int64_t> stride = {};  ///< empty: the kernel
  std::vector<int64_t> padding = {0};
  std::vector<int64_t> dilation = {1};  ///< maxima only
  bool ceil_mode = false;
  bool count_include_pad = true;                 ///< means only
  std::optional<int64_t> divisor_override = {};  ///< means only
};

}  // namespace coregrad
