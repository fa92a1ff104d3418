//! The one module with `unsafe`: the program's entry, its allocator, system calls and the few libc functions that
//! are more than a system call.
//!
//! Kernel structures travel as byte buffers (`Arg` borrows them for the length of the call), so the rest of the
//! program is safe code. A script may name any system call with any integer as argument: that is what it is for,
//! and the one way in which it can make the probe corrupt itself.
#![allow(unsafe_code)]

pub mod file;
pub mod memory;
pub mod process;
pub mod signal;
pub mod time;

use crate::prelude::*;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_int, c_long};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());
static ENVP: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());
static START: AtomicI64 = AtomicI64::new(0);

/// libc's allocator.
struct Malloc;

// SAFETY: malloc and aligned_alloc give memory of the size and alignment asked for (malloc: 16 bytes), or null.
unsafe impl GlobalAlloc for Malloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= 16 {
            // SAFETY: any size is allowed.
            unsafe { libc::malloc(layout.size()).cast() }
        } else {
            let size = layout.size().next_multiple_of(layout.align());
            // SAFETY: a layout's alignment is a power of two and the size a multiple of it.
            unsafe { libc::aligned_alloc(layout.align(), size).cast() }
        }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, _layout: Layout) {
        // SAFETY: it came from `alloc`.
        unsafe { libc::free(pointer.cast()) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= 16 {
            // SAFETY: it came from `alloc`, which used malloc for such an alignment.
            return unsafe { libc::realloc(pointer.cast(), size).cast() };
        }
        // SAFETY: the caller keeps the alignment valid; both blocks hold the copied length.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(pointer, new, size.min(layout.size()));
                self.dealloc(pointer, layout);
            }
            new
        }
    }
}

#[global_allocator]
static ALLOCATOR: Malloc = Malloc;

/// Nothing here panics knowingly; if it happens, say so and leave with the code of a broken probe.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    let message = b"{\"error\":\"probe: internal error (panic)\"}\n";
    // SAFETY: the buffer outlives the call.
    unsafe { libc::write(2, message.as_ptr().cast(), message.len()) };
    process::exit(125)
}

/// What the precompiled `alloc` and libc's cancellation clean-ups refer to. Nothing unwinds here (panics end the
/// process, and there is one thread that nobody cancels), so reaching one of them is a broken probe as well.
#[cfg(panic = "abort")]
mod no_unwinding {
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {
        super::process::exit(125)
    }
    #[unsafe(no_mangle)]
    extern "C" fn __gcc_personality_v0() {
        super::process::exit(125)
    }
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() {
        super::process::exit(125)
    }
}

/// Called by libc's start-up code.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int {
    START.store(time::now(libc::CLOCK_MONOTONIC), Ordering::Relaxed);
    ARGV.store(argv.cast_mut(), Ordering::Relaxed);
    ENVP.store(envp.cast_mut(), Ordering::Relaxed);
    crate::modes::run(&args())
}

/// `CLOCK_MONOTONIC` at the first statement of `main`, in nanoseconds.
pub fn start_ns() -> i64 {
    START.load(Ordering::Relaxed)
}

/// The program's arguments as they were passed.
pub fn args() -> Vec<&'static [u8]> {
    strings(ARGV.load(Ordering::Relaxed))
}

/// The environment as it was passed, in its order, duplicates and malformed entries included.
pub fn environment() -> Vec<&'static [u8]> {
    strings(ENVP.load(Ordering::Relaxed))
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
    // SAFETY: `Arg` keeps every buffer borrowed for the call; raw integers come from our own code, where they are
    // no pointers, or from a script (see the module's text).
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    if result == -1 { Err(errno()) } else { Ok(result) }
}

/// `sc!(openat, AT_FDCWD, &path, flags, mode)`: the named system call with its arguments converted.
macro_rules! sc {
    ($number:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::call(libc::$number, &[$($crate::sys::Arg::from($arg)),*])
    };
}
pub(crate) use sc;

pub fn errno() -> i32 {
    // SAFETY: libc's per-thread errno is always there.
    unsafe { *libc::__errno_location() }
}
