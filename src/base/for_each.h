#pragma once
// Expanding a macro over a list of arguments.

#define COREGRAD_PARENTHESES ()
#define COREGRAD_EXPAND(...) \
  COREGRAD_EXPAND1(COREGRAD_EXPAND1(COREGRAD_EXPAND1(COREGRAD_EXPAND1(__VA_ARGS__))))
#define COREGRAD_EXPAND1(...) \
  COREGRAD_EXPAND2(COREGRAD_EXPAND2(COREGRAD_EXPAND2(COREGRAD_EXPAND2(__VA_ARGS__))))
#define COREGRAD_EXPAND2(...) __VA_ARGS__

/// macro(a), macro(b), ..: at most 16 arguments.
#define COREGRAD_FOR_EACH(macro, ...) \
  __VA_OPT__(COREGRAD_EXPAND(COREGRAD_FOR_EACH_NEXT(macro, __VA_ARGS__)))
#define COREGRAD_FOR_EACH_NEXT(macro, first, ...) \
  macro(first) __VA_OPT__(, COREGRAD_FOR_EACH_AGAIN COREGRAD_PARENTHESES(macro, __VA_ARGS__))
#define COREGRAD_FOR_EACH_AGAIN() COREGRAD_FOR_EACH_NEXT

/// The arguments of a parenthesised list.
#define COREGRAD_UNWRAP(...) __VA_ARGS__
/// A comma and macro(a), macro(b), ..; nothing without arguments.
#define COREGRAD_COMMA_FOR_EACH(macro, ...) __VA_OPT__(, COREGRAD_FOR_EACH(macro, __VA_ARGS__))
/// All arguments but the first.
#define COREGRAD_TAIL(first, ...) __VA_ARGS__
