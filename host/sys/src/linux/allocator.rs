//! The C library's allocator.

/// Has blocks that are freed joined with their free neighbours at once, and not all of them together whenever a large block comes or
/// goes: what a build of many steps frees is much, and then a large part of its time goes into that. To be called before any thread
/// is started. Other C libraries than glibc do without.
pub fn join_free_blocks_at_once() {
    // SAFETY: sets a number that the allocator reads; no other thread is there yet.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MXFAST, 0);
    }
}
