//! The device allow-list as an eBPF program, for cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`).

use super::devices::{ALL, BLOCK, CHAR, DeviceRule};

/// An eBPF instruction in the kernel's layout.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Class, operation and source.
    pub code: u8,
    /// Destination in the low half, source in the high half.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Constant.
    pub constant: i32,
}

/// Opcodes of the instructions used here.
pub(super) mod op {
    /// `dst = *(u32 *)(src + offset)`
    pub const LOAD_WORD: u8 = 0x61;
    /// `dst = src`
    pub const MOVE: u8 = 0xbf;
    /// `dst = constant`
    pub const MOVE_CONSTANT: u8 = 0xb7;
    /// `dst &= constant`
    pub const AND: u8 = 0x57;
    /// `dst >>= constant`
    pub const SHIFT_RIGHT: u8 = 0x77;
    /// `goto offset`
    pub const JUMP: u8 = 0x05;
    /// `if dst & constant goto offset`
    pub const JUMP_IF_ANY: u8 = 0x45;
    /// `if dst != constant goto offset`
    pub const JUMP_IF_NOT: u8 = 0x55;
    /// `return r0`
    pub const EXIT: u8 = 0x95;
}

/// Registers.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
/// The kinds of access asked for that no rule has allowed yet.
const ASKED: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const fn instruction(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, constant }
}

/// The program for normalised rules. It goes from the last rule to the first: a rule that denies access still asked
/// for ends it, a rule that allows takes its kinds of access off, and all allowed means yes.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { access_type: u32 (access << 16 | kind), major: u32, minor: u32 }
    let mut code = vec![
        instruction(op::LOAD_WORD, ASKED, CONTEXT, 0, 0),
        instruction(op::MOVE, KIND, ASKED, 0, 0),
        instruction(op::AND, KIND, 0, 0, 0xffff),
        instruction(op::SHIFT_RIGHT, ASKED, 0, 0, 16),
        instruction(op::LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(op::LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        if rule.is_total() {
            // The verifier refuses what can never be reached, so nothing follows.
            code.extend(answer(rule.allow));
            return code;
        }
        let mut body = Vec::new();
        if rule.access != ALL && rule.allow {
            body.push(instruction(op::AND, ASKED, 0, 0, !i32::from(rule.access)));
            body.push(instruction(op::JUMP_IF_NOT, ASKED, 0, 2, 0));
        } else if rule.access != ALL {
            body.push(instruction(op::JUMP_IF_ANY, ASKED, 0, 1, i32::from(rule.access)));
            body.push(instruction(op::JUMP, 0, 0, 2, 0));
        }
        body.extend(answer(rule.allow));
        let kind = match rule.kinds {
            BLOCK => Some(i32::from(BLOCK)),
            CHAR => Some(i32::from(CHAR)),
            _ => None,
        };
        let tests: Vec<(u8, i32)> = [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)]
            .into_iter()
            .filter_map(|(register, value)| Some((register, value?)))
            .collect();
        for (i, (register, value)) in tests.iter().enumerate() {
            let past = (tests.len() - i - 1 + body.len()) as i16;
            code.push(instruction(op::JUMP_IF_NOT, *register, 0, past, *value));
        }
        code.append(&mut body);
    }
    code.extend(answer(false));
    code
}

fn answer(allow: bool) -> [Instruction; 2] {
    [instruction(op::MOVE_CONSTANT, ANSWER, 0, 0, i32::from(allow)), instruction(op::EXIT, 0, 0, 0, 0)]
}
