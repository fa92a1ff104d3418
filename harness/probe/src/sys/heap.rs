//! The allocator: free lists of blocks of 16 bytes to 64 KiB (powers of two), cut from chunks of the kernel's memory;
//! greater blocks are mappings of their own. For one thread, which is all that the probe has.
#![allow(clippy::cast_ptr_alignment)] // blocks are aligned to 16 bytes

use super::{Arg, call};
use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};

const SMALLEST: usize = 16;
const GREATEST: usize = 1 << 16;
const CLASSES: usize = 13;
/// What is asked of the kernel at a time; pages come only when they are touched.
const CHUNK: usize = 1 << 20;
/// A mapping begins at a page.
const MAX_ALIGN: usize = 4096;

struct Heap {
    free: [AtomicPtr<u8>; CLASSES],
    next: AtomicUsize,
    end: AtomicUsize,
}

#[global_allocator]
static HEAP: Heap = Heap {
    free: [const { AtomicPtr::new(core::ptr::null_mut()) }; CLASSES],
    next: AtomicUsize::new(0),
    end: AtomicUsize::new(0),
};

/// The size of the block that serves a layout.
fn block(layout: Layout) -> usize {
    layout.size().max(layout.align()).max(SMALLEST).next_power_of_two()
}

fn class(block: usize) -> usize {
    (block / SMALLEST).trailing_zeros() as usize
}

fn map(length: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let args = [0.into(), length.into(), protection.into(), flags.into(), (-1).into(), 0.into()];
    call(libc::SYS_mmap, &args).map_or(core::ptr::null_mut(), |address| address as *mut u8)
}

impl Heap {
    /// A fresh block of a class. Its alignment is its size, up to a page: both ends of a chunk are at pages, and blocks
    /// begin at multiples of their size from its start.
    fn cut(&self, size: usize) -> *mut u8 {
        let mut at = self.next.load(Relaxed).next_multiple_of(size.min(MAX_ALIGN));
        if at + size > self.end.load(Relaxed) {
            at = map(CHUNK) as usize;
            if at == 0 {
                return core::ptr::null_mut();
            }
            self.end.store(at + CHUNK, Relaxed);
        }
        self.next.store(at + size, Relaxed);
        at as *mut u8
    }
}

// SAFETY: a block is at least as great and as aligned as the layout, and in one place at a time: in a free list, or
// with its owner. There is one thread, and signal handlers do not allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > MAX_ALIGN || layout.size() > isize::MAX as usize / 2 {
            return core::ptr::null_mut();
        }
        let size = block(layout);
        if size > GREATEST {
            return map(layout.size());
        }
        let list = &self.free[class(size)];
        let head = list.load(Relaxed);
        if head.is_null() {
            return self.cut(size);
        }
        // SAFETY: the first word of a free block is the address of the next one.
        list.store(unsafe { head.cast::<*mut u8>().read() }, Relaxed);
        head
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let size = block(layout);
        if size > GREATEST {
            let _ = call(libc::SYS_munmap, &[(pointer as usize).into(), layout.size().into()]);
            return;
        }
        let list = &self.free[class(size)];
        // SAFETY: the block is the caller's no more, aligned to 16 bytes and at least as great.
        unsafe { pointer.cast::<*mut u8>().write(list.load(Relaxed)) };
        list.store(pointer, Relaxed);
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps size and alignment valid.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let (before, after) = (block(layout), block(new));
        if before == after && after <= GREATEST {
            return pointer;
        }
        if before > GREATEST && after > GREATEST {
            let args: [Arg; 4] =
                [(pointer as usize).into(), layout.size().into(), size.into(), libc::MREMAP_MAYMOVE.into()];
            return call(libc::SYS_mremap, &args).map_or(core::ptr::null_mut(), |address| address as *mut u8);
        }
        // SAFETY: both blocks hold the copied length; the old one is given up afterwards.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                core::ptr::copy_nonoverlapping(pointer, to, size.min(layout.size()));
                self.dealloc(pointer, layout);
            }
            to
        }
    }
}
