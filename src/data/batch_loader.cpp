#include "base/checked.h"
#include "base/hash.h"
#include "coregrad/data.h"
#include "coregrad/ops.h"

#include <algorithm>
#include <numeric>

namespace coregrad {

BatchLoader::BatchLoader(LabelledData data, int64_t batch_size, uint64_t seed, bool shuffle,
                         bool drop_last)
    : data_(std::move(data)),
      samples_(data_.samples.to_vector<float>()),
      labels_(data_.labels.to_vector<int64_t>()),
      order_(labels_.size()),
      batch_size_(batch_size),
      seed_(seed),
      shuffle_(shuffle),
      drop_last_(drop_last) {
  if (batch_size < 1)
    raise<ValueError>("BatchLoader: the batch size must be positive, got {}", batch_size);
  start_epoch(0);
}

void BatchLoader::start_epoch(int64_t epoch) {
  position_ = 0;
  std::iota(order_.begin(), order_.end(), 0);
  if (!shuffle_) return;
  // Sorting by a hash of (seed, epoch, sample) is a shuffle that no library version changes.
  std::vector<std::pair<uint64_t, int64_t>> keyed;
  keyed.reserve(order_.size());
  for (int64_t i : order_) {
    const uint64_t key[3] = {seed_, static_cast<uint64_t>(epoch), static_cast<uint64_t>(i)};
    keyed.emplace_back(hash_bytes(key, sizeof key), i);
  }
  std::ranges::sort(keyed);
  std::ranges::transform(keyed, order_.begin(), [](const auto& k) { return k.second; });
}

int64_t BatchLoader::batches_per_epoch() const {
  const auto count = static_cast<int64_t>(order_.size());
  return drop_last_ ? count / batch_size_ : ceil_div(count, batch_size_);
}

bool BatchLoader::next(LabelledData& batch) {
  if (position_ >= batches_per_epoch()) return false;
  const auto total = static_cast<int64_t>(order_.size());
  const int64_t first = position_++ * batch_size_;
  const int64_t count = std::min(batch_size_, total - first);
  const int64_t features = total == 0 ? 0 : static_cast<int64_t>(samples_.size()) / total;
  std::vector<float> samples;
  std::vector<int64_t> labels;
  samples.reserve(static_cast<size_t>(count * features));
  labels.reserve(static_cast<size_t>(count));
  for (int64_t i = first; i < first + count; ++i) {
    const int64_t at = order_[i];
    const auto begin = samples_.begin() + at * features;
    samples.insert(samples.end(), begin, begin + features);
    labels.push_back(labels_[at]);
  }
  batch = {from_vector(samples, {count, features}), from_vector(labels, {count})};
  return true;
}

}  // namespace coregrad
