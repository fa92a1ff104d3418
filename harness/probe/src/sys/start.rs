//! The program's entry, the few functions that compiled code takes for granted, and the end of a panic.
//!
//! There is no libc: its static start-up costs more than half of the time that a short program lives (measured:
//! 0.37 ms against 0.11 ms from spawn to exit), which every container start of a benchmark would pay.
use super::{process, time};
use core::arch::{asm, global_asm};
use core::ffi::c_char;
use core::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the probe's entry and system calls are written for x86-64");

pub static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());
pub static ENVP: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());
static START: AtomicI64 = AtomicI64::new(0);

// The kernel enters with the argument count, the arguments, a null pointer, the environment, a null pointer on the
// stack (x86-64 psABI, 3.4.1); functions want the stack aligned to 16 bytes before the call.
global_asm!(
    ".globl _start",
    "_start:",
    "xor %ebp, %ebp",
    "mov %rsp, %rdi",
    "and $-16, %rsp",
    "call {enter}",
    "ud2",
    enter = sym enter,
    options(att_syntax)
);

extern "C" fn enter(stack: *const usize) -> ! {
    START.store(time::now(libc::CLOCK_MONOTONIC), Ordering::Relaxed);
    // SAFETY: the layout of the initial stack, as above.
    unsafe {
        let argv = stack.add(1).cast::<*const c_char>();
        ARGV.store(argv.cast_mut(), Ordering::Relaxed);
        ENVP.store(argv.add(*stack + 1).cast_mut(), Ordering::Relaxed);
    }
    process::exit(crate::modes::run(&super::args()))
}

/// `CLOCK_MONOTONIC` at the first statement, in nanoseconds.
pub fn start_ns() -> i64 {
    START.load(Ordering::Relaxed)
}

/// Nothing here panics knowingly; if it happens, say so and leave with the code of a broken probe.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    let message: &[u8] = b"{\"error\":\"probe: internal error (panic)\"}\n";
    let _ = super::sc!(SYS_write, 2, message, message.len());
    process::exit(125)
}

/// What the precompiled `alloc` refers to. Nothing unwinds here (panics end the process), so reaching one of them is
/// a broken probe as well.
#[cfg(panic = "abort")]
mod no_unwinding {
    #[unsafe(no_mangle)]
    extern "C" fn rust_eh_personality() {
        super::process::exit(125)
    }
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Resume() {
        super::process::exit(125)
    }
}

// The functions that the compiler calls by name. In assembly, because a loop in Rust would be compiled into a call of
// the very function that it is in.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller's promise: both areas are valid for `length` bytes and apart.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: copying upward does not overwrite what is still to be read.
        return unsafe { memcpy(to, from, length) };
    }
    // SAFETY: the areas overlap with `to` behind `from`, so downward from the last byte (length is not 0 here). The
    // direction flag is put back, as the ABI demands.
    unsafe {
        asm!(
            "std", "rep movsb", "cld",
            inout("rcx") length => _, inout("rdi") to.add(length - 1) => _, inout("rsi") from.add(length - 1) => _,
            options(nostack)
        );
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: the caller's promise: `length` bytes are valid.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags));
    };
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    let (left, right): (u32, u32);
    // SAFETY: the caller's promise: `length` bytes of both are valid; the last pair that was compared decides. With
    // length 0 nothing is read and both are 0.
    unsafe {
        asm!(
            "xor {l:e}, {l:e}", "xor {r:e}, {r:e}", "test rcx, rcx", "jz 2f", "repe cmpsb",
            "movzx {l:e}, byte ptr [rsi - 1]", "movzx {r:e}, byte ptr [rdi - 1]", "2:",
            l = out(reg) left, r = out(reg) right,
            inout("rcx") length => _, inout("rsi") a => _, inout("rdi") b => _, options(nostack, readonly)
        );
    }
    left as i32 - right as i32
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { memcmp(a, b, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let left: usize;
    // SAFETY: the caller's promise: there is a NUL. rcx counts down from the greatest value.
    unsafe {
        asm!("repne scasb", inout("rcx") usize::MAX => left, inout("rdi") text => _, in("al") 0_u8, options(nostack, readonly));
    };
    // rcx went down once for each byte and once for the NUL.
    usize::MAX - left - 1
}
