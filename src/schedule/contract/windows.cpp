#include "schedule/contract/windows.h"

#include "base/checked.h"

#include <cstdlib>
#include <optional>

namespace coregrad {
namespace {

size_t at(int64_t label) { return static_cast<size_t>(label); }

/// Calls visit(label, index) for the labels of a flat position, innermost first.
template <class Visit>
void decode(const FlatSpace& space, const std::vector<SymInt>& extents, int64_t i, Visit visit) {
  for (size_t l = space.labels.size(); l-- > 0;) {
    const int64_t label = space.labels[l], extent = extents[at(label)].hint();
    visit(label, l == 0 ? i : i % extent);
    i /= extent;
  }
}

/// What makes t a window over u, or nothing.
std::optional<SlidingWindow> window_between(const AffineOperand& operand, int64_t t, int64_t u) {
  const SymInt over = operand.coef[at(t)], under = operand.coef[at(u)];
  if (is_always(over, 0) || is_always(under, 0)) return std::nullopt;
  // Symbols that are no strides of a dimension do not divide each other.
  const SymInt divisor = common_divisor(over, under);
  if (divisor.lower_bound() < 1 || !is_multiple(over, divisor) || !is_multiple(under, divisor))
    return std::nullopt;
  const SymInt steps = floor_div(over, divisor), slides = floor_div(under, divisor);
  if (!steps.is_number() || !slides.is_number()) return std::nullopt;
  const int64_t sign = slides.number() < 0 ? -1 : 1;
  const SlidingWindow window{t, u, sign * steps.number(), sign * slides.number()};
  for (const CheckedDim& check : operand.checks) {
    const int64_t f = check.factor(t), g = check.factor(u);
    // Division (s > 1) addresses through its own stride.
    if (f * window.sliding_step != g * window.window_step || g % window.sliding_step != 0 ||
        (check.s > 1 && g != 0))
      return std::nullopt;
  }
  return window;
}

/// From the first to the last step of a window.
int64_t reach_of(const SlidingWindow& window, const std::vector<SymInt>& extents) {
  return checked_mul(std::abs(window.window_step), extents[at(window.window)].number() - 1,
                     "contract");
}

/// The extent as packed of what a window slides over.
SymInt packed_extent(const SlidingWindow& window, const std::vector<SymInt>& extents) {
  return checked_add(checked_mul(window.sliding_step, extents[at(window.sliding)] - 1, "contract"),
                     reach_of(window, extents) + 1, "contract");
}

/// The product of its labels' extents.
void set_extent(FlatSpace& space, const std::vector<SymInt>& extents) {
  space.size = 1;
  space.extent = 1;
  for (const int64_t label : space.labels) {
    space.size = checked_mul(space.size, extents[at(label)], "contract");
    space.extent = checked_mul(space.extent, extents[at(label)].hint(), "contract");
  }
}

}  // namespace

const SlidingWindow* WindowPacking::window_over(int64_t sliding) const {
  for (const SlidingWindow& window : windows)
    if (window.sliding == sliding) return &window;
  return nullptr;
}

double WindowPacking::share() const {
  return static_cast<double>(rows.extent) * static_cast<double>(columns.extent) /
         (static_cast<double>(from_rows.extent) * static_cast<double>(from_columns.extent));
}

int64_t WindowPacking::column_stride(int64_t label) const {
  int64_t stride = 1;
  for (size_t l = columns.labels.size(); l-- > 0 && columns.labels[l] != label;)
    stride = checked_mul(stride, extents[at(columns.labels[l])].hint(), "contract");
  return stride;
}

int64_t WindowPacking::position_step(int64_t label) const {
  const SlidingWindow* const window = window_over(label);
  return column_stride(label) * (window ? window->sliding_step : 1);
}

int64_t WindowPacking::position(int64_t i) const {
  int64_t sum = 0;
  decode(from_columns, from_extents, i,
         [&](int64_t label, int64_t index) { sum += index * position_step(label); });
  return sum;
}

int64_t WindowPacking::packed_row(int64_t i) const {
  int64_t row = 0, stride = 1;
  decode(from_rows, from_extents, i, [&](int64_t label, int64_t index) {
    if (std::any_of(windows.begin(), windows.end(),
                    [&](const SlidingWindow& window) { return window.window == label; }))
      return;
    row += index * stride;
    stride *= from_extents[at(label)].hint();
  });
  return row;
}

std::vector<int64_t> WindowPacking::ahead(int64_t i) const {
  std::vector<int64_t> places(windows.size());
  decode(from_rows, from_extents, i, [&](int64_t label, int64_t index) {
    for (size_t w = 0; w < windows.size(); ++w) {
      const SlidingWindow& window = windows[w];
      if (window.window != label) continue;
      const int64_t back = window.window_step < 0 ? reach_of(window, from_extents) : 0;
      places[w] = back + index * window.window_step;
    }
  });
  return places;
}

int64_t WindowPacking::offset(int64_t i) const {
  const std::vector<int64_t> places = ahead(i);
  int64_t sum = 0;
  for (size_t w = 0; w < windows.size(); ++w) sum += places[w] * column_stride(windows[w].sliding);
  return sum;
}

int64_t WindowPacking::reach() const {
  int64_t sum = 0;
  for (const SlidingWindow& window : windows)
    sum += reach_of(window, from_extents) * column_stride(window.sliding);
  return sum;
}

void WindowPacking::set_extents(const std::vector<SymInt>& extents_of_labels) {
  from_extents = extents = extents_of_labels;
  for (const SlidingWindow& window : windows)
    extents[at(window.sliding)] = packed_extent(window, from_extents);
  for (FlatSpace* space : {&from_rows, &from_columns}) set_extent(*space, from_extents);
  for (FlatSpace* space : {&rows, &columns}) set_extent(*space, extents);
}

WindowPacking plain_packing(const AffineOperand& operand, const FlatSpace& rows,
                            const FlatSpace& columns, const std::vector<SymInt>& extents) {
  return {{}, rows, columns, rows, columns, extents, extents, operand};
}

WindowPacking find_windows(const AffineOperand& operand, const FlatSpace& rows,
                           const FlatSpace& columns, const std::vector<int64_t>& sliding,
                           const std::vector<SymInt>& extents, int64_t most_step) {
  WindowPacking packing = plain_packing(operand, rows, columns, extents);
  if (rows.extent == 0 || columns.extent == 0) return packing;
  packing.rows = {};
  for (const int64_t t : rows.labels) {
    std::optional<SlidingWindow> best;
    for (const int64_t u : sliding) {
      if (!extents[at(t)].is_number()) continue;
      if (packing.window_over(u)) continue;
      const std::optional<SlidingWindow> found = window_between(operand, t, u);
      if (!found || found->sliding_step > most_step) continue;
      // Farther apart than the label slides, or side by side: another dimension, which only
      // happens to be a multiple or a fraction.
      const int64_t reach = reach_of(*found, extents);
      if (reach < found->sliding_step || reach >= found->sliding_step * extents[at(u)].hint())
        continue;
      if (!best || std::abs(found->window_step) < std::abs(best->window_step)) best = found;
    }
    if (!best) {
      packing.rows.labels.push_back(t);
      continue;
    }
    packing.windows.push_back(*best);
    const int64_t u = best->sliding, reach = reach_of(*best, extents);
    AffineOperand& moved = packing.operand;
    if (best->sliding_step != 1) moved.coef[at(u)] /= best->sliding_step;
    if (best->window_step < 0) moved.base -= reach * moved.coef[at(u)];
    for (CheckedDim& check : moved.checks) {
      (check.u == u ? check.a : check.b) /= check.factor(u) == 0 ? 1 : best->sliding_step;
      if (best->window_step < 0) check.c -= reach * check.factor(u);
    }
  }
  packing.set_extents(extents);
  return packing;
}

}  // namespace coregrad
