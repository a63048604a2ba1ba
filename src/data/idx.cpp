// Reading IDX files: two zero bytes, the element type, the rank, the extents as big-endian 32-bit
// numbers, then the elements, big-endian too.

#include "base/checked.h"
#include "base/sym_int.h"
#include "coregrad/data.h"
#include "coregrad/ops.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace coregrad {
namespace {

constexpr int kMaxIdxRank = 8;

int element_size(IdxArray::Element element) {
  switch (element) {
    case IdxArray::Element::UInt8:
    case IdxArray::Element::Int8:
      return 1;
    case IdxArray::Element::Int16:
      return 2;
    case IdxArray::Element::Int32:
    case IdxArray::Element::Float32:
      return 4;
    case IdxArray::Element::Float64:
      return 8;
  }
  COREGRAD_UNREACHABLE("IDX element type");
}

bool is_known_element(uint8_t code) { return (code >= 0x08 && code <= 0x0e && code != 0x0a); }

template <class Stored, class T>
void convert(std::span<const uint8_t> bytes, std::vector<T>& out) {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    out[i] = static_cast<T>(value);
  }
}

template <class T>
std::vector<T> values_as(const IdxArray& array) {
  std::vector<T> out(static_cast<size_t>(array.numel()));
  switch (array.element) {
    case IdxArray::Element::UInt8:
      convert<uint8_t>(array.bytes, out);
      break;
    case IdxArray::Element::Int8:
      convert<int8_t>(array.bytes, out);
      break;
    case IdxArray::Element::Int16:
      convert<int16_t>(array.bytes, out);
      break;
    case IdxArray::Element::Int32:
      convert<int32_t>(array.bytes, out);
      break;
    case IdxArray::Element::Float32:
      convert<float>(array.bytes, out);
      break;
    case IdxArray::Element::Float64:
      convert<double>(array.bytes, out);
      break;
  }
  return out;
}

/// What a value is divided by so that samples lie in [0, 1].
double full_scale(IdxArray::Element element) {
  return element == IdxArray::Element::UInt8 ? 255.0 : 1.0;
}

}  // namespace

int64_t IdxArray::numel() const {
  return static_cast<int64_t>(bytes.size()) / element_size(element);
}

Tensor IdxArray::to_tensor(DType dtype) const {
  if (dtype == DType::Int64) return from_vector(values_as<int64_t>(*this), shape);
  return cast(from_vector(values_as<double>(*this), shape), dtype);
}

IdxArray parse_idx(std::span<const uint8_t> bytes, const std::string& name) {
  const auto fail = [&](std::string_view what) {
    raise<ValueError>("read_idx: {} is not a valid IDX file: {}", name, what);
  };
  if (bytes.size() < 4) fail("shorter than its header");
  if (bytes[0] != 0 || bytes[1] != 0) fail("it does not start with two zero bytes");
  if (!is_known_element(bytes[2])) fail(fmt::format("unknown element type {:#04x}", bytes[2]));
  const size_t rank = bytes[3];
  if (rank < 1 || rank > kMaxIdxRank) fail(fmt::format("{} dimensions, allowed 1 to 8", rank));
  const size_t header = 4 + 4 * rank;
  if (bytes.size() < header) fail("shorter than its header");

  IdxArray array;
  array.element = static_cast<IdxArray::Element>(bytes[2]);
  for (size_t d = 0; d < rank; ++d) {
    const uint8_t* at = bytes.data() + 4 + 4 * d;
    array.shape.push_back(int64_t{at[0]} << 24 | int64_t{at[1]} << 16 | int64_t{at[2]} << 8 |
                          at[3]);
  }
  const int size = element_size(array.element);
  const int64_t wanted = checked_mul(checked_numel(array.shape, "read_idx"), size, "read_idx");
  const auto have = static_cast<int64_t>(bytes.size() - header);
  if (wanted != have) fail(fmt::format("its sizes need {} bytes of data, it has {}", wanted, have));
  array.bytes.assign(bytes.begin() + static_cast<ptrdiff_t>(header), bytes.end());
  for (size_t i = 0; size > 1 && i < array.bytes.size(); i += static_cast<size_t>(size))
    std::reverse(array.bytes.begin() + static_cast<ptrdiff_t>(i),
                 array.bytes.begin() + static_cast<ptrdiff_t>(i) + size);
  return array;
}

IdxArray read_idx(const std::string& path, int64_t max_bytes) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status))
    raise<IoError>("read_idx: {} is not a readable file", path);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, status));
  if (status) raise<IoError>("read_idx: {}: {}", path, status.message());
  if (size > max_bytes)
    raise<ValueError>("read_idx: {} has {} bytes, allowed are {}", path, size, max_bytes);
  std::ifstream file(path, std::ios::binary);
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  if (!file.read(reinterpret_cast<char*>(bytes.data()), size))
    raise<IoError>("read_idx: {}: {}", path, std::strerror(errno));
  return parse_idx(bytes, path);
}

LabelledData load_idx_dataset(const std::string& images, const std::string& labels) {
  const IdxArray image_array = read_idx(images);
  const IdxArray label_array = read_idx(labels);
  if (label_array.shape.size() != 1)
    raise<ValueError>("load_idx_dataset: labels in {} must have one dimension, got {}", labels,
                      label_array.shape.size());
  const int64_t count = label_array.shape[0];
  if (image_array.shape[0] != count || count == 0)
    raise<ValueError>("load_idx_dataset: {} has {} images, {} has {} labels", images,
                      image_array.shape[0], labels, count);
  const std::vector<int64_t> classes = values_as<int64_t>(label_array);
  if (std::ranges::min(classes) < 0)
    raise<ValueError>("load_idx_dataset: {} has a negative label", labels);
  std::vector<float> samples = values_as<float>(image_array);
  const auto scale = static_cast<float>(full_scale(image_array.element));
  for (float& v : samples) v /= scale;
  return {from_vector(samples, {count, image_array.numel() / count}),
          from_vector(classes, {count})};
}

}  // namespace coregrad
