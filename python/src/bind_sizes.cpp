// coregrad._core.SymInt, ShapeEnv and SizeProgram: sizes that are known when a call is made.

#include "base/error.h"
#include "base/shape_env.h"
#include "base/size_program.h"

#include <nanobind/operators.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace coregrad::python {
namespace {

using Size = SymbolicSize;

/// An operator with a size, an int or a float on either side; floats make it one of numbers.
void define(nb::class_<Size>& size, const std::string& name, auto of_sizes, auto of_floats) {
  const std::string plain = "__" + name + "__", reflected = "__r" + name + "__";
  size.def(
      plain.c_str(), [=](const Size& a, SymInt b) { return of_sizes(a.size, b); },
      nb::is_operator());
  size.def(
      reflected.c_str(), [=](const Size& b, SymInt a) { return of_sizes(a, b.size); },
      nb::is_operator());
  const auto number = [](const Size& x) { return static_cast<double>(x.size.specialized()); };
  size.def(
      plain.c_str(), [=](const Size& a, double b) { return of_floats(number(a), b); },
      nb::is_operator());
  size.def(
      reflected.c_str(), [=](const Size& b, double a) { return of_floats(a, number(b)); },
      nb::is_operator());
}

SymInt power(SymInt base, int64_t exponent) {
  if (exponent < 0) raise<ValueError>("SymInt: the power must not be negative, got {}", exponent);
  SymInt result = 1;
  for (int64_t i = 0; i < exponent; ++i) result *= base;
  return result;
}

void bind_sym_int(nb::module_& m) {
  nb::class_<Size> size(m, "SymInt",
                        "A size that is an expression of symbols. Comparisons are decisions: "
                        "proven, or taken as for the\nsymbols' hints and kept as guards of the "
                        "environment. As an index or a float it is its hint, with a\nguard for "
                        "that value.");
  define(
      size, "add", [](SymInt a, SymInt b) { return a + b; },
      [](double a, double b) { return a + b; });
  define(
      size, "sub", [](SymInt a, SymInt b) { return a - b; },
      [](double a, double b) { return a - b; });
  define(
      size, "mul", [](SymInt a, SymInt b) { return a * b; },
      [](double a, double b) { return a * b; });
  define(
      size, "floordiv", [](SymInt a, SymInt b) { return floor_div(a, b); },
      [](double a, double b) { return std::floor(a / b); });
  define(
      size, "mod", [](SymInt a, SymInt b) { return floor_mod(a, b); },
      [](double a, double b) { return a - std::floor(a / b) * b; });
  const auto quotient = [](SymInt a, SymInt b) {
    return static_cast<double>(a.specialized()) / static_cast<double>(b.specialized());
  };
  define(size, "truediv", quotient, [](double a, double b) { return a / b; });
  size.def(
          "__pow__", [](const Size& a, int64_t n) { return power(a.size, n); }, nb::is_operator())
      .def("__neg__", [](const Size& a) { return -a.size; })
      .def("__pos__", [](const Size& a) { return a.size; })
      .def("__abs__", [](const Size& a) { return a.size < 0 ? -a.size : a.size; })
      .def("__bool__", [](const Size& a) { return a.size != 0; })
      .def("__index__", [](const Size& a) { return a.size.specialized(); })
      .def("__int__", [](const Size& a) { return a.size.specialized(); })
      .def("__float__", [](const Size& a) { return static_cast<double>(a.size.specialized()); })
      .def("__repr__", [](const Size& a) { return a.size.to_text(); })
      .def_prop_ro("hint", [](const Size& a) { return a.size.hint(); });
  const auto compare = [&](const char* name, auto decide) {
    size.def(name, [=](const Size& a, SymInt b) { return decide(a.size, b); }, nb::is_operator());
    size.def(
        name,
        [=](const Size& a, double b) {
          return decide(static_cast<double>(a.size.specialized()), b);
        },
        nb::is_operator());
  };
  compare("__eq__", [](auto a, auto b) { return a == b; });
  compare("__ne__", [](auto a, auto b) { return a != b; });
  compare("__lt__", [](auto a, auto b) { return a < b; });
  compare("__le__", [](auto a, auto b) { return a <= b; });
  compare("__gt__", [](auto a, auto b) { return b < a; });
  compare("__ge__", [](auto a, auto b) { return b <= a; });
  size.attr("__hash__") = nb::none();  // equality is a decision
  m.def(
      "sym_max", [](SymInt a, SymInt b) { return max(a, b); }, nb::arg("a"), nb::arg("b"),
      "The larger of two sizes as an expression, without a decision.");
  m.def(
      "sym_min", [](SymInt a, SymInt b) { return min(a, b); }, nb::arg("a"), nb::arg("b"),
      "The smaller of two sizes as an expression, without a decision.");
}

}  // namespace

void bind_sizes(nb::module_& m) {
  bind_sym_int(m);
  m.attr("UNBOUNDED") = kUnbounded;
  nb::class_<ShapeEnv>(m, "ShapeEnv", "Owns symbols, and keeps what was decided about sizes.")
      .def(nb::new_([] { return std::make_shared<ShapeEnv>(); }))
      .def(
          "symbol",
          [](ShapeEnv& env, const std::string& name, int64_t low, int64_t high, int64_t hint) {
            if (hint < low || hint > high)
              raise<ValueError>("symbol: the hint of {} must lie in [{}, {}], got {}", name, low,
                                high, hint);
            return env.symbol(name, {low, high}, hint);
          },
          nb::arg("name"), nb::arg("low"), nb::arg("high"), nb::arg("hint"),
          "A new symbol with inclusive bounds; UNBOUNDED for none.")
      .def(
          "admits",
          [](const ShapeEnv& env, const std::vector<int64_t>& values) {
            return env.admits(values);
          },
          nb::arg("values"), "Whether all that was decided holds for these values of the symbols.")
      .def(
          "refusal",
          [](const ShapeEnv& env, const std::vector<int64_t>& values) {
            return env.refusal(values);
          },
          nb::arg("values"), "What does not hold for these values; empty if all does.")
      .def("close", &ShapeEnv::close, "From now on a decision that needs a guard is an error.")
      .def_prop_ro("guards", &ShapeEnv::guards, "What was decided, a line each.");
  nb::class_<SizeProgram>(m, "SizeProgram", "Evaluates sizes of one environment.")
      .def(
          "__init__",
          [](SizeProgram* program, const std::vector<SymInt>& sizes) {
            new (program) SizeProgram(sizes);
          },
          nb::arg("sizes"))
      .def(
          "run",
          [](const SizeProgram& program, const std::vector<int64_t>& values) {
            return program.run(values);
          },
          nb::arg("values"), "The sizes where the symbols have these values.");
}

}  // namespace coregrad::python
