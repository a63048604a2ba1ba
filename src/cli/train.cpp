#include "cli/train.h"

#include "base/error.h"
#include "coregrad/coregrad.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <unistd.h>

namespace coregrad::cli {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

LabelledData part_of(const LabelledData& data, int64_t first, int64_t last) {
  return {slice(data.samples, 0, first, last).realize(),
          slice(data.labels, 0, first, last).realize()};
}

double accuracy(const nn::Module& model, const LabelledData& data) {
  const NoGrad guard;
  const Tensor right = equal(argmax(model(data.samples), 1), data.labels);
  return mean(cast(right, DType::Float32)).item();
}

void show_progress(int64_t epoch, int64_t epochs, int64_t step, int64_t steps, double loss) {
  constexpr int64_t kWidth = 30;
  const std::string bar(static_cast<size_t>(kWidth * step / steps), '#');
  fmt::print(stderr, "\repoch {}/{} [{:<30}] loss {:.4f}", epoch, epochs, bar, loss);
  if (step == steps) fmt::print(stderr, "\r{:<70}\r", "");
}

}  // namespace

int train(const TrainOptions& options) {
  manual_seed(options.seed);
  const LabelledData all = load_idx_dataset(options.images, options.labels);
  // One epoch of a loader is a shuffle that the seed decides.
  BatchLoader shuffle(all, all.size(), options.seed);
  LabelledData mixed;
  shuffle.next(mixed);
  const int64_t num_train = all.size() - all.size() / 5;
  const LabelledData test = part_of(mixed, num_train, all.size());
  const auto classes = static_cast<int64_t>(max(all.labels).item()) + 1;

  const nn::Sequential model({std::make_shared<nn::Linear>(all.samples.size(1), options.hidden),
                              std::make_shared<nn::ReLU>(),
                              std::make_shared<nn::Linear>(options.hidden, classes)});
  optim::SGD optimizer(model.parameters(), options.learning_rate, {.momentum = options.momentum});
  BatchLoader loader(part_of(mixed, 0, num_train), options.batch_size, options.seed,
                     /*shuffle=*/true, /*drop_last=*/true);
  if (loader.batches_per_epoch() == 0)
    raise<ValueError>("train: {} training samples do not fill a batch of {}", num_train,
                      options.batch_size);

  const bool bar = !options.json && isatty(STDERR_FILENO) != 0;
  std::vector<double> losses, step_ms;
  for (int64_t epoch = 1; epoch <= options.epochs; ++epoch) {
    loader.start_epoch(epoch);
    LabelledData batch;
    double total = 0;
    while (loader.next(batch)) {
      const auto start = Clock::now();
      const Tensor loss = cross_entropy(model(batch.samples), batch.labels).realize();
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
      total += loss.item();
      step_ms.push_back(milliseconds_since(start));
      if (bar)
        show_progress(epoch, options.epochs, loader.position(), loader.batches_per_epoch(),
                      loss.item());
    }
    losses.push_back(total / static_cast<double>(loader.batches_per_epoch()));
    if (!options.json)
      fmt::print("epoch {}/{}: loss {:.4f}\n", epoch, options.epochs, losses.back());
  }

  const double test_accuracy = accuracy(model, test);
  const double first_ms = step_ms.empty() ? 0 : step_ms.front();
  std::ranges::sort(step_ms);
  const double median_ms = step_ms.empty() ? 0 : step_ms[step_ms.size() / 2];
  if (options.json) {
    const nlohmann::json result = {{"epochs", options.epochs},
                                   {"losses", losses},
                                   {"test_accuracy", test_accuracy},
                                   {"step_ms_median", median_ms},
                                   {"step_ms_first", first_ms}};
    fmt::print("{}\n", result.dump());
  } else {
    fmt::print("time per step: {:.3f} ms (median; first {:.1f} ms)\n", median_ms, first_ms);
    fmt::print("test accuracy: {:.1f} %\n", 100 * test_accuracy);
  }
  return 0;
}

}  // namespace coregrad::cli
