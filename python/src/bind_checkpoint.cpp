// Saving and loading: Python's values as states and back.

#include "coregrad/checkpoint.h"

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <string>
#include <utility>
#include <vector>

namespace coregrad::python {
namespace {

constexpr int kMaxDepth = 90;  // the format's own is a little more

State state_from(nb::handle value, const std::string& place, int depth);

State::List items_from(nb::handle sequence, const std::string& place, int depth) {
  State::List items;
  for (const nb::handle item : sequence)
    items.push_back(state_from(item, fmt::format("{}[{}]", place, items.size()), depth));
  return items;
}

/// `place` names the value in errors.
State state_from(nb::handle value, const std::string& place, int depth) {
  if (depth > kMaxDepth) raise<ValueError>("save: {} nests deeper than {}", place, kMaxDepth);
  if (value.is_none()) return {};
  if (nb::isinstance<Tensor>(value)) return {nb::cast<Tensor>(value)};
  if (nb::isinstance<nb::bool_>(value)) return {nb::cast<bool>(value)};
  if (nb::isinstance<nb::int_>(value)) {
    int64_t number = 0;
    if (!nb::try_cast(value, number)) raise<ValueError>("save: {} is a number beyond int64", place);
    return {number};
  }
  if (nb::isinstance<nb::float_>(value)) return {nb::cast<double>(value)};
  if (nb::isinstance<nb::str>(value)) return {nb::cast<std::string>(value)};
  if (nb::isinstance<nb::list>(value)) return {items_from(value, place, depth + 1)};
  if (nb::isinstance<nb::tuple>(value)) return {State::Tuple{items_from(value, place, depth + 1)}};
  if (nb::isinstance<nb::dict>(value)) {
    State::Dict dict;
    for (const auto& [key, item] : nb::borrow<nb::dict>(value)) {
      const std::string name = nb::cast<std::string>(nb::repr(key));
      const bool is_text = nb::isinstance<nb::str>(key);
      if (!is_text && (!nb::isinstance<nb::int_>(key) || nb::isinstance<nb::bool_>(key)))
        raise<ValueError>("save: {} has the key {}, which is neither text nor a whole number",
                          place, name);
      dict.keys.push_back(state_from(key, place, depth));
      dict.values.push_back(state_from(item, fmt::format("{}[{}]", place, name), depth + 1));
    }
    return {std::move(dict)};
  }
  raise<ValueError>(
      "save: {} is a {}; tensors, numbers, text, None, lists, tuples and dicts can be "
      "saved",
      place, nb::cast<std::string>(nb::handle(value.type()).attr("__name__")));
}

nb::object object_from(const State& state) {
  if (const auto* b = std::get_if<bool>(&state.value)) return nb::bool_(*b);
  if (const auto* i = std::get_if<int64_t>(&state.value)) return nb::int_(*i);
  if (const auto* d = std::get_if<double>(&state.value)) return nb::float_(*d);
  if (const auto* s = std::get_if<std::string>(&state.value)) return nb::str(s->data(), s->size());
  if (const auto* t = std::get_if<Tensor>(&state.value)) return nb::cast(*t);
  const auto list_of = [](const State::List& items) {
    nb::list list;
    for (const State& item : items) list.append(object_from(item));
    return list;
  };
  if (const auto* l = std::get_if<State::List>(&state.value)) return list_of(*l);
  if (const auto* t = std::get_if<State::Tuple>(&state.value)) return nb::tuple(list_of(t->items));
  if (const auto* d = std::get_if<State::Dict>(&state.value)) {
    nb::dict dict;
    for (size_t i = 0; i < d->keys.size(); ++i)
      dict[object_from(d->keys[i])] = object_from(d->values[i]);
    return dict;
  }
  return nb::none();
}

}  // namespace

void bind_checkpoint(nb::module_& m) {
  m.def("_save_checkpoint", [](nb::handle value, const std::string& path) {
    const State state = state_from(value, "the value", 0);
    const nb::gil_scoped_release release;
    save_checkpoint(path, state);
  });
  m.def("_load_checkpoint", [](const std::string& path, bool mmap, bool verify) {
    State state;
    {
      const nb::gil_scoped_release release;
      state = load_checkpoint(path, {mmap, verify});
    }
    return object_from(state);
  });
  m.def("_to_bytes", [](nb::handle value) {
    const std::vector<std::byte> bytes = checkpoint_to_bytes(state_from(value, "the value", 0));
    return nb::bytes(bytes.data(), bytes.size());
  });
  m.def("_from_bytes", [](const nb::bytes& bytes) {
    return object_from(
        checkpoint_from_bytes({static_cast<const std::byte*>(bytes.data()), bytes.size()}));
  });
  m.def("_save_safetensors",
        [](const NamedTensors& tensors, const std::map<std::string, std::string>& metadata,
           const std::string& path) {
          const nb::gil_scoped_release release;
          save_safetensors(path, {tensors, metadata});
        });
  m.def("_load_safetensors", [](const std::string& path, bool mmap) {
    SafeTensors content;
    {
      const nb::gil_scoped_release release;
      content = load_safetensors(path, {.mmap = mmap});
    }
    return std::pair(std::move(content.tensors), std::move(content.metadata));
  });
}

}  // namespace coregrad::python
