//! A machine for the part of classic BPF that seccomp allows. Strict: whatever the kernel would refuse panics.

use libc::sock_filter;

/// What a filter sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub arch: u32,
    pub nr: u32,
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32, little_endian: bool) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            16..=60 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) == little_endian { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("load from offset {offset}"),
        }
    }
}

/// The filter's answer, and how many instructions it took.
pub(super) fn run(filter: &[sock_filter], call: &Call) -> (u32, usize) {
    let little_endian = call.arch & 0x4000_0000 != 0;
    let (mut at, mut accumulator, mut steps) = (0usize, None, 0);
    loop {
        let instruction = filter.get(at).expect("ran off the end");
        let k = instruction.k;
        let value = || accumulator.expect("accumulator used before it was loaded");
        steps += 1;
        at += 1;
        let taken: bool = match instruction.code {
            0x20 => {
                accumulator = Some(call.word(k, little_endian));
                continue;
            }
            0x54 => {
                accumulator = Some(value() & k);
                continue;
            }
            0x05 => {
                at += k as usize;
                continue;
            }
            0x06 => return (k, steps),
            0x15 => value() == k,
            0x25 => value() > k,
            0x35 => value() >= k,
            code => panic!("instruction {code:#x} is not one of ours"),
        };
        at += usize::from(if taken { instruction.jt } else { instruction.jf });
    }
}
