#include "cli/checkpoint.h"

#include "base/error.h"
#include "coregrad/checkpoint.h"
#include "ir/print.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>

namespace coregrad::cli {
namespace {

bool is_safetensors(const std::string& path) { return path.ends_with(".safetensors"); }

/// The state of a file of either format; a safetensors file's tensors are a dictionary.
State load(const std::string& path, std::map<std::string, std::string>* metadata = nullptr) {
  if (!is_safetensors(path)) return load_checkpoint(path, {.mmap = true});
  SafeTensors content = load_safetensors(path, {.mmap = true});
  if (metadata != nullptr) *metadata = content.metadata;
  State::Dict dict;
  for (auto& [name, tensor] : content.tensors) {
    dict.keys.push_back({name});
    dict.values.push_back({tensor});
  }
  return {std::move(dict)};
}

std::string key_text(const State& key) {
  if (const auto* text = std::get_if<std::string>(&key.value)) return *text;
  return std::to_string(std::get<int64_t>(key.value));
}

/// Everything that is no list, tuple or dictionary, with where it stands.
void flatten(const State& state, const std::string& place,
             std::vector<std::pair<std::string, State>>& leaves) {
  const auto below = [&](const std::string& name) {
    return place.empty() ? name : place + "." + name;
  };
  const auto items = [&](const State::List& list) {
    for (size_t i = 0; i < list.size(); ++i) flatten(list[i], below(std::to_string(i)), leaves);
  };
  if (const auto* list = std::get_if<State::List>(&state.value)) return items(*list);
  if (const auto* tuple = std::get_if<State::Tuple>(&state.value)) return items(tuple->items);
  if (const auto* dict = std::get_if<State::Dict>(&state.value)) {
    for (size_t i = 0; i < dict->keys.size(); ++i)
      flatten(dict->values[i], below(key_text(dict->keys[i])), leaves);
    return;
  }
  leaves.emplace_back(place, state);
}

std::vector<std::pair<std::string, State>> leaves_of(const State& state) {
  std::vector<std::pair<std::string, State>> leaves;
  flatten(state, "", leaves);
  return leaves;
}

nlohmann::json value_of(const State& leaf) {
  if (const auto* b = std::get_if<bool>(&leaf.value)) return *b;
  if (const auto* i = std::get_if<int64_t>(&leaf.value)) return *i;
  if (const auto* d = std::get_if<double>(&leaf.value)) return *d;
  if (const auto* s = std::get_if<std::string>(&leaf.value)) return *s;
  return nullptr;
}

int64_t bytes_of(const Tensor& t) { return t.numel() * size_of(t.dtype()); }

/// The largest difference of two tensors' elements; infinite where one alone is NaN.
double distance(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
    const double d = std::fabs(x[i] - y[i]);
    most = std::max(most, std::isnan(d) ? INFINITY : d);
  }
  return most;
}

/// How two leaves differ; empty if they do not.
std::string difference(const State& a, const State& b, double tolerance) {
  const auto* x = std::get_if<Tensor>(&a.value);
  const auto* y = std::get_if<Tensor>(&b.value);
  if (x && y) {
    if (x->dtype() != y->dtype() || x->shape() != y->shape())
      return fmt::format("{} against {}", type_text(x->dtype(), x->shape()),
                         type_text(y->dtype(), y->shape()));
    const double most = distance(*x, *y);
    return most > tolerance ? fmt::format("values differ by up to {:.3g}", most) : "";
  }
  if (x || y) return "a tensor against something else";
  const nlohmann::json one = value_of(a), other = value_of(b);
  return one == other ? "" : fmt::format("{} against {}", one.dump(), other.dump());
}

}  // namespace

int inspect_checkpoint(const std::string& path, bool json) {
  std::map<std::string, std::string> metadata;
  const auto leaves = leaves_of(load(path, &metadata));
  int64_t tensors = 0, bytes = 0;
  nlohmann::json rows = nlohmann::json::array();
  size_t width = 4;
  for (const auto& [name, leaf] : leaves) {
    width = std::max(width, name.size());
    nlohmann::json row = {{"name", name}};
    if (const auto* t = std::get_if<Tensor>(&leaf.value)) {
      ++tensors;
      bytes += bytes_of(*t);
      row["dtype"] = name_of(t->dtype());
      row["shape"] = t->shape();
      row["bytes"] = bytes_of(*t);
    } else {
      row["value"] = value_of(leaf);
    }
    rows.push_back(std::move(row));
  }
  if (json) {
    const nlohmann::json all = {{"format", is_safetensors(path) ? "safetensors" : "rtch"},
                                {"metadata", metadata},
                                {"tensors", tensors},
                                {"bytes", bytes},
                                {"entries", rows}};
    fmt::print("{}\n", all.dump());
    return 0;
  }
  for (const auto& [key, value] : metadata) fmt::print("{} = {}\n", key, value);
  for (const nlohmann::json& row : rows) {
    const std::string name = row["name"];
    if (row.contains("dtype"))
      fmt::print("{:<{}}  {:<9} {:<20} {:>12} bytes\n", name, width,
                 row["dtype"].get<std::string>(), row["shape"].dump(), row["bytes"].dump());
    else
      fmt::print("{:<{}}  {}\n", name, width, row["value"].dump());
  }
  fmt::print("{} tensors, {} bytes\n", tensors, bytes);
  return 0;
}

int verify_checkpoints(const std::vector<std::string>& paths) {
  int damaged = 0;
  for (const std::string& path : paths) {
    try {
      const auto leaves = leaves_of(load(path));
      fmt::print("{}: whole, {} entries\n", path, leaves.size());
    } catch (const Error& error) {
      fmt::print("{}\n", error.what());
      ++damaged;
    }
  }
  return damaged == 0 ? 0 : 1;
}

int diff_checkpoints(const std::string& a, const std::string& b, double tolerance, bool json) {
  std::map<std::string, State> one, other;
  for (auto& [name, leaf] : leaves_of(load(a))) one.emplace(name, leaf);
  for (auto& [name, leaf] : leaves_of(load(b))) other.emplace(name, leaf);
  std::map<std::string, std::string> differences;
  for (const auto& [name, leaf] : one) {
    const auto at = other.find(name);
    const std::string how =
        at == other.end() ? "only in the first" : difference(leaf, at->second, tolerance);
    if (!how.empty()) differences[name] = how;
  }
  for (const auto& [name, leaf] : other)
    if (!one.contains(name)) differences[name] = "only in the second";
  if (json) {
    fmt::print("{}\n", nlohmann::json(differences).dump());
  } else {
    for (const auto& [name, how] : differences) fmt::print("{}: {}\n", name, how);
    fmt::print("{} of {} entries differ\n", differences.size(), std::max(one.size(), other.size()));
  }
  return differences.empty() ? 0 : 1;
}

int convert_checkpoint(const std::string& from, const std::string& to) {
  std::map<std::string, std::string> metadata;
  const State state = load(from, &metadata);
  if (!is_safetensors(to)) {
    save_checkpoint(to, state);
    return 0;
  }
  SafeTensors content{{}, metadata};
  for (const auto& [name, leaf] : leaves_of(state)) {
    const auto* tensor = std::get_if<Tensor>(&leaf.value);
    if (!tensor)
      raise<ValueError>("convert: {} is no tensor, and a safetensors file holds nothing else",
                        name);
    content.tensors.emplace_back(name, *tensor);
  }
  save_safetensors(to, content);
  return 0;
}

}  // namespace coregrad::cli
