// The safetensors format: eight bytes with the length of a JSON header, the header, the tensors'
// bytes one after the other.

#include "checkpoint/safetensors.h"

#include "base/error.h"

#include "checkpoint/format.h"
#include "checkpoint/tensor_bytes.h"
#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

namespace coregrad {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

constexpr std::pair<DType, std::string_view> kNames[] = {
    {DType::Bool, "BOOL"},   {DType::UInt8, "U8"},    {DType::Int8, "I8"},
    {DType::Int16, "I16"},   {DType::UInt16, "U16"},  {DType::Float16, "F16"},
    {DType::Int32, "I32"},   {DType::UInt32, "U32"},  {DType::BFloat16, "BF16"},
    {DType::Float32, "F32"}, {DType::Float64, "F64"}, {DType::Int64, "I64"},
};

std::string_view safe_name(DType dtype) {
  return std::ranges::find(kNames, dtype, &std::pair<DType, std::string_view>::first)->second;
}

struct Row {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

Row parse_row(const std::string& tensor, const nlohmann::json& json, const std::string& path) {
  const auto refuse = [&](std::string_view what) {
    raise<CheckpointError>("{}: tensor {}: {}", path, tensor, what);
  };
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets"))
    refuse("it must have dtype, shape and data_offsets, and nothing else");
  if (!json["dtype"].is_string()) refuse("its dtype is no text");
  const std::string dtype = json["dtype"].get<std::string>();
  const auto known = std::ranges::find(kNames, dtype, &std::pair<DType, std::string_view>::second);
  if (known == std::end(kNames)) refuse("dtype " + dtype + " is not supported");
  const nlohmann::json& offsets = json["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    refuse("data_offsets must be two places");
  Row row{tensor, known->first, stored_shape(json["shape"], path), offsets[0].get<uint64_t>(),
          offsets[1].get<uint64_t>()};
  if (row.begin > row.end || row.end - row.begin != stored_bytes(row.dtype, row.shape, path))
    refuse("data_offsets do not fit its shape");
  return row;
}

/// A JSON object may name a member twice, and a parser keep the last one: which is meant?
void refuse_twice(std::string_view header, const std::string& path) {
  std::vector<std::set<std::string>> names;
  const auto look = [&](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (event == nlohmann::json::parse_event_t::object_start) names.emplace_back();
    if (event == nlohmann::json::parse_event_t::object_end) names.pop_back();
    if (event == nlohmann::json::parse_event_t::key &&
        !names.back().insert(value.get<std::string>()).second)
      raise<CheckpointError>("{}: {} is there twice", path, value.get<std::string>());
    return true;
  };
  static_cast<void>(nlohmann::json::parse(header, look));
}

}  // namespace

SafeTensors load_safetensors(const std::string& path, LoadOptions options) {
  return parse_safetensors(read_file(path, options.mmap), path);
}

SafeTensors parse_safetensors(const FileBytes& file, const std::string& path) {
  uint64_t length = 0;
  if (file.bytes.size() < sizeof length)
    raise<CheckpointError>("{}: this is no safetensors file: it has {} bytes", path,
                           file.bytes.size());
  std::memcpy(&length, file.bytes.data(), sizeof length);
  if (length > kMaxHeader || length > file.bytes.size() - sizeof length)
    raise<CheckpointError>("{}: the header's length {} is more than the file has, or than {}", path,
                           length, kMaxHeader);
  const std::string_view header(reinterpret_cast<const char*>(file.bytes.data()) + sizeof length,
                                length);
  if (!header.starts_with('{'))
    raise<CheckpointError>("{}: this is no safetensors file: the header is no JSON object", path);
  const nlohmann::json parsed = parse_json(header, path);
  refuse_twice(header, path);
  const auto payload = file.bytes.subspan(sizeof length + length);

  SafeTensors content;
  std::vector<Row> rows;
  for (const auto& [name, json] : parsed.items()) {
    if (name != "__metadata__") {
      rows.push_back(parse_row(name, json, path));
      continue;
    }
    if (!json.is_object()) raise<CheckpointError>("{}: __metadata__ is no object", path);
    for (const auto& [key, value] : json.items()) {
      if (!value.is_string())
        raise<CheckpointError>("{}: __metadata__ has {} that is no text", path, key);
      content.metadata[key] = value.get<std::string>();
    }
  }
  std::ranges::sort(rows, {}, [](const Row& r) { return std::pair(r.begin, r.end); });
  uint64_t end = 0;
  for (const Row& row : rows) {
    if (row.begin != end)
      raise<CheckpointError>("{}: tensor {} begins at {}, and should at {}", path, row.name,
                             row.begin, end);
    end = row.end;
    if (end > payload.size())
      raise<CheckpointError>("{}: it is cut off in tensor {}", path, row.name);
    content.tensors.emplace_back(
        row.name, tensor_over(payload.subspan(row.begin, row.end - row.begin), file.owner,
                              row.dtype, row.shape));
  }
  if (end != payload.size())
    raise<CheckpointError>("{}: {} bytes belong to no tensor", path, payload.size() - end);
  return content;
}

void save_safetensors(const std::string& path, const SafeTensors& content) {
  NamedTensors sorted = content.tensors;
  // The widest dtypes first, so that each is aligned; as the reference library has them.
  std::ranges::sort(sorted, [](const auto& a, const auto& b) {
    return std::pair(-size_of(a.second.dtype()), a.first) <
           std::pair(-size_of(b.second.dtype()), b.first);
  });
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : sorted) tensors.push_back(tensor);
  realize(tensors);
  nlohmann::json header = nlohmann::json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  std::vector<TensorBytes> payload;
  uint64_t end = 0;
  for (const auto& [name, tensor] : sorted) {
    payload.emplace_back(tensor);
    const uint64_t begin = std::exchange(end, end + payload.back().bytes.size());
    if (name == "__metadata__" || header.contains(name))
      raise<ValueError>("save_safetensors: the name {} is taken", name);
    header[name] = {{"dtype", safe_name(tensor.dtype())},
                    {"shape", tensor.shape()},
                    {"data_offsets", std::array{begin, end}}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& error) {
    raise<ValueError>("save_safetensors: names and metadata must be UTF-8: {}", error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  AtomicFile file(path);
  const uint64_t length = text.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(text)));
  for (const TensorBytes& tensor : payload) file.write(tensor.bytes);
  file.commit();
}

}  // namespace coregrad
