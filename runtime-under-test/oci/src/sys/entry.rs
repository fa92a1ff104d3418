//! The program's first instructions, before the C library's.
//!
//! A command that forks into a container has to run from a read-only mount of the program (see `protect`), so it starts
//! twice. What the C library and Rust do before `main`, above all asking the processor what it can, costs as much as the
//! rest of a short command where a hypervisor answers these questions. This does the first of the two starts without
//! them. Whenever anything is not as expected it just goes on to the C library's start, and `protect` does the same
//! again in a comfortable place and reports what is wrong.
//!
//! Nothing here may use the C library, not even by what the compiler puts in for copies and for loops over bytes: its
//! functions do not work yet. So memory is read word by word and byte by byte with instructions of our own, and no
//! array is passed by value.
#![cfg(target_arch = "x86_64")]

use std::arch::{asm, naked_asm};

/// Entry of the program that is the runtime and nothing else.
///
/// # Safety
/// Only for the kernel, as the entry point of the program.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_oci_entry() -> ! {
    // The stack is aligned for a call, and everything is handed on to the C library as it was.
    naked_asm!(
        "mov rdi, rsp",
        "push rdx",
        "sub rsp, 8",
        "xor esi, esi",
        "call {before}",
        "add rsp, 8",
        "pop rdx",
        "jmp _start",
        before = sym before,
    )
}

/// Entry of a program of which the runtime is a part: as `PROGRAM oci ...`, or called by the name `plimsoll-oci`.
///
/// # Safety
/// Only for the kernel, as the entry point of the program.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_oci_bundled_entry() -> ! {
    naked_asm!(
        "mov rdi, rsp",
        "push rdx",
        "sub rsp, 8",
        "mov esi, 1",
        "call {before}",
        "add rsp, 8",
        "pop rdx",
        "jmp _start",
        before = sym before,
    )
}

/// The word at an address.
unsafe fn word(at: usize) -> usize {
    let value: usize;
    // SAFETY: the address is the caller's promise.
    unsafe {
        asm!("mov {value}, [{at}]", at = in(reg) at, value = out(reg) value, options(nostack, readonly));
    };
    value
}

/// The byte at an address.
unsafe fn byte(at: usize) -> u8 {
    let value: u32;
    // SAFETY: the address is the caller's promise.
    unsafe {
        asm!("movzx {value:e}, byte ptr [{at}]", at = in(reg) at, value = out(reg) value, options(nostack, readonly));
    };
    value as u8
}

/// Size of a word, bytes.
const WORD: usize = size_of::<usize>();

/// `stack`: what the kernel left, the number of arguments, their addresses, 0, those of the environment, 0, pairs of
/// numbers and values. `bundled`: not 0 when the runtime is a part of the program.
extern "C" fn before(stack: usize, bundled: u32) {
    // SAFETY: the layout is the kernel's promise to a program's first instruction; each list is read up to its end.
    unsafe {
        let count = word(stack);
        let argv = stack + WORD;
        let environment = argv + (count + 1) * WORD;
        if count < 2 || !wanted(argv, count, bundled != 0) {
            return;
        }
        let mut values = environment;
        while word(values) != 0 {
            values += WORD;
        }
        if !started_by_descriptor(values + WORD) {
            start_again(argv, environment);
        }
    }
}

/// Whether a word of the command line is a command that forks. A value of a flag that reads like one costs a start.
unsafe fn wanted(argv: usize, count: usize, bundled: bool) -> bool {
    // SAFETY: as the caller's.
    unsafe {
        if bundled && !ends_with_name(word(argv)) && !begins(word(argv + WORD), b"oci\0") {
            return false;
        }
        let mut at = 1;
        while at < count {
            let text = word(argv + at * WORD);
            if begins(text, b"create\0") || begins(text, b"run\0") || begins(text, b"exec\0") {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// Whether the text at an address begins with these bytes.
unsafe fn begins(text: usize, with: &[u8]) -> bool {
    let mut at = 0;
    while at < with.len() {
        // SAFETY: up to the first difference the text has not ended.
        if unsafe { byte(text + at) } != with[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether the last part of the path is the runtime's own name.
unsafe fn ends_with_name(path: usize) -> bool {
    let (mut at, mut name) = (path, path);
    // SAFETY: it ends at the zero byte.
    unsafe {
        loop {
            match byte(at) {
                0 => return begins(name, b"plimsoll-oci\0"),
                b'/' => name = at + 1,
                _ => {}
            }
            at += 1;
        }
    }
}

/// Whether the program was started by its descriptor, as [`start_again`] does: never a third time.
unsafe fn started_by_descriptor(mut pairs: usize) -> bool {
    const AT_NULL: usize = 0;
    const AT_EXECFN: usize = 31;
    // SAFETY: the list ends with AT_NULL.
    unsafe {
        loop {
            match word(pairs) {
                AT_NULL => return false,
                AT_EXECFN => return begins(word(pairs + WORD), b"/dev/fd/"),
                _ => pairs += 2 * WORD,
            }
        }
    }
}

/// `struct mount_attr` with `MOUNT_ATTR_RDONLY` to be set.
static READ_ONLY: [u64; 4] = [1, 0, 0, 0];

/// Executes the program from a read-only mount of its own. Returns when that is not possible.
unsafe fn start_again(argv: usize, environment: usize) {
    const AT_FDCWD: usize = -100_isize as usize;
    const AT_EMPTY_PATH: usize = 0x1000;
    const AT_EACCESS: usize = 0x200;
    const W_OK: usize = 2;
    const CLONE_CLOEXEC: usize = 1 | libc::O_CLOEXEC as usize;
    let program = c"/proc/self/exe".as_ptr() as usize;
    let empty = c"".as_ptr() as usize;
    let attr = &raw const READ_ONLY as usize;
    // SAFETY: plain system calls; the structure and the texts outlive them.
    unsafe {
        if call(libc::SYS_faccessat2, AT_FDCWD, program, W_OK, AT_EACCESS, 0) != 0 {
            return;
        }
        let tree = call(libc::SYS_open_tree, AT_FDCWD, program, CLONE_CLOEXEC, 0, 0);
        if tree < 0 {
            return;
        }
        let tree = tree as usize;
        if call(libc::SYS_mount_setattr, tree, empty, AT_EMPTY_PATH, attr, size_of_val(&READ_ONLY)) == 0 {
            call(libc::SYS_execveat, tree, empty, argv, environment, AT_EMPTY_PATH);
        }
        call(libc::SYS_close, tree, 0, 0, 0, 0);
    }
}

/// A system call without the C library.
unsafe fn call(
    number: libc::c_long,
    first: usize,
    second: usize,
    third: usize,
    fourth: usize,
    fifth: usize,
) -> isize {
    let answer: isize;
    // SAFETY: the registers are those of the kernel's calling convention; the arguments are the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") first, in("rsi") second, in("rdx") third, in("r10") fourth, in("r8") fifth,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}
