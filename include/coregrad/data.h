#pragma once
// Datasets and batches: IDX files (the format of MNIST) and a shuffling loader.

#include "coregrad/tensor.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#pragma GCC visibility push(default)
namespace coregrad {

/// An IDX file's array, still in its own element type.
struct IdxArray {
  enum class Element : uint8_t {
    UInt8 = 0x08,
    Int8 = 0x09,
    Int16 = 0x0b,
    Int32 = 0x0c,
    Float32 = 0x0d,
    Float64 = 0x0e,
  };
  Element element = Element::UInt8;
  Dims shape;
  std::vector<uint8_t> bytes;  ///< row-major, in the machine's byte order

  int64_t numel() const;
  /// The values as a tensor of a dtype, each converted as C does.
  Tensor to_tensor(DType dtype) const;
};

/// Reads an IDX file, which may come from anywhere: sizes are checked against the file's length
/// before anything is allocated. IoError if it cannot be read, ValueError if it is malformed, of
/// more than 8 dimensions, or larger than `max_bytes`.
IdxArray read_idx(const std::string& path, int64_t max_bytes = int64_t{1} << 32);
/// The same from memory; `name` is for messages.
IdxArray parse_idx(std::span<const uint8_t> bytes, const std::string& name);

/// Samples and their class numbers.
struct LabelledData {
  Tensor samples;  ///< float32 [n, features], scaled to [0, 1]
  Tensor labels;   ///< int64 [n]

  int64_t size() const { return labels.is_defined() ? labels.numel() : 0; }
};

/// Reads images and labels; images are flattened and divided by their largest possible value.
/// ValueError if the counts differ or a label is negative.
LabelledData load_idx_dataset(const std::string& images, const std::string& labels);

/// Gives batches in an order that depends on the seed and the epoch only.
class BatchLoader {
 public:
  BatchLoader(LabelledData data, int64_t batch_size, uint64_t seed, bool shuffle = true,
              bool drop_last = false);

  /// Starts an epoch; the same number gives the same order.
  void start_epoch(int64_t epoch);
  /// The next batch; false at the end of the epoch.
  bool next(LabelledData& batch);
  int64_t batches_per_epoch() const;
  /// Batches given in this epoch; set it to resume in the middle of one.
  int64_t position() const { return position_; }
  void set_position(int64_t batch) { position_ = batch; }

 private:
  LabelledData data_;
  std::vector<float> samples_;
  std::vector<int64_t> labels_;
  std::vector<int64_t> order_;
  int64_t batch_size_;
  uint64_t seed_;
  bool shuffle_, drop_last_;
  int64_t position_ = 0;
};

}  // namespace coregrad
#pragma GCC visibility pop
