//! Machine code in the memory of this process.
#![allow(unsafe_code, reason = "one system call")]

use std::io;

/// Bytes of a page of memory.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// Makes the pages from `start` on, as many as `len` bytes are on, such that they can be executed and not changed. `start` is the
/// beginning of a page. Nobody may write to them afterwards; a write ends the process.
pub fn make_executable(start: *const u8, len: usize) -> io::Result<()> {
    if !start.addr().is_multiple_of(page_size()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "machine code does not begin at a page"));
    }
    let flags = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::EXEC;
    // SAFETY: what is mapped stays mapped and readable; that nobody writes there is the contract.
    Ok(unsafe { rustix::mm::mprotect(start.cast_mut().cast(), len, flags) }?)
}
