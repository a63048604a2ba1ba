#pragma once
// The bytes of a checkpoint: docs/checkpoint_format.md.

#include "coregrad/dtype.h"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coregrad {

/// One tensor of a file.
struct StoredTensor {
  std::string name;
  DType dtype = DType::Float32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  ///< of its bytes in the payload
  uint64_t bytes = 0;
  std::string hash;  ///< of its bytes
};

/// A file without its payload.
struct CheckpointHeader {
  std::vector<StoredTensor> tensors;
  nlohmann::json state;
  uint64_t payload = 0;  ///< where it begins in the file
};

/// Gives the tensors their places.
void place_tensors(std::vector<StoredTensor>& tensors);
/// All that lies before the payload. ValueError for text that is not UTF-8.
std::string header_bytes(const CheckpointHeader& header);
/// CheckpointError, which begins with `name`, for anything that is not what header_bytes() and the
/// payload give, but for the payload's bytes.
CheckpointHeader parse_header(std::span<const std::byte> file, const std::string& name);

std::string hash_text(std::span<const std::byte> bytes);

/// JSON that nests no deeper than a file may; CheckpointError otherwise.
nlohmann::json parse_json(std::string_view text, const std::string& name);
/// The dtype with this name; CheckpointError for others.
DType stored_dtype(const std::string& name, const std::string& file);
/// The bytes of so many elements; CheckpointError where they are too many.
uint64_t stored_bytes(DType dtype, const std::vector<int64_t>& shape, const std::string& file);
/// The extents in a JSON list; CheckpointError for anything else.
std::vector<int64_t> stored_shape(const nlohmann::json& value, const std::string& file);

}  // namespace coregrad
