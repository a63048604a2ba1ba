#include "coregrad/checkpoint.h"

#include "base/error.h"
#include "ir/print.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "checkpoint/file.h"
#include "checkpoint/format.h"
#include "checkpoint/tensor_bytes.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>
#include <utility>

namespace coregrad {
namespace {

using Json = nlohmann::json;

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

/// A state as JSON, and its tensors apart.
class Writer {
 public:
  Json write(const State& state, const std::string& place) {
    return std::visit(
        Overloaded{
            [](std::monostate) { return Json(nullptr); },
            [](bool b) { return Json(b); },
            [](int64_t i) { return Json(i); },
            // Exactly, and for what JSON has no numbers for.
            [](double d) { return Json{{"float", fmt::format("{:a}", d)}}; },
            [](const std::string& s) { return Json(s); },
            [&](const Tensor& t) { return write_tensor(t, place); },
            [&](const State::List& l) { return write_items(l, place); },
            [&](const State::Tuple& t) { return Json{{"tuple", write_items(t.items, place)}}; },
            [&](const State::Dict& d) { return Json{{"dict", write_dict(d, place)}}; },
        },
        state.value);
  }

  const std::vector<Tensor>& tensors() const { return tensors_; }
  std::vector<StoredTensor>& rows() { return rows_; }

 private:
  Json write_tensor(const Tensor& t, const std::string& place) {
    if (!t.is_defined()) raise<ValueError>("checkpoint: {} is an undefined tensor", place);
    tensors_.push_back(t);
    rows_.push_back({.name = place, .dtype = t.dtype(), .shape = t.shape(), .hash = {}});
    return Json{{"tensor", tensors_.size() - 1}};
  }

  Json write_items(const State::List& items, const std::string& place) {
    Json list = Json::array();
    for (const State& item : items)
      list.push_back(write(item, below(place, std::to_string(list.size()))));
    return list;
  }

  Json write_dict(const State::Dict& dict, const std::string& place) {
    Json pairs = Json::array();
    std::set<Json> keys;
    for (size_t i = 0; i < dict.keys.size(); ++i) {
      const State& key = dict.keys[i];
      Json written;
      if (const auto* text = std::get_if<std::string>(&key.value))
        written = *text;
      else if (const auto* number = std::get_if<int64_t>(&key.value))
        written = *number;
      else
        raise<ValueError>("checkpoint: {} has a key that is neither text nor a whole number",
                          place.empty() ? "the state" : place);
      if (!keys.insert(written).second)
        raise<ValueError>("checkpoint: {} has the key {} twice",
                          place.empty() ? "the state" : place, written.dump());
      const std::string name = written.is_string() ? written.get<std::string>() : written.dump();
      pairs.push_back(Json::array({written, write(dict.values.at(i), below(place, name))}));
    }
    return pairs;
  }

  static std::string below(const std::string& place, const std::string& name) {
    return place.empty() ? name : place + "." + name;
  }

  std::vector<Tensor> tensors_;
  std::vector<StoredTensor> rows_;
};

/// A state of JSON and tensors.
class Reader {
 public:
  Reader(std::string name, std::vector<Tensor> tensors)
      : name_(std::move(name)), tensors_(std::move(tensors)) {}

  State read(const Json& json) const {
    if (json.is_null()) return {};
    if (json.is_boolean()) return {json.get<bool>()};
    if (json.is_string()) return {json.get<std::string>()};
    if (json.is_number_integer()) return {whole_number(json)};
    if (json.is_array()) return {read_items(json)};
    if (!json.is_object() || json.size() != 1) refuse(json);
    const std::string& kind = json.begin().key();
    const Json& content = json.begin().value();
    if (kind == "float") return {read_float(content)};
    if (kind == "tensor") return {read_tensor(content)};
    if (kind == "tuple" && content.is_array()) return {State::Tuple{read_items(content)}};
    if (kind == "dict" && content.is_array()) return {read_dict(content)};
    refuse(json);
  }

 private:
  [[noreturn]] void refuse(const Json& json) const {
    const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    raise<CheckpointError>("{}: the state has what is not known: {}", name_, text.substr(0, 60));
  }

  int64_t whole_number(const Json& json) const {
    if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) refuse(json);
    return json.get<int64_t>();
  }

  double read_float(const Json& json) const {
    if (!json.is_string()) refuse(json);
    const std::string text = json.get<std::string>();
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || end != text.c_str() + text.size()) refuse(json);
    return value;
  }

  Tensor read_tensor(const Json& json) const {
    if (!json.is_number_unsigned() || json.get<uint64_t>() >= tensors_.size()) refuse(json);
    return tensors_[json.get<uint64_t>()];
  }

  State::List read_items(const Json& json) const {
    State::List items;
    for (const Json& item : json) items.push_back(read(item));
    return items;
  }

  State::Dict read_dict(const Json& json) const {
    State::Dict dict;
    std::set<Json> keys;
    for (const Json& pair : json) {
      if (!pair.is_array() || pair.size() != 2) refuse(pair);
      const bool is_key = pair[0].is_string() || pair[0].is_number_integer();
      if (!is_key || !keys.insert(pair[0]).second) refuse(pair);
      dict.keys.push_back(read(pair[0]));
      dict.values.push_back(read(pair[1]));
    }
    return dict;
  }

  std::string name_;
  std::vector<Tensor> tensors_;
};

/// Gives a checkpoint's bytes to `write`, piece by piece.
template <class Write>
void write_checkpoint(const State& state, Write write) {
  Writer writer;
  CheckpointHeader header;
  header.state = writer.write(state, "");
  realize(writer.tensors());
  header.tensors = std::move(writer.rows());
  std::vector<TensorBytes> payload;
  for (size_t i = 0; i < writer.tensors().size(); ++i) {
    payload.emplace_back(writer.tensors()[i]);
    header.tensors[i].bytes = payload[i].bytes.size();
    header.tensors[i].hash = hash_text(payload[i].bytes);
  }
  place_tensors(header.tensors);
  const std::string start = header_bytes(header);
  write(std::as_bytes(std::span(start)));
  uint64_t at = 0;
  const std::vector<std::byte> zeros(64);
  for (size_t i = 0; i < payload.size(); ++i) {
    write(std::span(zeros).first(header.tensors[i].offset - at));
    write(payload[i].bytes);
    at = header.tensors[i].offset + header.tensors[i].bytes;
  }
}

State read_checkpoint(const FileBytes& file, const std::string& name, bool verify) {
  const CheckpointHeader header = parse_header(file.bytes, name);
  std::vector<Tensor> tensors;
  for (const StoredTensor& row : header.tensors) {
    const auto bytes = file.bytes.subspan(header.payload + row.offset, row.bytes);
    if (verify && hash_text(bytes) != row.hash)
      raise<CheckpointError>("{}: tensor {} is damaged: its hash differs", name, row.name);
    tensors.push_back(tensor_over(bytes, file.owner, row.dtype, row.shape));
  }
  return Reader(name, std::move(tensors)).read(header.state);
}

}  // namespace

void save_checkpoint(const std::string& path, const State& state) {
  AtomicFile file(path);
  write_checkpoint(state, [&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

State load_checkpoint(const std::string& path, LoadOptions options) {
  return read_checkpoint(read_file(path, options.mmap), path, options.verify);
}

std::vector<std::byte> checkpoint_to_bytes(const State& state) {
  std::vector<std::byte> all;
  write_checkpoint(state, [&](std::span<const std::byte> bytes) {
    all.insert(all.end(), bytes.begin(), bytes.end());
  });
  return all;
}

State checkpoint_from_bytes(std::span<const std::byte> bytes) {
  return read_checkpoint({bytes, nullptr}, "checkpoint", true);
}

void save_state_dict(const std::string& path, const NamedTensors& tensors) {
  State::Dict dict;
  for (const auto& [name, tensor] : tensors) {
    dict.keys.push_back({name});
    dict.values.push_back({tensor});
  }
  save_checkpoint(path, {std::move(dict)});
}

NamedTensors load_state_dict(const std::string& path, LoadOptions options) {
  const State state = load_checkpoint(path, options);
  const auto* dict = std::get_if<State::Dict>(&state.value);
  if (!dict) raise<CheckpointError>("{}: it holds no named tensors", path);
  NamedTensors tensors;
  for (size_t i = 0; i < dict->keys.size(); ++i) {
    const auto* name = std::get_if<std::string>(&dict->keys[i].value);
    const auto* tensor = std::get_if<Tensor>(&dict->values[i].value);
    if (!name || !tensor)
      raise<CheckpointError>("{}: it holds more than named tensors; use load_checkpoint", path);
    tensors.emplace_back(*name, *tensor);
  }
  return tensors;
}

void assign_state_dict(const NamedTensors& targets, const NamedTensors& loaded) {
  std::map<std::string, Tensor> by_name(loaded.begin(), loaded.end());
  std::vector<std::string> missing, other;
  for (const auto& [name, target] : targets) {
    const auto at = by_name.find(name);
    if (at == by_name.end()) {
      missing.push_back(name);
    } else if (at->second.shape() != target.shape() || at->second.dtype() != target.dtype()) {
      other.push_back(fmt::format("{}: expected {}, got {}", name,
                                  type_text(target.dtype(), target.shape()),
                                  type_text(at->second.dtype(), at->second.shape())));
    }
  }
  std::vector<std::string> unexpected;
  for (const auto& [name, tensor] : loaded)
    if (std::ranges::none_of(targets, [&](const auto& t) { return t.first == name; }))
      unexpected.push_back(name);
  if (!missing.empty() || !unexpected.empty() || !other.empty())
    raise<CheckpointError>("load_state_dict: missing [{}], unexpected [{}], different [{}]",
                           fmt::join(missing, ", "), fmt::join(unexpected, ", "),
                           fmt::join(other, "; "));
  for (const auto& [name, target] : targets) target.assign(by_name.at(name));
}

}  // namespace coregrad
