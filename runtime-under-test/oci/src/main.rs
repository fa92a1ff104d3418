//! The `plimsoll-oci` program: the reference OCI runtime with the runc-compatible command line.
//!
//! Its `main` is the C library's: Rust's own looks for the end of the stack in `/proc/self/maps` and prepares for its
//! overflow, which costs a short command more than its work. What matters of it is in [`plimsoll_oci::main`].
#![no_main]

mod sys {
    #![allow(unsafe_code)]

    /// Called by the C library's start.
    #[unsafe(no_mangle)]
    extern "C" fn main(_count: i32, _words: *const *const u8) -> i32 {
        plimsoll_oci::main()
    }
}
