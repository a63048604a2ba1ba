#include "sized_entry.h"

#include "base/error.h"
#include "base/hash.h"

#include <nanobind/stl/string.h>

#include "bindings.h"
#include "c_function.h"
#include "entry.h"
#include "small_array.h"
#include "tensor_exchange.h"
#include <algorithm>
#include <bit>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace coregrad::python {
namespace {

/// Where a size stands among the arguments.
struct Place {
  enum class Kind : uint8_t { Int, Float, Size, Stride, Shape, StorageOffset };
  Kind kind;
  size_t argument;
  size_t dim;
};

using Key = std::vector<int64_t>;

struct KeyHash {
  using is_transparent = void;
  size_t operator()(std::span<const int64_t> key) const { return hash_ints(key); }
};
struct KeyEqual {
  using is_transparent = void;
  bool operator()(std::span<const int64_t> a, std::span<const int64_t> b) const {
    return std::ranges::equal(a, b);
  }
};

/// What was made for some sizes, the latest used first. The GIL guards it.
class SizedEntry {
 public:
  SizedEntry(std::vector<Place> places, nb::object make, int64_t max_bytes)
      : places_(std::move(places)), make_(std::move(make)), max_bytes_(max_bytes) {}

  nb::object call(PyObject* const* args, size_t count) {
    SmallArray<int64_t, 32> key(places_.size());
    read(args, count, key);
    nb::object function = find(key.span());
    if (!function.is_valid()) function = add(key.span(), args, count);
    return nb::steal(check(PyObject_Vectorcall(function.ptr(), args, count, nullptr)));
  }

 private:
  struct Made {
    Key key;
    nb::object function;
    int64_t bytes;
  };

  static PyObject* check(PyObject* result) {
    if (result == nullptr) nb::raise_python_error();
    return result;
  }

  void read(PyObject* const* args, size_t count, SmallArray<int64_t, 32>& key) const {
    dlpack::Tensor tensor{};
    const PyObject* borrowed = nullptr;
    for (size_t i = 0; i < places_.size(); ++i) {
      const Place& place = places_[i];
      if (place.argument >= count)
        raise<ValueError>("graph: takes at least {} inputs, got {}", place.argument + 1, count);
      PyObject* const argument = args[place.argument];
      if (place.kind == Place::Kind::Int) {
        key[i] = PyLong_AsLongLong(argument);
        if (key[i] == -1 && PyErr_Occurred() != nullptr) nb::raise_python_error();
        continue;
      }
      if (place.kind == Place::Kind::Float) {
        key[i] = std::bit_cast<int64_t>(nb::cast<double>(nb::handle(argument)));
        continue;
      }
      if (place.kind == Place::Kind::Shape) {
        key[i] = nb::cast<int64_t>(nb::handle(argument).attr("shape")[place.dim]);
        continue;
      }
      if (place.kind == Place::Kind::StorageOffset) {
        key[i] = nb::cast<int64_t>(nb::handle(argument).attr("storage_offset")());
        continue;
      }
      if (argument != borrowed) tensor = borrow_tensor(argument);
      borrowed = argument;
      if (place.dim >= static_cast<size_t>(tensor.ndim))
        raise<ShapeError>("graph: input {} has {} dimensions, compiled for more", place.argument,
                          tensor.ndim);
      key[i] =
          place.kind == Place::Kind::Size ? tensor.shape[place.dim] : stride(tensor, place.dim);
    }
  }

  static int64_t stride(const dlpack::Tensor& tensor, size_t dim) {
    if (tensor.strides != nullptr) return tensor.strides[dim];
    int64_t stride = 1;
    for (size_t d = static_cast<size_t>(tensor.ndim); --d > dim;) stride *= tensor.shape[d];
    return stride;
  }

  nb::object find(std::span<const int64_t> key) {
    if (!order_.empty() && KeyEqual()(order_.front().key, key)) return order_.front().function;
    const auto at = table_.find(key);
    if (at == table_.end()) return {};
    order_.splice(order_.begin(), order_, at->second);
    return order_.front().function;
  }

  /// The key as `make` gets it.
  nb::object values_of(std::span<const int64_t> key) const {
    nb::object tuple = nb::steal(check(PyTuple_New(static_cast<Py_ssize_t>(key.size()))));
    for (size_t i = 0; i < key.size(); ++i) {
      const bool is_float = places_[i].kind == Place::Kind::Float;
      PyObject* const value = is_float ? PyFloat_FromDouble(std::bit_cast<double>(key[i]))
                                       : PyLong_FromLongLong(key[i]);
      PyTuple_SET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i), check(value));
    }
    return tuple;
  }

  nb::object add(std::span<const int64_t> key, PyObject* const* args, size_t count) {
    const nb::object values = values_of(key);
    SmallArray<PyObject*, 64> arguments(count + 1);
    arguments[0] = values.ptr();
    std::copy_n(args, count, arguments.data() + 1);
    // May let the GIL go, so that another thread may have added the same meanwhile.
    nb::object function = nb::steal(
        check(PyObject_Vectorcall(make_.ptr(), arguments.data(), arguments.size(), nullptr)));
    if (table_.contains(key)) return function;
    order_.push_front({{key.begin(), key.end()}, function, bytes_of_entry(function)});
    table_.emplace(order_.front().key, order_.begin());
    bytes_ += order_.front().bytes;
    while (bytes_ > max_bytes_ && order_.size() > 1) {
      bytes_ -= order_.back().bytes;
      table_.erase(table_.find(std::span<const int64_t>(order_.back().key)));
      order_.pop_back();
    }
    return function;
  }

  std::vector<Place> places_;
  nb::object make_;
  int64_t bytes_ = 0, max_bytes_;
  std::list<Made> order_;
  std::unordered_map<Key, std::list<Made>::iterator, KeyHash, KeyEqual> table_;
};

PyObject* call_sized_entry(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  auto* entry = static_cast<SizedEntry*>(PyCapsule_GetPointer(self, nullptr));
  try {
    return entry->call(args, static_cast<size_t>(count)).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyMethodDef definition = {
    "coregrad_graph",
    reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_sized_entry)),  // NOLINT
    METH_FASTCALL, "Runs a compiled graph: tensors in, a tuple of tensors out."};

Place::Kind to_kind(std::string_view word) {
  if (word == "int") return Place::Kind::Int;
  if (word == "float") return Place::Kind::Float;
  if (word == "shape") return Place::Kind::Shape;
  if (word == "storage_offset") return Place::Kind::StorageOffset;
  if (word == "size") return Place::Kind::Size;
  if (word == "stride") return Place::Kind::Stride;
  raise<ValueError>("entry: no place of this kind: {}", word);
}

}  // namespace

nb::object make_sized_entry(const nb::list& places, nb::handle make, int64_t max_bytes) {
  std::vector<Place> read;
  for (const nb::handle item : places) {
    const auto place = nb::cast<nb::tuple>(item);
    read.push_back({to_kind(nb::cast<std::string>(place[0])), nb::cast<size_t>(place[1]),
                    nb::cast<size_t>(place[2])});
  }
  auto entry = std::make_unique<SizedEntry>(std::move(read), nb::borrow(make), max_bytes);
  return make_c_function(definition, std::move(entry));
}

}  // namespace coregrad::python
