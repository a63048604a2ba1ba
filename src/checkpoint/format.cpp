#include "checkpoint/format.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <initializer_list>
#include <utility>

namespace coregrad {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

/// What changes line ends on the way breaks it.
constexpr char kMagic[9] = "RTCH\r\n\x1a\n";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kPayloadAlignment = 4096, kTensorAlignment = 64;
constexpr int kMaxDepth = 100;

struct Start {
  char magic[8];
  uint32_t version;
  uint32_t features;  ///< what a reader has to know of: nothing so far
  uint64_t metadata_bytes;
  uint64_t file_bytes;
  uint64_t hash[2];  ///< XXH3-128 of what is before it and of the metadata
};
static_assert(sizeof(Start) == 48);

XXH128_hash_t hash_of(const Start& start, std::string_view metadata) {
  std::string all(reinterpret_cast<const char*>(&start), offsetof(Start, hash));
  all += metadata;
  return XXH3_128bits(all.data(), all.size());
}

uint64_t aligned(uint64_t bytes, uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

uint64_t payload_of(uint64_t metadata_bytes) {
  return aligned(sizeof(Start) + metadata_bytes, kPayloadAlignment);
}

uint64_t end_of(const std::vector<StoredTensor>& tensors) {
  return tensors.empty() ? 0 : tensors.back().offset + tensors.back().bytes;
}

template <class... Args>
[[noreturn]] void refuse(const std::string& name, fmt::format_string<Args...> format,
                         Args&&... args) {
  raise<CheckpointError>("{}: {}", name, fmt::format(format, std::forward<Args>(args)...));
}

/// The member of an object that must have it.
const nlohmann::json& member(const nlohmann::json& object, const char* key,
                             const std::string& name) {
  if (!object.is_object() || !object.contains(key)) refuse(name, "the metadata lack \"{}\"", key);
  return object[key];
}

std::string text(const nlohmann::json& value, const std::string& name) {
  if (!value.is_string()) refuse(name, "the metadata have {} for a text", value.type_name());
  return value.get<std::string>();
}

uint64_t count(const nlohmann::json& value, const std::string& name) {
  if (!value.is_number_unsigned()) refuse(name, "the metadata have {} for a size", value.dump());
  return value.get<uint64_t>();
}

void require_keys(const nlohmann::json& object, std::initializer_list<std::string_view> keys,
                  const std::string& name) {
  if (!object.is_object()) refuse(name, "the metadata have {} for an object", object.type_name());
  for (const auto& [key, value] : object.items())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      refuse(name, "the metadata have an unknown \"{}\"", key);
}

StoredTensor parse_tensor(const nlohmann::json& row, const std::string& name) {
  require_keys(row, {"name", "dtype", "shape", "layout", "offset", "bytes", "hash"}, name);
  StoredTensor tensor;
  tensor.name = text(member(row, "name", name), name);
  tensor.dtype = stored_dtype(text(member(row, "dtype", name), name), name);
  tensor.shape = stored_shape(member(row, "shape", name), name);
  tensor.offset = count(member(row, "offset", name), name);
  tensor.bytes = count(member(row, "bytes", name), name);
  tensor.hash = text(member(row, "hash", name), name);
  if (text(member(row, "layout", name), name) != "row_major")
    refuse(name, "tensor {} has an unknown layout", tensor.name);
  if (tensor.bytes != stored_bytes(tensor.dtype, tensor.shape, name))
    refuse(name, "tensor {} has {} bytes, which its shape does not", tensor.name, tensor.bytes);
  return tensor;
}

}  // namespace

void place_tensors(std::vector<StoredTensor>& tensors) {
  uint64_t end = 0;
  for (StoredTensor& t : tensors) {
    t.offset = aligned(end, kTensorAlignment);
    end = t.offset + t.bytes;
  }
}

std::string header_bytes(const CheckpointHeader& header) {
  nlohmann::json rows = nlohmann::json::array();
  for (const StoredTensor& t : header.tensors)
    rows.push_back({{"name", t.name},
                    {"dtype", name_of(t.dtype)},
                    {"shape", t.shape},
                    {"layout", "row_major"},
                    {"offset", t.offset},
                    {"bytes", t.bytes},
                    {"hash", t.hash}});
  std::string metadata;
  try {
    metadata = nlohmann::json{{"tensors", std::move(rows)}, {"state", header.state}}.dump();
  } catch (const nlohmann::json::exception& error) {
    raise<ValueError>("checkpoint: names and texts must be UTF-8: {}", error.what());
  }
  Start start{};
  std::memcpy(start.magic, kMagic, sizeof start.magic);
  start.version = kVersion;
  start.metadata_bytes = metadata.size();
  const uint64_t payload = payload_of(metadata.size());
  start.file_bytes = payload + end_of(header.tensors);
  const XXH128_hash_t hash = hash_of(start, metadata);
  start.hash[0] = hash.low64;
  start.hash[1] = hash.high64;
  std::string bytes(reinterpret_cast<const char*>(&start), sizeof start);
  bytes += metadata;
  bytes.resize(payload, '\0');
  return bytes;
}

CheckpointHeader parse_header(std::span<const std::byte> file, const std::string& name) {
  Start start;
  if (file.size() < sizeof start || std::memcmp(file.data(), kMagic, sizeof start.magic) != 0)
    refuse(name, "this is no checkpoint");
  std::memcpy(&start, file.data(), sizeof start);
  if (start.version != kVersion)
    refuse(name, "version {} is not known; this program reads version {}", start.version, kVersion);
  if (start.features != 0) refuse(name, "it needs what this program does not know");
  if (start.metadata_bytes > file.size() - sizeof start)
    refuse(name, "it is cut off: the metadata have {} bytes", start.metadata_bytes);
  const std::string_view metadata(reinterpret_cast<const char*>(file.data()) + sizeof start,
                                  start.metadata_bytes);
  const XXH128_hash_t hash = hash_of(start, metadata);
  if (hash.low64 != start.hash[0] || hash.high64 != start.hash[1])
    refuse(name, "the header is damaged: its hash differs");
  if (start.file_bytes != file.size())
    refuse(name, "it has {} bytes, and should have {}", file.size(), start.file_bytes);

  CheckpointHeader header;
  header.payload = payload_of(start.metadata_bytes);
  const nlohmann::json parsed = parse_json(metadata, name);
  require_keys(parsed, {"tensors", "state"}, name);
  header.state = member(parsed, "state", name);
  const nlohmann::json& rows = member(parsed, "tensors", name);
  if (!rows.is_array()) refuse(name, "the metadata have no list of tensors");
  for (const nlohmann::json& row : rows) header.tensors.push_back(parse_tensor(row, name));
  std::vector<StoredTensor> placed = header.tensors;
  place_tensors(placed);
  for (size_t i = 0; i < placed.size(); ++i)
    if (placed[i].offset != header.tensors[i].offset)
      refuse(name, "tensor {} lies at {}, and should at {}", placed[i].name,
             header.tensors[i].offset, placed[i].offset);
  if (header.payload + end_of(header.tensors) != file.size())
    refuse(name, "the tensors take {} bytes of a payload of {}", end_of(header.tensors),
           file.size() - std::min<uint64_t>(header.payload, file.size()));
  return header;
}

std::string hash_text(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

nlohmann::json parse_json(std::string_view text, const std::string& name) {
  const auto limit = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > kMaxDepth) refuse(name, "the metadata nest deeper than {}", kMaxDepth);
    return true;
  };
  try {
    return nlohmann::json::parse(text, limit);
  } catch (const nlohmann::json::exception& error) {
    refuse(name, "the metadata are no JSON: {}", error.what());
  }
}

DType stored_dtype(const std::string& name, const std::string& file) {
  for (int i = 0; i < kNumDTypes; ++i)
    if (name_of(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  refuse(file, "dtype {} is not known", name);
}

uint64_t stored_bytes(DType dtype, const std::vector<int64_t>& shape, const std::string& file) {
  try {
    return static_cast<uint64_t>(
        checked_mul(checked_numel(shape, "checkpoint"), size_of(dtype), "checkpoint"));
  } catch (const Error& error) {
    refuse(file, "{}", error.what());
  }
}

std::vector<int64_t> stored_shape(const nlohmann::json& value, const std::string& file) {
  if (!value.is_array() || value.size() > kMaxRank)
    refuse(file, "a shape must be a list of at most {} sizes", kMaxRank);
  std::vector<int64_t> shape;
  for (const nlohmann::json& extent : value) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX)
      refuse(file, "a shape has {} for a size", extent.dump());
    shape.push_back(extent.get<int64_t>());
  }
  return shape;
}

}  // namespace coregrad
