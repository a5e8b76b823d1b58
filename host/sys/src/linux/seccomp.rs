//! Filters of system calls.

use std::io;

/// One instruction of a filter program is so many bytes: `struct sock_filter` of linux/filter.h.
const INSTRUCTION_BYTES: usize = 8;

/// Gives the calling thread, and what it starts, the filter `program`, in the kernel's form. Needs CAP_SYS_ADMIN, unless the thread
/// cannot gain privileges. It cannot be taken back.
pub fn load(program: &[u8]) -> io::Result<()> {
    let (instructions, rest) = program.as_chunks::<INSTRUCTION_BYTES>();
    let len = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    if !rest.is_empty() || len == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut filter: Vec<libc::sock_filter> = instructions.iter().map(decode).collect();
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to `len` instructions, which live until the call is over; the kernel copies and checks them.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn decode(bytes: &[u8; INSTRUCTION_BYTES]) -> libc::sock_filter {
    let [c0, c1, jt, jf, k @ ..] = *bytes;
    libc::sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes(k) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_no_or_half_instructions_is_refused() {
        for len in [0, 7, 9] {
            assert_eq!(load(&vec![0; len]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn the_kernel_checks_what_is_loaded() {
        // A program that does not end by returning.
        assert!(load(&[0; INSTRUCTION_BYTES]).is_err());
    }
}
