// IDX files and the batch loader.

#include "coregrad/data.h"

#include "coregrad/ops.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace coregrad {
namespace {

using Bytes = std::vector<uint8_t>;

TEST(Idx, ReadsShapesAndBigEndianElements) {
  const Bytes file{0, 0, 0x0b, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0x01, 0x02, 0xff, 0xff};
  const IdxArray array = parse_idx(file, "test");
  EXPECT_EQ(array.shape, (Dims{1, 2}));
  EXPECT_EQ(array.to_tensor(DType::Int64).to_vector<int64_t>(), (std::vector<int64_t>{258, -1}));
  EXPECT_EQ(array.to_tensor(DType::Float32).to_vector<float>(), (std::vector<float>{258, -1}));
}

TEST(Idx, RefusesWhatIsNotWhole) {
  const Bytes good{0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9};
  EXPECT_NO_THROW(parse_idx(good, "good"));
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_THROW(parse_idx(std::span(good).first(length), "cut"), ValueError) << length;
  Bytes longer = good;
  longer.push_back(1);
  EXPECT_THROW(parse_idx(longer, "longer"), ValueError);
}

TEST(Idx, RefusesHostileHeaders) {
  EXPECT_THROW(parse_idx(Bytes{1, 0, 8, 1, 0, 0, 0, 0}, "magic"), ValueError);
  EXPECT_THROW(parse_idx(Bytes{0, 0, 0x0a, 1, 0, 0, 0, 0}, "type"), ValueError);
  EXPECT_THROW(parse_idx(Bytes{0, 0, 8, 0}, "rank 0"), ValueError);
  Bytes huge{0, 0, 0x0e, 8};
  huge.insert(huge.end(), 32, 0xff);
  EXPECT_THROW(parse_idx(huge, "overflow"), Error);
}

TEST(Idx, ReportsFilesThatCannotBeRead) {
  EXPECT_THROW(read_idx("/nonexistent/file.idx"), IoError);
  EXPECT_THROW(read_idx("/"), IoError);
}

LabelledData numbered(int64_t count) {
  const Tensor labels = arange(count);
  const Tensor samples = broadcast_to(unsqueeze(cast(labels, DType::Float32), 1), {count, 2});
  return {samples, labels};
}

std::vector<int64_t> epoch_of(BatchLoader& loader, int64_t epoch) {
  std::vector<int64_t> seen;
  LabelledData batch;
  loader.start_epoch(epoch);
  while (loader.next(batch)) {
    const auto labels = batch.labels.to_vector<int64_t>();
    const auto samples = batch.samples.to_vector<float>();
    for (size_t i = 0; i < labels.size(); ++i)
      EXPECT_EQ(samples[2 * i + 1], static_cast<float>(labels[i]));
    seen.insert(seen.end(), labels.begin(), labels.end());
  }
  return seen;
}

TEST(BatchLoader, GivesEverySampleOnceInAnOrderOfSeedAndEpoch) {
  BatchLoader loader(numbered(10), 4, 1);
  EXPECT_EQ(loader.batches_per_epoch(), 3);
  const auto first = epoch_of(loader, 0), second = epoch_of(loader, 1);
  EXPECT_EQ(std::set(first.begin(), first.end()).size(), 10u);
  EXPECT_NE(first, second);
  EXPECT_EQ(epoch_of(loader, 0), first);
  BatchLoader other(numbered(10), 4, 2);
  EXPECT_NE(epoch_of(other, 0), first);
}

TEST(BatchLoader, ResumesInTheMiddleOfAnEpoch) {
  BatchLoader loader(numbered(10), 4, 1);
  LabelledData batch, again;
  loader.start_epoch(3);
  loader.next(batch);
  loader.next(batch);
  loader.start_epoch(3);
  loader.set_position(1);
  loader.next(again);
  EXPECT_EQ(again.labels.to_vector<int64_t>(), batch.labels.to_vector<int64_t>());
}

TEST(BatchLoader, CanDropTheLastBatchAndKeepTheOrder) {
  BatchLoader loader(numbered(5), 2, 0, /*shuffle=*/false, /*drop_last=*/true);
  EXPECT_EQ(epoch_of(loader, 0), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_THROW(BatchLoader(numbered(5), 0, 0), ValueError);
}

}  // namespace
}  // namespace coregrad
