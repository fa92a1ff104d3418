//! Scripts that nobody in his right mind would write: each is answered in full, in time, with exit code 0.
mod common;

use common::{Answers, command, is_root, probe, run, script, works};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::os::unix::ffi::OsStrExt;

/// Where random steps can do no harm: namespaces of its own, among them one of processes.
const CAGE: [&str; 10] = [
    "unshare",
    "--mount",
    "--uts",
    "--ipc",
    "--net",
    "--pid",
    "--cgroup",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// Those that end the script, or that reach out of the cage (set times, keys, reboot) when called at random.
const LEFT_OUT: [&str; 5] = ["exit", "die", "exec_self", "init", "syscall"];

fn names() -> Vec<String> {
    let known = common::ask("steps")["steps"].as_array().expect("list").clone();
    let names = known.iter().filter_map(Value::as_str).filter(|name| !LEFT_OUT.contains(name));
    names.map(str::to_owned).collect()
}

/// Every argument that any step takes.
const KEYS: [&str; 36] = [
    "path",
    "name",
    "max",
    "data",
    "base64",
    "mode",
    "flags",
    "fd",
    "ms",
    "timeout_ms",
    "signals",
    "catch",
    "until",
    "count",
    "script",
    "bytes",
    "line_len",
    "text",
    "repeat",
    "target",
    "type",
    "major",
    "uid",
    "gid",
    "groups",
    "host",
    "port",
    "send",
    "argv",
    "env",
    "key",
    "id",
    "resource",
    "cur",
    "pid",
    "signal",
];

#[test]
fn steps_that_are_none() {
    let answers = probe(&json!([
        1, null, "ask", [], {}, { "ask": 1 }, { "ask": "" }, { "ask": "no_such" }, { "do": "identity" }, { "ask": "exit" , "code": "x" },
    ]));
    for i in 0..8 {
        assert_eq!(answers.errno(i), 22);
        assert!(answers.line(i)["error"].as_str().is_some_and(|text| text.starts_with("EINVAL: ")));
    }
    answers.ok(8);
    assert_eq!((answers.errno(9), answers.code()), (22, Some(0)));
}

#[test]
fn any_nonce_comes_back() {
    for nonce in [json!(null), json!(7), json!("\u{1f6a2}\n"), json!({ "a": [1] })] {
        let text = json!({ "nonce": nonce, "steps": [{ "ask": "umask" }] }).to_string();
        let answers = run(&mut command(&[], text));
        assert!(
            answers.lines.len() == 2 && answers.lines.iter().all(|line| line["nonce"] == nonce),
            "{answers:?}"
        );
    }
}

#[test]
fn a_script_that_is_not_utf8_or_long() {
    let answers = run(&mut command(&[], std::ffi::OsStr::from_bytes(b"{\"steps\":[\"\xff\"]}")));
    assert_eq!(answers.code(), Some(125));
    let steps: Vec<Value> = (0..2000).map(|_| json!({ "ask": "umask" })).collect();
    assert_eq!(probe(&steps.into()).lines.len(), 2001);
}

/// All steps with all arguments set to the same nonsense.
#[test]
fn every_step_with_every_wrong_type() {
    if !is_root() || !works(&CAGE) {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    for junk in [json!({ "a": {} }), json!([[], {}]), json!(true), json!(-1), json!("\u{0}"), json!(1.5)] {
        let step = |name: String| {
            let mut map: Map<String, Value> =
                KEYS.iter().map(|key| ((*key).to_owned(), junk.clone())).collect();
            map.insert("ask".to_owned(), name.into());
            Value::Object(map)
        };
        let steps: Vec<Value> = names().into_iter().map(step).collect();
        caged(&steps, dir.path());
    }
}

fn caged(steps: &[Value], dir: &std::path::Path) -> Answers {
    let text = json!({ "nonce": "n", "out": dir.join("out"), "steps": steps }).to_string();
    let _ = std::fs::remove_file(dir.join("out"));
    let mut answers = run(command(&CAGE, text).current_dir(dir));
    let written = std::fs::read(dir.join("out")).expect("lines");
    answers.lines = common::parse(&written);
    // A nested script answers under a nonce of its own.
    answers.lines.retain(|line| line["nonce"] == "n");
    let done = answers.lines.iter().filter(|line| line["done"] == steps.len()).count();
    assert_eq!(done, 1, "{steps:#?}\n{answers:#?}");
    for i in 0..steps.len() {
        answers.line(i);
    }
    answers
}

fn value(dir: &str) -> impl Strategy<Value = Value> + use<> {
    let number = prop_oneof![
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
        any::<u16>().prop_map(|n| json!(n)),
    ];
    let word = prop_oneof![
        Just("."),
        Just(""),
        Just("/proc/self/status"),
        Just("nothing/there"),
        Just("TERM"),
        Just("HUP"),
        Just("ro"),
        Just("r"),
        Just("127.0.0.1"),
        Just("@x"),
        Just("char"),
        Just("fifo"),
        Just("RLIMIT_CORE"),
        Just("net"),
        Just("bind"),
        Just("0644"),
    ];
    let leaf = prop_oneof![
        number,
        word.prop_map(|text| json!(text)),
        Just(json!(dir)),
        "\\PC{0,8}".prop_map(|text| json!(text)),
        any::<bool>().prop_map(|flag| json!(flag)),
        Just(json!(null)),
        Just(json!({ "steps": [{ "ask": "umask" }] })),
    ];
    prop_oneof![4 => leaf.clone(), 1 => prop::collection::vec(leaf, 0..4).prop_map(Value::from)]
}

fn step(names: Vec<String>, dir: &str) -> impl Strategy<Value = Value> + use<> {
    let arguments = prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), value(dir), 0..6);
    (prop::sample::select(names), arguments).prop_map(|(name, arguments)| {
        let mut map: Map<String, Value> =
            arguments.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        // Random durations and amounts would only make the test slow or hungry.
        for key in ["ms", "timeout_ms"] {
            map.insert(key.to_owned(), json!(20));
        }
        for (key, most) in [("bytes", 1_000_000), ("count", 3), ("repeat", 3)] {
            if let Some(n) = map.get(key).and_then(Value::as_u64) {
                map.insert(key.to_owned(), json!(n.min(most)));
            }
        }
        // A stop signal to itself, or to everything in its cage, would be a fair answer but no completed script.
        if name == "kill" {
            map.insert("signal".to_owned(), json!(0));
        }
        map.insert("do".to_owned(), name.into());
        Value::Object(map)
    })
}

#[test]
fn random_scripts_are_answered_in_full() {
    if !is_root() || !works(&CAGE) {
        return;
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().to_str().expect("utf8");
    let steps = prop::collection::vec(step(names(), path), 1..12);
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps)| {
        let answers = caged(&steps, dir.path());
        prop_assert_eq!(answers.code(), Some(0), "{:?}", steps);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Text that is no script, or a script that is cut off: 125 and a message, or an answer in full.
    #[test]
    fn random_text_is_refused_or_answered(text in "[\\PC&&[^@]]{1,40}", cut in 0_usize..60) {
        let refused = run(&mut command(&[], &text));
        let word = ["stamp", "pause", "stamp-pause"].contains(&text.as_str());
        prop_assert!(word || refused.code() == Some(125), "{:?}", refused);
        let whole = script(&json!([{ "ask": "umask" }, { "ask": "cwd" }]));
        let part = &whole[..cut.min(whole.len())];
        prop_assert_eq!(run(&mut command(&[], part)).code(), Some(if part.len() == whole.len() { 0 } else { 125 }));
    }
}
