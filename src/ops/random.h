#pragma once
// Random numbers of distributions. They are functions of a seed, a stream and the element's place.

#include "ops/primitives.h"

namespace coregrad::ops {

/// Which numbers of a seed (int64 of rank 0) a function takes. Those that need two for each element
/// take the next stream too.
struct Draw {
  NodeId seed;
  int64_t stream = 0;
};

/// In [low, high).
NodeId uniform(Graph& graph, const Draw& draw, DType dtype, Shape shape, double low = 0,
               double high = 1);
/// True with probability p, which broadcasts to the shape.
NodeId bernoulli(Graph& graph, const Draw& draw, Shape shape, NodeId p);
/// Normal with mean 0 and deviation 1; takes two streams.
NodeId standard_normal(Graph& graph, const Draw& draw, DType dtype, Shape shape);
/// int64 in [low, high).
NodeId whole_numbers(Graph& graph, const Draw& draw, Shape shape, int64_t low, SymInt high);
/// int64 0 .. n-1 in a random order.
NodeId permutation(Graph& graph, const Draw& draw, SymInt n);
/// int64 places in the last dimension of weights [.., n], chosen by them: [.., count]. Weights that
/// are negative, infinite or 0 everywhere become a bad index.
NodeId multinomial(Graph& graph, const Draw& draw, NodeId weights, SymInt count, bool replacement);

// Distributions in float64, so that neither end nor a rounding is hit more often than it should.
/// By mean and deviation, which broadcast to the shape; takes two streams.
NodeId normal(Graph& graph, const Draw& draw, Shape shape, NodeId mean, NodeId deviation);
/// e to the power of a normal number; takes two streams.
NodeId log_normal(Graph& graph, const Draw& draw, Shape shape, double mean, double deviation);
NodeId exponential(Graph& graph, const Draw& draw, Shape shape, double rate);
NodeId cauchy(Graph& graph, const Draw& draw, Shape shape, double median, double sigma);
/// How often one tries until something of probability p happens; 0 < p < 1.
NodeId geometric(Graph& graph, const Draw& draw, Shape shape, double p);

}  // namespace coregrad::ops
