//! Spoils the log file of a container that has ended: what an endpoint writes wrongly while it runs.

use std::fs;

use serde_json::Value;

use super::exchange::Memory;
use super::script::{LogFault, Op};

/// Largest log that is spoiled.
const LIMIT: u64 = 64 << 20;
/// `CONTAINER_EXITED` of the interface.
const EXITED: u64 = 2;

/// Applies the log faults among `ops` to the log that a status names, once per log and when its writer is done.
pub fn spoil(response: &Value, ops: &[&Op], memory: &Memory) {
    let faults: Vec<&LogFault> =
        ops.iter().filter_map(|op| if let Op::Log(f) = op { Some(f) } else { None }).collect();
    let status = &response["status"];
    let Some(path) = status["log_path"].as_str().filter(|p| !p.is_empty()) else { return };
    let small = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= LIMIT);
    if faults.is_empty() || status["state"].as_u64() != Some(EXITED) || !small || !memory.first_time(path) {
        return;
    }
    let spoiled = fs::read(path).and_then(|text| {
        let lines = text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec);
        let lines = faults.iter().fold(lines.collect(), |lines, fault| apply(fault, lines));
        fs::write(path, lines.concat())
    });
    if let Err(e) = spoiled {
        eprintln!("plimsoll-faults: cannot spoil {path}: {e}");
    }
}

fn apply(fault: &LogFault, lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    if *fault == LogFault::Truncate {
        let half = lines.len() / 2;
        return lines.into_iter().take(half).collect();
    }
    lines.into_iter().filter_map(|line| one(fault, &line)).collect()
}

fn one(fault: &LogFault, line: &[u8]) -> Option<Vec<u8>> {
    // Time, stream, tag and content, with a blank between each two.
    let head =
        line.iter().enumerate().filter(|(_, b)| **b == b' ').nth(2).map_or(line.len(), |(at, _)| at + 1);
    let (mut start, mut content) = (line[..head].to_vec(), line[head..].to_vec());
    match fault {
        LogFault::Subst(from, to) => {
            start = String::from_utf8_lossy(&start).replace(from, to).into_bytes();
        }
        LogFault::Seconds => {
            let text = String::from_utf8_lossy(&start).into_owned();
            let (time, rest) = text.split_once(' ')?;
            let zone = time.find(['Z', '+']).map_or("Z", |at| &time[at..]);
            let whole = time.split('.').next().unwrap_or(time);
            start = format!("{whole}{zone} {rest}").into_bytes();
        }
        LogFault::Suffix(text) => {
            let newline = content.pop_if(|b| *b == b'\n');
            content.extend_from_slice(text.as_bytes());
            content.extend(newline);
        }
        LogFault::Printable => {
            content.iter_mut().filter(|b| **b != b'\n' && !(32..127).contains(*b)).for_each(|b| *b = b'?');
        }
        LogFault::NoEmpty if content == b"\n" => return None,
        LogFault::NoEmpty | LogFault::Truncate => {}
    }
    start.append(&mut content);
    Some(start)
}

#[cfg(test)]
mod tests {
    use super::super::script::parse;
    use super::*;
    use serde_json::json;

    fn spoiled(fault: &str, text: &[u8]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        fs::write(&path, text).unwrap();
        let step = parse(&format!("ContainerStatus log {fault}")).unwrap();
        let status = |state: u64| json!({"status": {"state": state, "log_path": path.to_str().unwrap()}});
        let memory = Memory::default();
        spoil(&status(1), &[&step.op], &memory);
        assert_eq!(fs::read(&path).unwrap(), text, "spoiled while the container runs");
        spoil(&status(EXITED), &[&step.op], &memory);
        let once = fs::read(&path).unwrap();
        spoil(&status(EXITED), &[&step.op], &memory);
        assert_eq!(fs::read(&path).unwrap(), once, "spoiled twice");
        once
    }

    #[test]
    fn lines_are_spoiled_in_their_own_part() {
        let line = b"2024-01-02T03:04:05.678901234Z stdout F stdout \xff\n";
        assert_eq!(
            spoiled("subst stdout stderr", line),
            b"2024-01-02T03:04:05.678901234Z stderr F stdout \xff\n"
        );
        assert_eq!(spoiled("subst _stdout ''", line), b"2024-01-02T03:04:05.678901234Z F stdout \xff\n");
        assert_eq!(spoiled("subst _F_ _P_", line), b"2024-01-02T03:04:05.678901234Z stdout P stdout \xff\n");
        assert_eq!(spoiled("seconds", line), b"2024-01-02T03:04:05Z stdout F stdout \xff\n");
        assert_eq!(spoiled("printable", line), b"2024-01-02T03:04:05.678901234Z stdout F stdout ?\n");
        assert_eq!(spoiled("suffix .", line), b"2024-01-02T03:04:05.678901234Z stdout F stdout \xff.\n");
        assert_eq!(spoiled("no-empty", b"t stdout F \nt stdout F a\n"), b"t stdout F a\n");
        assert_eq!(spoiled("truncate", b"1 o F a\n2 o F b\n3 o F c\n4 o F d\n"), b"1 o F a\n2 o F b\n");
        assert_eq!(spoiled("truncate", b"1 o F a\n"), b"");
    }
}
