#pragma once
// `coregrad train`: a two-layer network on IDX files.

#include <cstdint>
#include <string>

namespace coregrad::cli {

struct TrainOptions {
  std::string images = "data/digits-images.idx";
  std::string labels = "data/digits-labels.idx";
  int64_t epochs = 10;
  int64_t batch_size = 64;
  int64_t hidden = 128;
  double learning_rate = 0.1;
  double momentum = 0.9;
  uint64_t seed = 0;
  bool json = false;
};

/// Trains on four fifths of the samples, tests on the rest, and prints what came out; 0 on success.
int train(const TrainOptions& options);

}  // namespace coregrad::cli
