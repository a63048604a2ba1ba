#pragma once
// A line search for the strong Wolfe conditions.

#include "coregrad/tensor.h"

#include <cstdint>
#include <functional>

namespace coregrad::optim {

/// The function that is minimised at `at` directions from where the search starts.
struct LinePoint {
  double at, loss;
  Tensor gradient;
  double slope;  ///< gradient times direction
};

struct LineSearch {
  std::function<LinePoint(double at)> evaluate;
  double largest_move;      ///< the direction's largest element, by size
  double tolerance_change;  ///< of a parameter
  int64_t max_steps;
};

struct LineResult {
  LinePoint point;
  int64_t evaluations;
};

/// PyTorch's _strong_wolfe (after lswolfe.lua): brackets a point, from `length` on, and refines the
/// bracket by cubic interpolation.
LineResult strong_wolfe(const LineSearch& search, const LinePoint& start, double length);

}  // namespace coregrad::optim
