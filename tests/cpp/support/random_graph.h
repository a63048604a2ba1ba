#pragma once
// Random graphs from a seed, with their inputs and with results to compare against. The same seed
// gives the same graph everywhere: nothing here depends on the standard library's distributions.
//
// How results are judged. The reference is the graph's twin, in which every float32 value is
// float64. How far a correct program may be from it depends on the graph's conditioning, which is
// measured: the twin runs a few times with noise of the dtype's rounding added to every rounded
// result (for sums and contractions relative to the sum of magnitudes). A result may deviate by a
// factor of what noise does. Operations that jump (comparisons, rounding, casts to integers,
// positions) only get operands that every correct program computes alike, so integers and bools
// must match exactly.

#include "interp/interpreter.h"
#include "ir/graph.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace coregrad {

struct RandomGraphOptions {
  int min_steps = 12, max_steps = 40;  ///< operations drawn; most make one to five nodes
  int64_t max_elements = 4096;         ///< of any value
  /// Also gradients of one floating output with respect to some floating inputs, where there are
  /// any.
  bool with_gradients = true;
  bool small_integers =
      true;  ///< dtypes that are only stored; without them older seeds are what they were
};

struct RandomGraph {
  uint64_t seed = 0;
  Graph graph;
  std::vector<NodeId> outputs;
  std::vector<std::vector<std::byte>> storage;  ///< by input number
  /// Pointers into storage, in the order of the inputs' numbers.
  std::vector<InputView> inputs() const;
  /// Live nodes.
  int64_t size() const;
  /// The seed and the graph as text, for messages.
  std::string to_text() const;
};

RandomGraph make_random_graph(uint64_t seed, const RandomGraphOptions& options = {});

/// What the outputs should be.
struct Expected {
  std::vector<Array> values;      ///< of the twin: float64 where the output is floating
  std::vector<double> tolerance;  ///< absolute, by output; 0 for integers and bool
};
Expected expected_results(const RandomGraph& random);

/// The first result that is wrong, with the seed and what was expected; empty if all are good.
std::string first_mismatch(const RandomGraph& random, const Expected& expected,
                           std::span<const Array> results);

}  // namespace coregrad
