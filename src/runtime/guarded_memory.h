#pragma once
// Blocks between pages that cannot be touched (COREGRAD_CHECK_MEMORY): what a kernel reads or
// writes outside of a buffer ends the process there and then.

#include <cstdint>

namespace coregrad {

int64_t page_bytes();
/// From now on no byte of the page at `page` can be touched.
void forbid_page(void* page);

/// Where a buffer of `bytes` lies in its pages: either its last byte is the last one of a page, and
/// its alignment that of its size; or it is 64-byte aligned, and up to 63 bytes lie behind it.
int64_t guarded_offset(int64_t bytes, bool is_aligned);
/// Bytes of whole pages for a buffer, at least one page.
int64_t guarded_pages(int64_t bytes);

/// A block with a forbidden page at either end; every second one is 64-byte aligned. Null if the
/// system refuses.
void* allocate_guarded(int64_t bytes);
/// Frees such a block, after a look whether the bytes behind it were written. False: `block` is
/// none.
bool deallocate_guarded(void* block);

}  // namespace coregrad
