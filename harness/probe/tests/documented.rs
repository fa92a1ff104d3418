//! The table of steps, the documentation, and the small size.
mod common;

use common::{ask, command, run};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The names in the first column of the tables of PROBE.md: those in backquotes.
fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROBE.md");
    let text = std::fs::read_to_string(path).expect("PROBE.md");
    let first = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let names =
        first.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    names
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
        .collect()
}

fn known() -> BTreeSet<String> {
    let steps = ask("steps");
    let names =
        steps["steps"].as_array().expect("list").iter().filter_map(|name| name.as_str().map(str::to_owned));
    names.collect()
}

#[test]
fn every_step_is_documented_and_every_documented_step_exists() {
    assert_eq!(documented(), known());
    assert!(known().len() > 90, "{}", known().len());
}

/// Built as it is shipped: without unwinding and std, which the test profile has.
#[test]
fn the_shipped_build_is_small_static_and_answers() {
    let program = common::shipped();
    let size = std::fs::metadata(&program).expect("the program").len();
    assert!(size < 500_000, "{size} bytes");
    let image = std::fs::read(&program).expect("read");
    // Program headers of an ELF64 file: e_phoff at 32, e_phnum at 56, each of 56 bytes, type first; 3 is PT_INTERP.
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let headers = u16_at(32);
    let kinds: Vec<_> = (0..u16_at(56)).map(|n| u16_at(headers + n * 56)).collect();
    assert!(kinds.contains(&1) && !kinds.contains(&3), "static: {kinds:?}");
    let steps = json!({ "nonce": "n", "steps": [{ "ask": "identity" }, { "ask": "sigstate" }, { "do": "exit", "code": 3 }] });
    let answers = run(Command::new(&program).arg(steps.to_string())).complete(3);
    assert_eq!(answers.code(), Some(3));
    assert_eq!(answers.ok(1)["caught"], json!([]));
}

#[test]
fn what_is_no_script_is_refused() {
    let bad = [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        r#"{"steps":1}"#,
        r#"{"steps":[],"out":3}"#,
        "@",
        "@/nonexistent",
        "@/dev",
        r#"{"steps":[]} x"#,
        "stamps",
        "\u{0}",
        "{\"steps\":[1e999]}",
    ];
    for text in bad.iter().filter(|text| !text.contains('\0')) {
        let answers = run(&mut command(&[], text));
        assert_eq!(answers.code(), Some(125), "{text}: {answers:?}");
        let error: serde_json::Value = serde_json::from_str(&answers.stderr).expect("one line of JSON");
        assert!(error["error"].as_str().is_some_and(|text| text.len() > 5), "{error}");
        assert!(answers.raw.is_empty());
    }
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    assert_eq!(run(&mut command(&[], deep)).code(), Some(125));
    assert_eq!(run(&mut Command::new(common::program())).code(), Some(125));
}
