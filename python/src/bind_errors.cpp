// The exception tree in Python: every class derives from CoreGradError and the matching built-in.

#include "base/error.h"

#include "bindings.h"
#include <array>
#include <exception>
#include <new>
#include <string>

namespace coregrad::python {
namespace {

enum Kind : size_t {
  kRoot,
  kShape,
  kDType,
  kLayout,
  kIndex,
  kAutograd,
  kUnsupported,
  kDynamicShape,
  kCheckpoint,
  kIo,
  kOutOfMemory,
  kValue,
  kInternal,
  kNumKinds,
};

/// Alive as long as the interpreter, as exception classes are.
std::array<PyObject*, kNumKinds> classes{};

void translate(const std::exception_ptr& pointer, void*) {
  const auto set = [](Kind kind, const Error& e) { PyErr_SetString(classes[kind], e.what()); };
  try {
    std::rethrow_exception(pointer);
  } catch (const ShapeError& e) {
    set(kShape, e);
  } catch (const DTypeError& e) {
    set(kDType, e);
  } catch (const LayoutError& e) {
    set(kLayout, e);
  } catch (const IndexError& e) {
    set(kIndex, e);
  } catch (const AutogradError& e) {
    set(kAutograd, e);
  } catch (const UnsupportedError& e) {
    set(kUnsupported, e);
  } catch (const DynamicShapeError& e) {
    set(kDynamicShape, e);
  } catch (const CheckpointError& e) {
    set(kCheckpoint, e);
  } catch (const IoError& e) {
    set(kIo, e);
  } catch (const OutOfMemoryError& e) {
    set(kOutOfMemory, e);
  } catch (const ValueError& e) {
    set(kValue, e);
  } catch (const InternalError& e) {
    set(kInternal, e);
  } catch (const Error& e) {
    set(kRoot, e);
  }
}

}  // namespace

void set_python_error() {
  try {
    translate(std::current_exception(), nullptr);
  } catch (nb::python_error& e) {
    e.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

void bind_errors(nb::module_& m) {
  const auto make = [&](Kind kind, const char* name, PyObject* builtin, const char* doc) {
    const std::string full = std::string("coregrad.") + name;
    PyObject* bases =
        kind == kRoot ? PyTuple_Pack(1, PyExc_Exception) : PyTuple_Pack(2, classes[kRoot], builtin);
    if (bases == nullptr) nb::raise_python_error();
    const nb::object owned = nb::steal(bases);
    classes[kind] = PyErr_NewExceptionWithDoc(full.c_str(), doc, bases, nullptr);
    if (classes[kind] == nullptr) nb::raise_python_error();
    m.attr(name) = nb::borrow(classes[kind]);
  };
  make(kRoot, "CoreGradError", nullptr, "Root of everything CoreGrad raises.");
  make(kShape, "ShapeError", PyExc_ValueError, "Extents that do not fit the operation.");
  make(kDType, "DTypeError", PyExc_TypeError, "A dtype that the operation does not take.");
  make(kLayout, "LayoutError", PyExc_ValueError, "Strides or offsets outside the storage.");
  make(kIndex, "IndexError", PyExc_IndexError, "A dimension or an element index out of range.");
  make(kAutograd, "AutogradError", PyExc_RuntimeError, "A gradient that was asked for wrongly.");
  make(kUnsupported, "UnsupportedError", PyExc_NotImplementedError,
       "An operation or combination that is not available.");
  make(kDynamicShape, "DynamicShapeError", PyExc_NotImplementedError,
       "An extent that is only known at run time.");
  make(kCheckpoint, "CheckpointError", PyExc_ValueError, "A malformed or mismatching checkpoint.");
  make(kIo, "IoError", PyExc_OSError, "The operating system refused a file operation.");
  make(kOutOfMemory, "OutOfMemoryError", PyExc_MemoryError, "An allocation failed.");
  make(kValue, "ValueError", PyExc_ValueError, "An argument value outside its domain.");
  make(kInternal, "InternalError", PyExc_RuntimeError, "CoreGrad's own mistake.");
  nb::register_exception_translator(translate);
}

}  // namespace coregrad::python
