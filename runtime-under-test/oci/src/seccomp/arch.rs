//! Architectures: the spec's names, the kernel's audit numbers and the system calls that a kernel can be asked for.

use super::table::{Column, NONE, SYSCALLS};

/// The bit that marks a call as x32 on x86-64 (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Every architecture name of the spec ("seccomp", `architectures`).
pub(super) const NAMES: [&str; 23] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];

/// One way of calling the kernel: an audit architecture and, for x32, a part of its numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arch {
    /// The spec's name.
    pub name: &'static str,
    /// `AUDIT_ARCH_*`, as in `seccomp_data.arch`.
    pub audit: u32,
    /// Where its numbers stand in the table.
    pub column: Column,
    /// Whether arguments are 32 bits wide; the upper half is then not looked at.
    pub narrow: bool,
    /// Added to the table's number.
    pub base: u32,
}

impl Arch {
    const fn new(name: &'static str, audit: u32, column: Column) -> Self {
        Self { name, audit, column, narrow: false, base: 0 }
    }

    /// Whether the low half of a 64-bit argument comes first in `seccomp_data` (`__AUDIT_ARCH_LE`).
    pub const fn little_endian(&self) -> bool {
        self.audit & 0x4000_0000 != 0
    }

    /// The number of a call, or `None` when this architecture has no such call.
    pub fn number(&self, call: &Name) -> Option<u32> {
        match (self.column, call.private, call.row) {
            (Column::Arm, Some(nr), _) => Some(nr),
            (column, _, Some(row)) => self.at(row, column),
            _ => None,
        }
    }

    fn at(&self, row: &Row, column: Column) -> Option<u32> {
        match row.1[column as usize] {
            NONE => None,
            nr => Some(self.base | u32::from(nr)),
        }
    }

    /// The number of the call through which `call` can be reached too, and the selector that stands for it there.
    pub fn multiplexed(&self, call: &Name) -> Option<(u32, u32)> {
        let (via, selector) = call.via?;
        Some((self.at(row(via)?, self.column)?, selector))
    }
}

/// A call by its name, looked up once for all architectures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    row: Option<&'static Row>,
    /// 32-bit ARM's number outside the common range.
    private: Option<u32>,
    via: Option<(&'static str, u32)>,
}

impl Name {
    /// Looks a name up. One that no kernel knows has no number anywhere.
    pub fn find(text: &str) -> Self {
        let row = row(text);
        // All calls outside the common range are unknown to it.
        let private =
            if row.is_some() { None } else { ARM_PRIVATE.iter().find(|(n, _)| *n == text).map(|p| p.1) };
        let via = MULTIPLEXED
            .binary_search_by(|(n, ..)| n.cmp(&text))
            .ok()
            .map(|i| (MULTIPLEXED[i].1, MULTIPLEXED[i].2));
        Self { row, private, via }
    }
}

/// A row of the table.
type Row = (&'static str, [u16; 9]);

/// The table's row of a call.
fn row(name: &str) -> Option<&'static Row> {
    SYSCALLS.binary_search_by(|(n, _)| n.cmp(&name)).ok().map(|i| &SYSCALLS[i])
}

/// 32-bit ARM's calls outside the common range.
const ARM_PRIVATE: [(&str, u32); 6] = [
    ("breakpoint", 0xf_0001),
    ("cacheflush", 0xf_0002),
    ("usr26", 0xf_0003),
    ("usr32", 0xf_0004),
    ("set_tls", 0xf_0005),
    ("get_tls", 0xf_0006),
];

/// Calls that some architectures also offer through one call with a selector as first argument.
///
/// Sorted by name. A rule on `socket` that left out `socketcall(SYS_SOCKET, ...)` would be open from the side.
pub(super) const MULTIPLEXED: [(&str, &str, u32); 32] = [
    ("accept", "socketcall", 5),
    ("accept4", "socketcall", 18),
    ("bind", "socketcall", 2),
    ("connect", "socketcall", 3),
    ("getpeername", "socketcall", 7),
    ("getsockname", "socketcall", 6),
    ("getsockopt", "socketcall", 15),
    ("listen", "socketcall", 4),
    ("msgctl", "ipc", 14),
    ("msgget", "ipc", 13),
    ("msgrcv", "ipc", 12),
    ("msgsnd", "ipc", 11),
    ("recv", "socketcall", 10),
    ("recvfrom", "socketcall", 12),
    ("recvmmsg", "socketcall", 19),
    ("recvmsg", "socketcall", 17),
    ("semctl", "ipc", 3),
    ("semget", "ipc", 2),
    ("semop", "ipc", 1),
    ("semtimedop", "ipc", 4),
    ("send", "socketcall", 9),
    ("sendmmsg", "socketcall", 20),
    ("sendmsg", "socketcall", 16),
    ("sendto", "socketcall", 11),
    ("setsockopt", "socketcall", 14),
    ("shmat", "ipc", 21),
    ("shmctl", "ipc", 24),
    ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23),
    ("shutdown", "socketcall", 13),
    ("socket", "socketcall", 1),
    ("socketpair", "socketcall", 8),
];

const X86_64: Arch = Arch::new("SCMP_ARCH_X86_64", 0xC000_003E, Column::X86_64);
const X32: Arch = Arch { base: X32_BIT, ..Arch::new("SCMP_ARCH_X32", 0xC000_003E, Column::X32) };
const X86: Arch = Arch { narrow: true, ..Arch::new("SCMP_ARCH_X86", 0x4000_0003, Column::X86) };
const AARCH64: Arch = Arch::new("SCMP_ARCH_AARCH64", 0xC000_00B7, Column::Aarch64);
const ARM: Arch = Arch { narrow: true, ..Arch::new("SCMP_ARCH_ARM", 0x4000_0028, Column::Arm) };
const RISCV64: Arch = Arch::new("SCMP_ARCH_RISCV64", 0xC000_00F3, Column::Riscv64);
const S390X: Arch = Arch::new("SCMP_ARCH_S390X", 0x8000_0016, Column::S390x);
const PPC64: Arch = Arch::new("SCMP_ARCH_PPC64", 0x8000_0015, Column::Ppc64);
const PPC64LE: Arch = Arch::new("SCMP_ARCH_PPC64LE", 0xC000_0015, Column::Ppc64);
const LOONGARCH64: Arch = Arch::new("SCMP_ARCH_LOONGARCH64", 0xC000_0102, Column::Loongarch64);

/// What one kernel can be called as: its own architecture first.
///
/// A filter needs blocks for these alone. A block for any other listed architecture could never be reached, and all
/// of them together would not fit the kernel's limit of 4096 instructions.
pub(super) type Family = &'static [Arch];

/// The families of all machines that the table knows.
#[cfg(test)]
pub(super) const FAMILIES: [Family; 7] =
    [X86_64_FAMILY, AARCH64_FAMILY, &[RISCV64], &[S390X], &[PPC64], &[PPC64LE], &[LOONGARCH64]];

pub(super) const X86_64_FAMILY: Family = &[X86_64, X32, X86];
const AARCH64_FAMILY: Family = &[AARCH64, ARM];

/// The family of the machine this program was built for; empty when the table does not know it.
pub(super) const fn native() -> Family {
    if cfg!(target_arch = "x86_64") {
        X86_64_FAMILY
    } else if cfg!(target_arch = "aarch64") {
        AARCH64_FAMILY
    } else if cfg!(target_arch = "riscv64") {
        &[RISCV64]
    } else if cfg!(target_arch = "s390x") {
        &[S390X]
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        &[PPC64LE]
    } else if cfg!(target_arch = "powerpc64") {
        &[PPC64]
    } else if cfg!(target_arch = "loongarch64") {
        &[LOONGARCH64]
    } else {
        &[]
    }
}
