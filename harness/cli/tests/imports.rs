//! The import rules of harness/docs/ARCHITECTURE.md, over `cargo metadata`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Our packages: name, room (path below the root), and the names of all normal dependencies.
fn packages() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let top = metadata["workspace_root"].as_str().unwrap().to_owned();
    let mut all = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = package["manifest_path"].as_str().unwrap();
        let room =
            manifest.trim_start_matches(&top).trim_matches('/').trim_end_matches("/Cargo.toml").to_owned();
        let dependencies = package["dependencies"].as_array().unwrap();
        let normal = dependencies.iter().filter(|d| d["kind"].is_null() || d["kind"] == "build");
        let names = normal.map(|d| d["name"].as_str().unwrap().to_owned()).collect();
        all.insert(package["name"].as_str().unwrap().to_owned(), (room, names));
    }
    all
}

/// What each room may import of ours, by package name; `None` for what ties all together.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    match room {
        "harness/model"
        | "harness/case"
        | "harness/probe"
        | "harness/images"
        | "harness/vm"
        | "runtime-under-test/oci"
        | "runtime-under-test/faults" => Some(&[]),
        "harness/cri-client" => Some(&["plimsoll-model", "plimsoll-images"]),
        "harness/testbed" => Some(&["plimsoll-model", "plimsoll-images", "plimsoll-cri-client"]),
        "harness/kit" => Some(&["plimsoll-model", "plimsoll-images", "plimsoll-case", "plimsoll-cri-client"]),
        "harness/engine" => Some(&["plimsoll-model", "plimsoll-kit", "plimsoll-case"]),
        "reports" | "benches/stats" => Some(&["plimsoll-model"]),
        "benches/scenarios" => Some(&[
            "plimsoll-model",
            "plimsoll-kit",
            "plimsoll-case",
            "plimsoll-bench-stats",
            "plimsoll-cri-client",
            "plimsoll-images",
        ]),
        "runtime-under-test/cri" => Some(&["plimsoll-oci"]),
        "harness/cli" | "benches/micro" => None,
        room if room.starts_with("suites/") => Some(&[
            "plimsoll-model",
            "plimsoll-kit",
            "plimsoll-case",
            "plimsoll-images",
            "plimsoll-cri-client",
        ]),
        other => panic!("{other} is a room without a rule: write one here and in ARCHITECTURE.md"),
    }
}

#[test]
fn nothing_imports_what_it_must_not() {
    let all = packages();
    assert!(all.len() > 15, "cargo metadata lists {} packages", all.len());
    for (name, (room, dependencies)) in &all {
        let ours: BTreeSet<&str> =
            dependencies.iter().filter(|d| all.contains_key(*d)).map(String::as_str).collect();
        if let Some(allowed) = allowed(room) {
            for dependency in ours {
                assert!(allowed.contains(&dependency), "{name} ({room}) must not import {dependency}");
            }
        }
    }
}

#[test]
fn the_inner_loop_stays_fast() {
    let all = packages();
    for name in ["plimsoll-reports", "plimsoll-bench-stats", "plimsoll-model"] {
        let (_, dependencies) = &all[name];
        for heavy in ["tokio", "tonic"] {
            assert!(!dependencies.contains(heavy), "{name} must not import {heavy}");
        }
    }
}
