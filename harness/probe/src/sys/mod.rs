//! The one module with `unsafe`: the program's entry, its allocator and its system calls. The `libc` crate is used for
//! its constants and types only.
//!
//! Kernel structures travel as byte buffers (`Arg` borrows them for the length of the call), so the rest of the
//! program is safe code. A script may name any system call with any integer as argument: that is what it is for,
//! and the one way in which it can make the probe corrupt itself.
#![allow(unsafe_code)]

pub mod file;
mod heap;
pub mod memory;
pub mod process;
pub mod signal;
mod start;
pub mod time;

use crate::prelude::*;
use core::arch::asm;
use core::ffi::{c_char, c_long};
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

pub use start::start_ns;

/// The program's arguments as they were passed.
pub fn args() -> Vec<&'static [u8]> {
    strings(start::ARGV.load(Ordering::Relaxed))
}

/// The environment as it was passed, in its order, duplicates and malformed entries included.
pub fn environment() -> Vec<&'static [u8]> {
    strings(start::ENVP.load(Ordering::Relaxed))
}

fn strings(mut list: *mut *const c_char) -> Vec<&'static [u8]> {
    let mut out = Vec::new();
    if list.is_null() {
        return out;
    }
    loop {
        // SAFETY: the kernel ends both lists with a null pointer, and nothing in this program changes them.
        let entry = unsafe { *list };
        if entry.is_null() {
            return out;
        }
        // SAFETY: each entry is a C string on the initial stack, which lasts as long as the process.
        out.push(unsafe { CStr::from_ptr(entry) }.to_bytes());
        // SAFETY: not yet at the terminating null pointer.
        list = unsafe { list.add(1) };
    }
}

/// One argument of a system call: an integer, or a buffer that stays borrowed until the call returned.
#[derive(Clone, Copy)]
pub struct Arg<'a>(c_long, PhantomData<&'a mut [u8]>);

macro_rules! from_integer {
    ($($kind:ty),*) => { $(
        impl From<$kind> for Arg<'_> {
            // The register's bits are what counts, so the widest kinds may wrap and the narrow ones extend.
            #[allow(clippy::cast_lossless)]
            fn from(value: $kind) -> Self { Self(value as c_long, PhantomData) }
        }
    )* };
}
from_integer!(i32, i64, u32, u64, usize);

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(value: &'a CStr) -> Self {
        Self(value.as_ptr() as c_long, PhantomData)
    }
}
impl<'a> From<&'a CString> for Arg<'a> {
    fn from(value: &'a CString) -> Self {
        Self(value.as_ptr() as c_long, PhantomData)
    }
}
impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self(value.as_ptr() as c_long, PhantomData)
    }
}
impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(value: &'a mut [u8]) -> Self {
        Self(value.as_mut_ptr() as c_long, PhantomData)
    }
}
impl<'a, const N: usize> From<&'a mut [u8; N]> for Arg<'a> {
    fn from(value: &'a mut [u8; N]) -> Self {
        Self(value.as_mut_ptr() as c_long, PhantomData)
    }
}
impl<'a, const N: usize> From<&'a [u8; N]> for Arg<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self(value.as_ptr() as c_long, PhantomData)
    }
}

/// A system call; missing arguments are 0. The result, or the errno.
pub fn call(number: c_long, args: &[Arg]) -> Result<i64, i32> {
    let arg = |n: usize| args.get(n).map_or(0, |arg| arg.0);
    let result: i64;
    // SAFETY: `Arg` keeps every buffer borrowed for the call; raw integers come from our own code, where they are
    // no pointers, or from a script (see the module's text). The kernel clobbers rcx and r11 besides the result.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arg(0), in("rsi") arg(1), in("rdx") arg(2), in("r10") arg(3), in("r8") arg(4), in("r9") arg(5),
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result) }
}

/// `sc!(openat, AT_FDCWD, &path, flags, mode)`: the named system call with its arguments converted.
macro_rules! sc {
    ($number:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::call(libc::$number, &[$($crate::sys::Arg::from($arg)),*])
    };
}
pub(crate) use sc;
