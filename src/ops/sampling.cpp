// Samples of images and volumes, [N, C, spatial..]: at the places of a grid, and in other sizes.

#include "base/checked.h"
#include "ops/conv.h"
#include "ops/detail.h"
#include "ops/expression.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace coregrad::ops {
namespace {

enum class Outside : uint8_t { Zeros, Border, Reflection };

// Coefficients of Keys' cubic: of PyTorch's samples, and of its filters.
constexpr double kCubic = -0.75, kSmoothCubic = -0.5;

// Keys' weight of an element at a distance below 1, and of one at a distance from 1 to 2.
Expr near_weight(Expr d, double a) { return ((a + 2) * d - (a + 3)) * d * d + 1; }
Expr far_weight(Expr d, double a) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; }

// Weights of the elements one before, at, one and two behind floor(c), where t = c - floor(c).
std::array<Expr, 4> cubic_weights(Expr t) {
  return {far_weight(t + 1, kCubic), near_weight(t, kCubic), near_weight(1 - t, kCubic),
          far_weight(2 - t, kCubic)};
}

// A coordinate, and the weight of the element there.
struct Tap {
  Expr place, weight;
};

// Grids

// From [-1, 1], the image, to elements.
Expr unnormalised(Expr c, SymInt extent, bool align_corners) {
  return align_corners ? (c + 1) / 2 * (extent - 1) : ((c + 1) * extent - 1) / 2;
}

Expr reflected(Expr c, double low, SymInt extent) {
  Graph& g = *c.graph;
  if (extent == 0) return {g, full(g, g.shape(c.node), Scalar::of(g.dtype(c.node), 0))};
  const Expr span(extent);
  const Expr away = abs(c - low), flips = floor(away / span), rest = away - flips * span;
  return where(fmod(flips, 2) != 0, span - rest + low, rest + low);
}

// What is done with coordinates outside of the image; where they are moved their gradient ends.
Expr padded(Expr c, SymInt extent, Outside outside, bool align_corners) {
  const Expr last(extent - 1);
  if (outside == Outside::Reflection)
    c = align_corners ? reflected(c, 0, extent - 1) : reflected(c, -0.5, extent);
  return outside == Outside::Zeros ? c : where(c <= 0, 0, where(c >= last, last, c));
}

// x [N, C, area] at whole coordinates [N, P] of each dimension: [N, C, P]; 0 outside.
Expr value_at(Graph& g, NodeId x, Shape extents, std::span<const Expr> coordinates) {
  Expr place(0), inside(0);
  for (size_t d = 0; d < coordinates.size(); ++d) {
    const Expr c = coordinates[d];
    const Expr within = (c >= 0) & (c <= extents[d] - 1);
    const Expr index(g, cast(g, where(within, c, 0).node, DType::Int64));
    inside = d == 0 ? within : inside & within;
    place = d == 0 ? index : place * extents[d] + index;
  }
  const Dims shape{g.shape(x)[0], g.shape(x)[1], g.shape(place.node)[1]};
  const auto for_channels = [&](Expr v) { return broadcast_to(g, unsqueeze(g, v.node, 1), shape); };
  const Expr value(g, gather(g, x, 2, for_channels(place)));
  return where({g, for_channels(inside)}, value, 0);
}

// The elements that a coordinate [N, P] of one dimension takes part of.
std::vector<Tap> taps(Expr c, SymInt extent, std::string_view mode, Outside outside,
                      bool align_corners) {
  c = unnormalised(c, extent, align_corners);
  if (mode == "bicubic") {
    const Expr low = floor(c);
    const std::array<Expr, 4> weights = cubic_weights(c - low);
    std::vector<Tap> all;
    for (size_t i = 0; i < 4; ++i) {
      const Expr place = low + (static_cast<double>(i) - 1);
      all.push_back({round(padded(place, extent, outside, align_corners)), weights[i]});
    }
    return all;
  }
  c = padded(c, extent, outside, align_corners);
  if (mode == "nearest") return {{round(c), 1}};
  const Expr low = floor(c);
  return {{low, low + 1 - c}, {low + 1, c - low}};
}

// Other sizes

// The ratio of two sizes: a number, or a scalar of the dtype.
Expr ratio(Graph& g, DType dtype, SymInt a, SymInt b) {
  if (SymInt::are_equal(a, b)) return 1;
  if (a.is_number() && b.is_number())
    return static_cast<double>(a.number()) / static_cast<double>(b.number());
  const auto wide_size = [&](SymInt n) { return Expr(g, cast(g, size(g, n), DType::Float64)); };
  return {g, cast(g, (wide_size(a) / wide_size(b)).node, dtype)};
}

// How far apart in the input neighbours of the output are.
Expr step_of(Graph& g, DType dtype, SymInt extent, SymInt places, double scale,
             bool align_corners) {
  if (align_corners) return places > 1 ? ratio(g, dtype, extent - 1, places - 1) : Expr(0);
  return scale > 0 ? Expr(1 / scale) : ratio(g, dtype, extent, places);
}

Expr numbers(Graph& g, DType dtype, SymInt n) {
  return {g, cast(g, iota(g, DType::Int64, n), dtype)};
}

// The elements of a dimension at places, each times its weight, as a sum.
NodeId weighted(Graph& g, NodeId x, size_t dim, std::span<const Tap> all) {
  const auto rank = static_cast<size_t>(g.rank(x));
  Expr total(0);
  for (size_t i = 0; i < all.size(); ++i) {
    const NodeId index = cast(g, all[i].place.node, DType::Int64);
    const Expr part = Expr(g, index_select(g, x, static_cast<int64_t>(dim), index)) *
                      Expr(g, along(g, all[i].weight.node, dim, rank));
    total = i == 0 ? part : total + part;
  }
  return total.node;
}

NodeId linear_in(Graph& g, NodeId x, size_t dim, SymInt places, Expr step, bool align_corners) {
  const Expr last(g.shape(x)[dim] - 1);
  const Expr place = numbers(g, g.dtype(x), places);
  const Expr c = align_corners ? place * step : maximum((place + 0.5) * step - 0.5, 0);
  const Expr low = minimum(floor(c), last), high = minimum(low + 1, last);
  const Expr t = minimum(c - low, 1);
  const Tap both[] = {{low, 1 - t}, {high, t}};
  return weighted(g, x, dim, both);
}

NodeId cubic_in(Graph& g, NodeId x, size_t dim, SymInt places, Expr step, bool align_corners) {
  const Expr last(g.shape(x)[dim] - 1);
  const Expr place = numbers(g, g.dtype(x), places);
  const Expr c = align_corners ? place * step : (place + 0.5) * step - 0.5;
  const Expr low = floor(c);
  const std::array<Expr, 4> weights = cubic_weights(c - low);
  std::vector<Tap> all;
  for (size_t i = 0; i < 4; ++i) {
    const Expr at = low + (static_cast<double>(i) - 1);
    all.push_back({minimum(maximum(at, 0), last), weights[i]});
  }
  return weighted(g, x, dim, all);
}

// Whole ratios are views; others are looked up, by places that float32 gives as in PyTorch.
NodeId nearest_in(Graph& g, NodeId x, size_t dim, SymInt places, Expr step, bool is_exact) {
  const SymInt extent = g.shape(x)[dim];
  const auto at = static_cast<int64_t>(dim);
  const bool are_numbers = extent.is_number() && places.is_number();
  const bool is_ratio =
      step.graph || (are_numbers && step.number == ratio(g, DType::Float64, extent, places).number);
  const auto divides = [](SymInt a, SymInt b) { return SymInt::are_equal(floor_mod(b, a), 0); };
  if (is_ratio && divides(extent, places)) return repeat_interleave(g, x, places / extent, at);
  if (is_ratio && divides(places, extent)) {
    const SymInt every = extent / places;
    return narrow(g, x, at, is_exact ? every / 2 : SymInt(0), extent, every);
  }
  const Expr place = numbers(g, DType::Float32, places) + (is_exact ? 0.5 : 0);
  const Expr index = minimum(floor(place * step), extent - 1);
  return index_select(g, x, at, cast(g, index.node, DType::Int64));
}

// Weights [places, extent] of a filter around each place, as wide as a step of the larger grid.
NodeId filter(Graph& g, SymInt extent, SymInt places, Expr step, bool is_cubic, DType dtype) {
  const Expr width = step.graph ? maximum(step, 1) : Expr(std::max(step.number, 1.0));
  const Expr support = !is_cubic ? width : width.graph ? width * 2 : Expr(2 * width.number);
  const auto line = [&](Expr v, size_t dim) { return Expr(g, along(g, v.node, dim, 2)); };
  const Expr center = line((numbers(g, DType::Float64, places) + 0.5) * step, 0);
  const Expr column = line(numbers(g, DType::Float64, extent), 1);
  const Expr first = floor(maximum(center - support + 0.5, 0));
  const Expr end = floor(maximum(center + support + 0.5, 0));
  const Expr d = abs((column - center + 0.5) / width);
  const Expr cubic =
      where(d < 1, near_weight(d, kSmoothCubic), where(d < 2, far_weight(d, kSmoothCubic), 0));
  const Expr shape = is_cubic ? cubic : maximum(1 - d, 0);
  const Expr weight = where((column >= first) & (column < end), shape, 0);
  const Expr total(g, reduce(g, Op::Sum, weight.node, {{1}}, true));
  return cast(g, (weight / total).node, dtype);
}

// The sum along a dimension for each row of weights; a weight of 0 hides infinite elements.
NodeId filtered(Graph& g, NodeId x, size_t dim, NodeId weights) {
  Dims shape(static_cast<size_t>(g.rank(x)) + 1, 1);
  shape[dim] = g.shape(weights)[0];
  shape[dim + 1] = g.shape(weights)[1];
  const auto at = static_cast<int64_t>(dim);
  const Expr weight(g, reshape(g, weights, shape)), element(g, unsqueeze(g, x, at));
  return reduce(g, Op::Sum, where(weight != 0, element * weight, 0).node, {{at + 1}});
}

// floor(extent * factor) as float64 has it; 0 if that is no size.
SymInt scaled(SymInt extent, double factor) {
  // A factor of few bits multiplies a size exactly.
  constexpr int kBits = 20;
  int exponent = 0;
  const double dividend = std::ldexp(std::frexp(factor, &exponent), kBits);
  if (!extent.is_number() && dividend == std::floor(dividend) && factor > 0 &&
      std::abs(exponent) <= kBits)
    return floor_div(extent * static_cast<int64_t>(dividend), int64_t{1} << (kBits - exponent));
  const double places = std::floor(static_cast<double>(extent.specialized()) * factor);
  return places >= 1 && places < 0x1p53 ? static_cast<int64_t>(places) : 0;
}

struct Resize {
  std::string_view mode;
  Dims places;
  std::vector<double> scales;  ///< 0: by the extents
  bool align_corners;
  bool is_smooth;

  Resize(const Graph& g, NodeId x, SymInts size, std::span<const double> factors,
         std::string_view wanted, std::optional<bool> aligned, bool recompute, bool antialias)
      : mode(wanted), align_corners(aligned.value_or(false)), is_smooth(antialias) {
    if (g.rank(x) < 3 || g.rank(x) > 5)
      raise<ShapeError>("interpolate: the input must be [N, C, spatial..]: got {}", describe(g, x));
    const auto spatial = static_cast<size_t>(g.rank(x)) - 2;
    require_mode(spatial);
    if (size.empty() == factors.empty())
      raise<ValueError>("interpolate: either size or scale_factor must be given");
    if (!size.empty())
      places = per_dimension(Dims(size.begin(), size.end()), spatial, 1, "interpolate", "size");
    scales.assign(spatial, 0);
    if (factors.size() > 1 && factors.size() != spatial)
      raise<ValueError>("interpolate: there must be one scale_factor or {}: got {}", spatial,
                        factors.size());
    for (size_t d = 0; d < spatial && !factors.empty(); ++d) {
      const double factor = factors.size() == 1 ? factors[0] : factors[d];
      places.push_back(scaled(g.shape(x)[d + 2], factor));
      if (places.back() < 1)
        raise<ValueError>("interpolate: extents must be at least 1: got scale_factor {} for {}",
                          factor, describe(g, x));
      if (!recompute) scales[d] = factor;
    }
    if (g.numel(x) == 0)
      raise<ShapeError>("interpolate: there is nothing between no elements: got {}",
                        describe(g, x));
  }

 private:
  void require_mode(size_t spatial) const {
    constexpr std::string_view linear[] = {"linear", "bilinear", "trilinear"};
    const bool is_linear = mode == linear[spatial - 1];
    const bool is_cubic = mode == "bicubic" && spatial == 2;
    const bool is_plain = mode == "nearest" || mode == "nearest-exact" || mode == "area";
    if (!is_linear && !is_cubic && !is_plain)
      raise<ValueError>(
          "interpolate: mode must be 'nearest', 'nearest-exact', 'area', '{}'{} for {} spatial "
          "dimensions: got '{}'",
          linear[spatial - 1], spatial == 2 ? " or 'bicubic'" : "", spatial, mode);
    if (is_plain && align_corners)
      raise<ValueError>("interpolate: align_corners has no meaning for mode '{}'", mode);
    if (is_smooth && !(spatial == 2 && !is_plain))
      raise<ValueError>(
          "interpolate: antialias needs mode 'bilinear' or 'bicubic' and two spatial dimensions: "
          "got '{}'",
          mode);
  }
};

}  // namespace

NodeId grid_sample(Graph& g, NodeId x, NodeId grid, std::string_view mode,
                   std::string_view padding_mode, std::optional<bool> align_corners) {
  const auto rank = static_cast<size_t>(g.rank(x));
  if ((rank != 4 && rank != 5) || g.shape(grid).size() != rank ||
      g.shape(grid)[0] != g.shape(x)[0] || g.shape(grid).back() != g.rank(x) - 2)
    raise<ShapeError>(
        "grid_sample: the input must be [N, C, H, W] or [N, C, D, H, W] and the grid have N rows "
        "of places with a coordinate for each spatial dimension: got {} and {}",
        describe(g, x), describe(g, grid));
  if (mode != "bilinear" && mode != "nearest" && (mode != "bicubic" || rank != 4))
    raise<ValueError>("grid_sample: mode must be 'bilinear', 'nearest'{}: got '{}'",
                      rank == 4 ? " or 'bicubic'" : "", mode);
  constexpr std::string_view words[] = {"zeros", "border", "reflection"};
  const auto* const word = std::ranges::find(words, padding_mode);
  if (word == std::end(words))
    raise<ValueError>(
        "grid_sample: padding_mode must be 'zeros', 'border' or 'reflection': got "
        "'{}'",
        padding_mode);
  if (g.numel(x) == 0)
    raise<ShapeError>("grid_sample: the input must have elements: got {}", describe(g, x));
  const auto outside = static_cast<Outside>(word - std::begin(words));
  const size_t spatial = rank - 2;
  const Dims shape = shape_of(g, x), extents(shape.begin() + 2, shape.end());
  Dims result{shape[0], shape[1]};
  result.insert(result.end(), g.shape(grid).begin() + 1, g.shape(grid).end() - 1);
  const SymInt places = checked_numel(std::span(result).subspan(2), "grid_sample");
  const NodeId image = reshape(g, x, {{shape[0], shape[1], checked_numel(extents, "grid_sample")}});
  grid = reshape(g, grid, {{shape[0], places, static_cast<int64_t>(spatial)}});
  std::vector<std::vector<Tap>> all;
  for (size_t d = 0; d < spatial; ++d) {
    const auto at = static_cast<int64_t>(spatial - 1 - d);  // the last dimension comes first
    const Expr c(g, reshape(g, narrow(g, grid, 2, at, at + 1), {{shape[0], places}}));
    all.push_back(taps(c, extents[d], mode, outside, align_corners.value_or(false)));
  }
  Expr total(0);
  int64_t corners = 1;
  for (const std::vector<Tap>& of_dim : all) corners *= static_cast<int64_t>(of_dim.size());
  for (int64_t corner = 0; corner < corners; ++corner) {
    // Digits of the corner's number say which tap of each dimension.
    std::vector<Expr> coordinates(spatial, 0), weights(spatial, 1);
    int64_t rest = corner;
    for (size_t d = spatial; d-- > 0;) {
      const auto count = static_cast<int64_t>(all[d].size());
      coordinates[d] = all[d][rest % count].place;
      weights[d] = all[d][rest % count].weight;
      rest /= count;
    }
    Expr value = value_at(g, image, extents, coordinates);
    if (mode != "nearest")
      for (const Expr& weight : weights) value = value * Expr(g, unsqueeze(g, weight.node, 1));
    total = corner == 0 ? value : total + value;
  }
  return reshape(g, total.node, result);
}

NodeId interpolate(Graph& g, NodeId x, SymInts size, std::span<const double> scale_factor,
                   std::string_view mode, std::optional<bool> align_corners,
                   std::optional<bool> recompute, bool antialias) {
  const Resize to(g, x, size, scale_factor, mode, align_corners, recompute.value_or(false),
                  antialias);
  if (mode == "area") return adaptive_avg_pool(g, x, to.places);
  for (size_t i = 0; i < to.places.size(); ++i) {
    const size_t dim = i + 2;
    const SymInt extent = g.shape(x)[dim], places = to.places[i];
    const bool is_nearest = mode == "nearest" || mode == "nearest-exact";
    const bool is_cubic = mode == "bicubic";
    const DType dtype = is_nearest ? DType::Float32 : antialias ? DType::Float64 : g.dtype(x);
    const Expr step = step_of(g, dtype, extent, places, to.scales[i], to.align_corners);
    if (SymInt::are_equal(places, extent) && !step.graph && step.number == 1) continue;
    if (is_nearest)
      x = nearest_in(g, x, dim, places, step, mode == "nearest-exact");
    else if (antialias)
      x = filtered(g, x, dim, filter(g, extent, places, step, is_cubic, g.dtype(x)));
    else if (is_cubic)
      x = cubic_in(g, x, dim, places, step, to.align_corners);
    else
      x = linear_in(g, x, dim, places, step, to.align_corners);
  }
  return x;
}

}  // namespace coregrad::ops
