//! Memory that is mapped on purpose.
use crate::prelude::*;

/// A mapping that goes with its owner.
pub struct Mapping {
    address: *mut u8,
    length: usize,
    writable: bool,
}

impl Mapping {
    /// Private memory; `fd` -1 for anonymous.
    pub fn new(length: usize, protection: i32, fd: i32) -> Result<Self, i32> {
        let anonymous = if fd < 0 { libc::MAP_ANONYMOUS } else { 0 };
        // A new mapping at an address that the kernel picks touches nothing that exists.
        let address = sc!(SYS_mmap, 0, length, protection, libc::MAP_PRIVATE | anonymous, fd, 0)?;
        Ok(Self { address: address as *mut u8, length, writable: protection & libc::PROT_WRITE != 0 })
    }

    /// Anonymous and writable.
    pub fn anonymous(length: usize) -> Result<Self, i32> {
        Self::new(length, libc::PROT_READ | libc::PROT_WRITE, -1)
    }

    /// Writes to every page, so that it is in memory; nothing for a mapping that is not writable.
    pub fn touch(&mut self) {
        if !self.writable {
            return;
        }
        for offset in (0..self.length).step_by(4096) {
            // SAFETY: within the mapping, which is writable.
            unsafe { self.address.add(offset).write_volatile(1) };
        }
    }

    /// Keeps it until the process ends.
    pub fn leak(self) {
        core::mem::forget(self);
    }

    /// mlock(2) on all of it.
    pub fn lock(&self) -> Result<(), i32> {
        sc!(SYS_mlock, self.address as usize, self.length).map(|_| ())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Exactly what was mapped, and nobody else has its address.
        let _ = sc!(SYS_munmap, self.address as usize, self.length);
    }
}
