#pragma once
// Packing an operand once for all steps of a window that slides over it.
//
// Where a label t (the window: a row of a convolution's kernel) and a label u (what slides: a row
// of the output) move the operand along the same dimension, the element at (t, u) depends on
// window_step * t + sliding_step * u alone. Packed along that sum, it is copied once in place of
// once for each t, and read at places that come from two tables: position(u) + offset(t).

#include "schedule/contract/operand.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace coregrad {

struct SlidingWindow {
  int64_t window = 0, sliding = 0;            ///< labels t and u
  int64_t window_step = 1, sliding_step = 1;  ///< sliding_step > 0
};

/// An operand packed as [rows][columns]: `rows` has no window labels, and sliding labels among the
/// columns reach as far as their windows do. Without windows: the operand as it is.
struct WindowPacking {
  std::vector<SlidingWindow> windows;
  FlatSpace from_rows, from_columns;  ///< before
  FlatSpace rows, columns;            ///< as packed
  std::vector<SymInt> from_extents;   ///< of each label
  std::vector<SymInt> extents;        ///< of each label, sliding labels as packed
  AffineOperand operand;  ///< moved so that no step of a window is in front of the first

  bool is_window() const { return !windows.empty(); }
  /// Steps of all windows together: how often a packed element is used.
  int64_t steps() const { return is_window() ? from_rows.extent / rows.extent : 1; }
  /// Elements packed for each element of the rows and columns before, 1 without windows.
  double share() const;
  /// Packed columns between neighbours of a label of the columns.
  int64_t column_stride(int64_t label) const;
  /// Packed columns from one index of a label of the columns before to the next.
  int64_t position_step(int64_t label) const;
  /// Packed column of column `i` at the first step of every window.
  int64_t position(int64_t i) const;
  /// Packed row of row `i`, and how many packed columns its steps of windows lie ahead.
  int64_t packed_row(int64_t i) const;
  int64_t offset(int64_t i) const;
  /// Of it, places along what each window slides over.
  std::vector<int64_t> ahead(int64_t i) const;
  /// The greatest offset.
  int64_t reach() const;
  const SlidingWindow* window_over(int64_t sliding) const;
  /// Gives the labels other extents.
  void set_extents(const std::vector<SymInt>& extents_of_labels);
};

/// The operand without windows.
WindowPacking plain_packing(const AffineOperand& operand, const FlatSpace& rows,
                            const FlatSpace& columns, const std::vector<SymInt>& extents);

/// Takes out each label of `rows` that is a window over one of the labels `sliding` of `columns`,
/// whose steps are at most `most_step`. Windows have a number of steps; what they slide over may be
/// a symbol's.
WindowPacking find_windows(const AffineOperand& operand, const FlatSpace& rows,
                           const FlatSpace& columns, const std::vector<int64_t>& sliding,
                           const std::vector<SymInt>& extents, int64_t most_step);

}  // namespace coregrad
