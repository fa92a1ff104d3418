//! The findings and the expectation files beside them: each entry names cases of this build and stands in FINDINGS.md,
//! and what a packaged runtime shows is what its file says.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, packaged, text};
use plimsoll_model::expectation::glob;
use plimsoll_model::{Expectations, Run};
use std::path::{Path, PathBuf};
use std::process::Command;

const RUNTIMES: [&str; 3] = ["runc", "crun", "runsc"];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn file(runtime: &str) -> PathBuf {
    docs().join("expectations").join(format!("{runtime}.toml"))
}

fn read(runtime: &str) -> Expectations {
    toml::from_str(&std::fs::read_to_string(file(runtime)).unwrap()).unwrap()
}

/// The cases of the profile `full`.
fn cases() -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(["list", "-P", "full", "--format", "names"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_entry_names_cases_of_this_build_and_stands_in_the_findings() {
    let cases = cases();
    let findings = std::fs::read_to_string(docs().join("FINDINGS.md")).unwrap();
    for runtime in RUNTIMES {
        let file = read(runtime);
        assert!(file.entries.len() > 20, "{runtime}.toml has {} entries", file.entries.len());
        for entry in &file.entries {
            assert!(cases.iter().any(|c| glob(&entry.case, c)), "{runtime}: {} names no case", entry.case);
            assert_eq!(entry.target.as_deref(), Some(runtime), "{}", entry.case);
            assert!(entry.version_contains.is_some(), "{runtime}: {} is for any version", entry.case);
            let parts: Vec<&str> = entry.case.split('/').collect();
            let short = if parts[0] == "oci-runtime" { parts[1..3].join("/") } else { parts[..3].join("/") };
            assert!(findings.contains(&format!("`{short}`")), "FINDINGS.md says nothing of {short}");
        }
    }
}

#[test]
fn a_packaged_runtime_shows_what_its_file_says() {
    if !fit() {
        return;
    }
    for (runtime, target) in [("runc", "oci:runc"), ("crun", "oci:crun?cgroups=legacy")] {
        if packaged(runtime).is_none() {
            continue;
        }
        let place = Place::new();
        let path = file(runtime).display().to_string();
        let args = ["run", "-t", target, "oci-runtime/delete", "--timeout-scale", "3", "--strict"];
        let (output, _) = place.run(&[&args[..], &["--expectations", &path]].concat());
        let run = Run::parse(&std::fs::read_to_string(place.out().join("run.jsonl")).unwrap()).unwrap();
        let version = run.header.targets[0].version.clone();
        // Another package than the one that was looked at: its verdicts are its own.
        if read(runtime)
            .entries
            .iter()
            .any(|e| e.version_contains.as_deref().is_some_and(|v| version.contains(v)))
        {
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        }
        place.assert_clean();
    }
}
