#pragma once
// The exception tree: errors by who is to blame, each with the operation, the rule and what was
// got.

#include <stdexcept>

#pragma GCC visibility push(default)
namespace coregrad {

/// Root of everything this library throws.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

#define COREGRAD_ERROR_TYPE(Name) \
  class Name : public Error {     \
   public:                        \
    using Error::Error;           \
  }

COREGRAD_ERROR_TYPE(ShapeError);         ///< extents that do not fit the operation
COREGRAD_ERROR_TYPE(DTypeError);         ///< a dtype that the operation does not take
COREGRAD_ERROR_TYPE(LayoutError);        ///< strides or offsets outside the storage
COREGRAD_ERROR_TYPE(IndexError);         ///< a dimension or an element index out of range
COREGRAD_ERROR_TYPE(AutogradError);      ///< a gradient that was asked for wrongly
COREGRAD_ERROR_TYPE(UnsupportedError);   ///< an operation or combination that is not available
COREGRAD_ERROR_TYPE(DynamicShapeError);  ///< an extent that is only known at run time
COREGRAD_ERROR_TYPE(CheckpointError);    ///< a malformed or mismatching checkpoint
COREGRAD_ERROR_TYPE(IoError);            ///< the operating system refused a file operation
COREGRAD_ERROR_TYPE(OutOfMemoryError);   ///< an allocation failed or would exceed the address space
COREGRAD_ERROR_TYPE(ValueError);         ///< an argument value outside its domain
COREGRAD_ERROR_TYPE(InternalError);      ///< our own mistake

#undef COREGRAD_ERROR_TYPE

}  // namespace coregrad
#pragma GCC visibility pop
