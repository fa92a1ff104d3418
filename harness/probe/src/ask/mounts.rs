//! The mount table, field by field (`proc_pid_mountinfo(5)`).
use crate::bytes::{lines, number};
use crate::prelude::*;
use crate::sys::file::slurp;

/// `\040` and its kind, as the kernel escapes blanks, tabs, newlines, `#` and backslashes.
fn unescape(field: &[u8]) -> Value {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        let octal = field
            .get(at + 1..at + 4)
            .filter(|d| byte == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(digits) = octal {
            out.push(digits.iter().fold(0_u8, |sum, digit| sum.wrapping_mul(8).wrapping_add(digit - b'0')));
            at += 4;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    text(&out)
}

fn options(field: &[u8]) -> Vec<Value> {
    field.split(|&b| b == b',').map(unescape).collect()
}

/// One line: `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`.
fn mount(line: &[u8]) -> Option<Value> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let field = |n: usize| fields.get(n).copied().unwrap_or_default();
    let mut device = field(2).split(|&b| b == b':').map(number::<u32>);
    let optional: Vec<_> = fields.get(6..dash)?.iter().map(|word| text(word)).collect();
    Some(json!({
        "id": number::<u64>(field(0))?, "parent": number::<u64>(field(1))?,
        "major": device.next()??, "minor": device.next()??,
        "root": unescape(field(3)), "mountpoint": unescape(field(4)), "options": options(field(5)),
        "optional": optional, "fstype": unescape(field(dash + 1)), "source": unescape(field(dash + 2)),
        "super_options": options(field(dash + 3)),
    }))
}

pub fn mounts(_: &mut Cx, _: &Step) -> Answer {
    let bytes = slurp("/proc/self/mountinfo")?;
    let mut mounts = Vec::new();
    let mut strange = Vec::new();
    for line in lines(&bytes) {
        match mount(line) {
            Some(mount) => mounts.push(mount),
            None => strange.push(text(line)),
        }
    }
    Ok(json!({ "mounts": mounts, "unparsed": strange }))
}
