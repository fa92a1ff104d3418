//! An assembler for classic BPF that works from the end of the program to its start.
//!
//! Jumps in classic BPF only go forward, so every target is already placed when its jump is written, and whether a
//! conditional jump's 8-bit offset reaches it is known at once: where it does not, an unconditional jump (32-bit
//! offset) is placed in between.

use std::collections::HashMap;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// The kernel's limit on a filter's length (`BPF_MAXINSNS`).
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

/// Reach of a conditional jump, less room for the two jumps that may be placed in between.
const REACH: usize = 250;

/// Place of an instruction, counted from the program's end.
pub(super) type Pos = usize;

/// How a conditional jump compares the accumulator with its constant, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    /// Equal.
    Eq,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// A program under construction.
#[derive(Debug, Default)]
pub(super) struct Asm {
    reversed: Vec<sock_filter>,
    returns: HashMap<u32, Pos>,
}

impl Asm {
    /// The instructions in the order of execution; the last one placed is the entry.
    pub fn finish(mut self) -> Vec<sock_filter> {
        self.reversed.reverse();
        self.reversed
    }

    /// A place that returns `value`.
    pub fn ret(&mut self, value: u32) -> Pos {
        match self.returns.get(&value) {
            Some(pos) if self.reversed.len() - pos < REACH => *pos,
            _ => {
                let pos = self.push(BPF_RET | BPF_K, value, 0, 0);
                self.returns.insert(value, pos);
                pos
            }
        }
    }

    /// Loads the 32-bit word at `offset` of `seccomp_data`, then goes on with what was placed last.
    pub fn load(&mut self, offset: u32) -> Pos {
        self.push(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
    }

    /// Keeps only the bits of `mask`, then goes on with what was placed last.
    pub fn mask(&mut self, mask: u32) -> Pos {
        self.push(BPF_ALU | BPF_AND | BPF_K, mask, 0, 0)
    }

    /// Goes to `yes` when the test holds, else to `no`.
    pub fn branch(&mut self, test: Test, constant: u32, yes: Pos, no: Pos) -> Pos {
        let code = match test {
            Test::Eq => libc::BPF_JEQ,
            Test::Gt => libc::BPF_JGT,
            Test::Ge => libc::BPF_JGE,
        };
        let yes = self.near(yes);
        let no = self.near(no);
        let here = self.reversed.len();
        let offset = |target: Pos| (here - target - 1) as u8;
        let (jt, jf) = (offset(yes), offset(no));
        self.push(BPF_JMP | code | BPF_K, constant, jt, jf)
    }

    /// Goes on at `target`, placing a jump unless it is what was placed last.
    pub fn goto(&mut self, target: Pos) -> Pos {
        if target + 1 == self.reversed.len() {
            return target;
        }
        let distance = self.reversed.len() - target - 1;
        self.push(BPF_JMP | BPF_JA, distance as u32, 0, 0)
    }

    fn near(&mut self, target: Pos) -> Pos {
        if self.reversed.len() - target > REACH { self.goto(target) } else { target }
    }

    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) -> Pos {
        self.reversed.push(sock_filter { code: code as u16, jt, jf, k });
        self.reversed.len() - 1
    }
}
