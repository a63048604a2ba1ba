#include "optim/strong_wolfe.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

namespace coregrad::optim {
namespace {

constexpr double kDecrease = 1e-4;  // of the loss, as a part of what the slope promises
constexpr double kCurvature = 0.9;  // what the slope must fall to

/// Where the cubic through two points with their slopes is smallest, within bounds.
double interpolate(const LinePoint& a, const LinePoint& b, double low, double high) {
  const double d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.at - b.at);
  const double square = d1 * d1 - a.slope * b.slope;
  if (!(square >= 0)) return (low + high) / 2;
  const double d2 = std::sqrt(square);
  const auto [left, right] = a.at <= b.at ? std::pair(&a, &b) : std::pair(&b, &a);
  const double smallest =
      right->at -
      (right->at - left->at) * ((right->slope + d2 - d1) / (right->slope - left->slope + 2 * d2));
  return std::min(std::max(smallest, low), high);
}

/// A point between the ends, away from them where the interval shrinks too slowly otherwise.
class Trial {
 public:
  double next(const LinePoint& a, const LinePoint& b) {
    const double low = std::min(a.at, b.at), high = std::max(a.at, b.at);
    const double at = interpolate(a, b, low, high), margin = 0.1 * (high - low);
    if (!(std::min(high - at, at - low) < margin)) {
      was_close_ = false;
      return at;
    }
    if (!was_close_ && at < high && at > low) {
      was_close_ = true;
      return at;
    }
    was_close_ = false;
    return std::abs(at - high) < std::abs(at - low) ? high - margin : low + margin;
  }

 private:
  bool was_close_ = false;
};

}  // namespace

LineResult strong_wolfe(const LineSearch& search, const LinePoint& start, double length) {
  const auto is_too_high = [&](const LinePoint& p) {
    return p.loss > start.loss + kDecrease * p.at * start.slope;
  };
  const auto is_flat = [&](const LinePoint& p) {
    return std::abs(p.slope) <= -kCurvature * start.slope;
  };

  LinePoint point = search.evaluate(length), before = start;
  int64_t evaluations = 1, steps = 0;
  std::optional<std::pair<LinePoint, LinePoint>> bracket;
  for (; steps < search.max_steps; ++steps) {
    if (is_too_high(point) || (steps > 1 && point.loss >= before.loss)) {
      bracket = {before, point};
      break;
    }
    if (is_flat(point)) return {point, evaluations};
    if (point.slope >= 0) {
      bracket = {before, point};
      break;
    }
    const double next =
        interpolate(before, point, point.at + 0.01 * (point.at - before.at), point.at * 10);
    before = std::exchange(point, search.evaluate(next));
    ++evaluations;
  }
  if (!bracket) bracket = {start, point};

  auto [low, high] = *bracket;
  if (!(low.loss <= high.loss)) std::swap(low, high);
  Trial trial;
  while (steps < search.max_steps &&
         !(std::abs(high.at - low.at) * search.largest_move < search.tolerance_change)) {
    point = search.evaluate(trial.next(low, high));
    ++evaluations;
    ++steps;
    if (is_too_high(point) || point.loss >= low.loss) {
      high = point;
      if (!(low.loss <= high.loss)) std::swap(low, high);
      continue;
    }
    const bool is_found = is_flat(point);
    if (!is_found && point.slope * (high.at - low.at) >= 0) high = low;
    low = point;
    if (is_found) break;
  }
  return {low, evaluations};
}

}  // namespace coregrad::optim
