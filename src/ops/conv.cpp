#include "ops/conv.h"

#include "base/checked.h"
#include "ops/detail.h"

namespace coregrad::ops {
namespace {

// What both convolutions have in common: groups as a dimension of their own, labels, one contract.
struct ConvBuilder {
  Graph& g;
  NodeId x, weight;
  std::string_view operation;
  size_t spatial;
  Dims stride, padding, dilation;
  int64_t groups;

  ConvBuilder(Graph& graph, NodeId x_, NodeId weight_, const ConvOptions& options,
              std::string_view name)
      : g(graph), x(x_), weight(weight_), operation(name), groups(options.groups) {
    const int rank = g.rank(x);
    if (rank < 3 || g.rank(weight) != rank)
      raise<ShapeError>("{}: the input must be [N,C,..] and the weight of its rank: got {} and {}",
                        operation, describe(g, x), describe(g, weight));
    if (groups < 1) raise<ValueError>("{}: groups must be at least 1: got {}", operation, groups);
    spatial = static_cast<size_t>(rank) - 2;
    stride = per_dimension(options.stride, spatial, 1, operation, "stride");
    padding = per_dimension(options.padding, spatial, 0, operation, "padding");
    dilation = per_dimension(options.dilation, spatial, 1, operation, "dilation");
    const DType dtype = promote(g.dtype(x), g.dtype(weight));
    x = cast(g, x, dtype);
    weight = cast(g, weight, dtype);
  }

  // A number: steps of a window are written out, or their places stand in a table.
  int64_t kernel(size_t d) const { return g.shape(weight)[d + 2]; }
  SymInt extent(size_t d) const { return g.shape(x)[d + 2]; }
  SymInt reach(size_t d) const { return checked_mul(dilation[d], kernel(d) - 1, operation); }

  // x[N,(G),c,..] with the weight's dimensions in the order its labels are given in, summed over
  // the input channels and the kernel. `map` gives the input index of a spatial dimension.
  template <class Map>
  NodeId build(SymInt in_channels, SymInt out_channels, bool weight_input_first, const Dims& output,
               Map map) {
    const SymInt batch = g.shape(x)[0], per_group_in = in_channels / groups,
                 per_group_out = out_channels / groups;
    const bool grouped = groups > 1;
    ContractSpec spec;
    const auto label = [&](SymInt size) {
      spec.extents.push_back(size);
      return static_cast<int64_t>(spec.extents.size()) - 1;
    };
    const int64_t n = label(batch), group = grouped ? label(groups) : -1, o = label(per_group_out);
    Dims places, offsets;
    for (size_t d = 0; d < spatial; ++d) places.push_back(label(output[d]));
    const int64_t c = label(per_group_in);
    for (size_t d = 0; d < spatial; ++d) offsets.push_back(label(kernel(d)));

    Dims x_shape = {batch}, w_shape, result = {batch, out_channels};
    spec.lhs = {DimMap::label(n)};
    spec.out = {n};
    if (grouped) {
      x_shape.push_back(groups);
      w_shape.push_back(groups);
      spec.lhs.push_back(DimMap::label(group));
      spec.rhs.push_back(DimMap::label(group));
      spec.out.push_back(group);
    }
    x_shape.push_back(per_group_in);
    spec.lhs.push_back(DimMap::label(c));
    spec.out.push_back(o);
    for (int64_t first : {weight_input_first ? c : o, weight_input_first ? o : c}) {
      w_shape.push_back(spec.extents[first]);
      spec.rhs.push_back(DimMap::label(first));
    }
    for (size_t d = 0; d < spatial; ++d) {
      x_shape.push_back(extent(d));
      w_shape.push_back(kernel(d));
      result.push_back(output[d]);
      spec.lhs.push_back(map(d, places[d], offsets[d]));
      spec.rhs.push_back(DimMap::label(offsets[d]));
      spec.out.push_back(places[d]);
    }
    return reshape(g, contract(g, reshape(g, x, x_shape), reshape(g, weight, w_shape), spec),
                   result);
  }

  NodeId with_bias(NodeId y, std::optional<NodeId> bias) {
    if (!bias) return y;
    if (g.rank(*bias) != 1 || g.shape(*bias)[0] != g.shape(y)[1])
      raise<ShapeError>("{}: the bias must have one value per output channel ({}): got {}",
                        operation, g.shape(y)[1], describe(g, *bias));
    Dims shape(spatial + 1, 1);
    shape[0] = g.shape(y)[1];
    return add(g, y, reshape(g, *bias, shape));
  }
};

}  // namespace

NodeId conv(Graph& g, NodeId x, NodeId weight, std::optional<NodeId> bias,
            const ConvOptions& options) {
  ConvBuilder b(g, x, weight, options, "conv");
  const SymInt in_channels = g.shape(x)[1], out_channels = g.shape(weight)[0];
  if (in_channels % b.groups != 0 || out_channels % b.groups != 0 ||
      g.shape(weight)[1] != in_channels / b.groups)
    raise<ShapeError>("conv: the weight must be [O,C/groups,..] with groups = {}: got {} for {}",
                      b.groups, describe(g, weight), describe(g, x));
  Dims output(b.spatial);
  for (size_t d = 0; d < b.spatial; ++d) {
    const SymInt room =
        checked_add(b.extent(d), checked_mul(2, b.padding[d], "conv"), "conv") - 1 - b.reach(d);
    if (room < 0 || b.kernel(d) == 0)
      raise<ShapeError>(
          "conv: the kernel must fit into the padded input: got {} on {} with padding {}",
          describe(g, weight), describe(g, x), b.padding[d]);
    output[d] = room / b.stride[d] + 1;
  }
  const NodeId y = b.build(
      in_channels, out_channels, false, output, [&](size_t d, int64_t place, int64_t offset) {
        return DimMap{place, offset, b.stride[d], b.dilation[d], -b.padding[d], 1};
      });
  return b.with_bias(y, bias);
}

NodeId conv_transpose(Graph& g, NodeId x, NodeId weight, std::optional<NodeId> bias,
                      const ConvOptions& options) {
  ConvBuilder b(g, x, weight, options, "conv_transpose");
  const SymInt in_channels = g.shape(x)[1];
  if (in_channels % b.groups != 0 || g.shape(weight)[0] != in_channels)
    raise<ShapeError>(
        "conv_transpose: the weight must be [C,O/groups,..] with groups = {}: got {} for {}",
        b.groups, describe(g, weight), describe(g, x));
  const Dims extra =
      per_dimension(options.output_padding, b.spatial, 0, b.operation, "output_padding");
  Dims output(b.spatial);
  for (size_t d = 0; d < b.spatial; ++d) {
    if (extra[d] >= std::max(b.stride[d], b.dilation[d]))
      raise<ValueError>(
          "conv_transpose: output_padding must be smaller than stride or dilation: got {}",
          extra[d]);
    output[d] = checked_mul(b.extent(d) - 1, b.stride[d], b.operation) - 2 * b.padding[d] +
                b.reach(d) + extra[d] + 1;
    if (output[d] < 0)
      raise<ShapeError>("conv_transpose: the padding must leave an output: got {} for {}",
                        b.padding[d], describe(g, x));
  }
  const SymInt out_channels = checked_mul(g.shape(weight)[1], b.groups, b.operation);
  const NodeId y = b.build(
      in_channels, out_channels, true, output, [&](size_t d, int64_t place, int64_t offset) {
        return DimMap{place, offset, 1, -b.dilation[d], b.padding[d], b.stride[d]};
      });
  return b.with_bias(y, bias);
}

}  // namespace coregrad::ops
