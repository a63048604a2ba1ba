#pragma once
// Choices that operations take.

#include <cstdint>

namespace coregrad {

/// What a loss gives: each element's, their mean, or their sum.
enum class Reduction : uint8_t { None, Mean, Sum };

}  // namespace coregrad
