//! A fuzz loop over `config.json`: documents are broken in their structure and in their bytes, and everything that
//! reads a configuration before the first resource exists is run over them. None may panic or take long.
//!
//! It runs for a moment with the other tests. For longer, from a seed of choice:
//! `PLIMSOLL_FUZZ_SECONDS=600 PLIMSOLL_FUZZ_SEED=1 cargo test --release -p plimsoll-oci --lib fuzz -- --nocapture`.

use super::Spec;
use super::tests::{full, pointers};
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// An input that takes longer hangs.
const HANG: Duration = Duration::from_secs(5);

/// `SplitMix64`: the same seed gives the same inputs everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// The parts of a configuration that their modules parse on their own.
fn resources() -> Value {
    json!({
        "devices": [{ "allow": false }, { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }],
        "memory": { "limit": 1 << 20, "swap": 1 << 21, "reservation": -1, "swappiness": 60, "disableOOMKiller": false },
        "cpu": { "shares": 2, "quota": -1, "period": 100_000, "burst": 1, "cpus": "0-3,7", "mems": "0", "idle": 1 },
        "pids": { "limit": 0 },
        "blockIO": { "weight": 10, "weightDevice": [{ "major": 8, "minor": 0, "weight": 500 }],
            "throttleReadBpsDevice": [{ "major": 8, "minor": 0, "rate": 1 }] },
        "hugepageLimits": [{ "pageSize": "2MB", "limit": 1 }],
        "network": { "classID": 1, "priorities": [{ "name": "eth0", "priority": 1 }] },
        "rdma": { "mlx5_1": { "hcaHandles": 1 } }, "unified": { "memory.high": "max" }
    })
}

fn seccomp() -> Value {
    let arg = |op: &str| json!({ "index": 1, "value": 8, "valueTwo": 4, "op": op });
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/x", "listenerMetadata": "y",
        "syscalls": [
            { "names": ["read", "write", "openat", "no-such-call"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [
                arg("SCMP_CMP_EQ"), arg("SCMP_CMP_NE"), arg("SCMP_CMP_LT"), arg("SCMP_CMP_LE"), arg("SCMP_CMP_GT"),
                arg("SCMP_CMP_GE"), arg("SCMP_CMP_MASKED_EQ")] },
            { "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }
        ]
    })
}

fn base() -> Value {
    let mut document = full();
    document["linux"]["resources"] = resources();
    document["linux"]["seccomp"] = seccomp();
    document
}

/// A value that some reader may stumble over.
fn value(dice: &mut Dice, document: &Value, places: &[String]) -> Value {
    const TEXTS: [&str; 26] = [
        "",
        "/",
        "..",
        "\u{0}",
        "a\u{0}b",
        "0-4294967295",
        "0,,1",
        "18446744073709551616",
        "-1",
        "1.99.0",
        "é\u{1F680}",
        "\u{202e}",
        "/proc/self/exe",
        "../../../../etc",
        "=",
        ":",
        "a:b:c",
        "size=",
        "mode=7777777777777777",
        "rro",
        "bind",
        "idmap",
        "SCMP_ACT_KILL",
        "CAP_",
        "L3:0=f;1=",
        "MB:0=\n",
    ];
    match dice.below(9) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2 => json!(dice.roll() as i64 >> dice.below(64)),
        3 => json!(dice.roll() >> dice.below(64)),
        4 => json!(f64::from_bits(dice.roll())),
        5 => json!(dice.one(&TEXTS)),
        6 => json!("x/".repeat(dice.below(4000))),
        7 => Value::Array((0..dice.below(6)).map(|_| json!(dice.one(&TEXTS))).collect()),
        // A part of the document at a place where it does not belong.
        _ => document.pointer(dice.one::<String>(places)).cloned().unwrap_or_default(),
    }
}

/// A few changes of the structure.
fn break_structure(dice: &mut Dice, document: &mut Value) {
    for _ in 0..=dice.below(4) {
        let mut places = vec![String::new()];
        pointers(document, "", &mut places);
        let new = value(dice, document, &places);
        let at = dice.one(&places).clone();
        let Some((parent, name)) = at.rsplit_once('/') else { continue };
        let name = name.replace("~1", "/").replace("~0", "~");
        match document.pointer_mut(parent) {
            Some(Value::Object(map)) => match dice.below(5) {
                0 => drop(map.remove(&name)),
                1 => drop(map.insert(format!("{name}x"), new)),
                _ => drop(map.insert(name, new)),
            },
            Some(Value::Array(list)) => {
                let index = name.parse().unwrap_or(0).min(list.len().saturating_sub(1));
                match dice.below(4) {
                    0 if !list.is_empty() => drop(list.remove(index)),
                    1 => list.push(new),
                    2 => {
                        let copy = list.clone();
                        list.extend((0..dice.below(3)).flat_map(|_| copy.clone()));
                    }
                    _ if !list.is_empty() => list[index] = new,
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// A few changes of the bytes.
fn break_bytes(dice: &mut Dice, bytes: &mut Vec<u8>) {
    const PIECES: [&[u8]; 12] =
        [b"\"", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\\u0000", b"\\ud800", b"1e999", b"\xff\xfe"];
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, dice.one(&PIECES).iter().copied())),
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => {
                let end = (at + dice.below(40)).min(bytes.len());
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at.min(end)..at.min(end), piece);
            }
        }
    }
}

/// All that reads a configuration before the first resource is made. True when it is taken for valid.
fn read(bytes: &[u8]) -> bool {
    let Ok(spec) = Spec::from_slice(bytes) else { return false };
    let linux = &spec.linux;
    if let Some(process) = spec.process.as_ref() {
        let _ = crate::process::setup::Setup::new(process, linux, !spec.version_at_least(1, 1));
        let _ = process.size();
    }
    for mount in &spec.mounts {
        let _ = crate::rootfs::options::MountOptions::parse(mount);
    }
    if let Some(resources) = linux.resources.as_ref() {
        let _ = crate::cgroup::device_program_length(resources);
        let _ = crate::cgroup::device_list(resources);
    }
    let path = linux.cgroups_path.as_deref();
    let _ = crate::systemd::Scope::parse(path, "id", false);
    let _ = crate::rootfs::map_lines(&linux.uid_mappings);
    true
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn fuzz_config_json() {
    let seed = number("PLIMSOLL_FUZZ_SEED").unwrap_or(1);
    let length = number("PLIMSOLL_FUZZ_SECONDS").map(Duration::from_secs);
    let (began, base) = (Instant::now(), base());
    let (mut round, mut valid) = (0u64, 0u64);
    // Without a length a fixed number of inputs, so that the test does the same on each machine.
    while length.map_or(round < 3000, |length| began.elapsed() < length) {
        let mut dice = Dice(seed.wrapping_mul(0x1_0000_0001).wrapping_add(round));
        let mut document = base.clone();
        break_structure(&mut dice, &mut document);
        let mut bytes = serde_json::to_vec(&document).unwrap();
        if dice.below(3) == 0 {
            break_bytes(&mut dice, &mut bytes);
        }
        let start = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        let shown = || format!("seed {seed}, round {round}: {}", String::from_utf8_lossy(&bytes));
        valid += u64::from(read.unwrap_or_else(|_| panic!("panic: {}", shown())));
        assert!(start.elapsed() < HANG, "took {:?}: {}", start.elapsed(), shown());
        round += 1;
    }
    println!("{round} inputs in {:?}, {valid} of them valid", began.elapsed());
    assert!(valid > 0 && valid < round, "{valid} of {round} are valid: the inputs reach too little");
}
