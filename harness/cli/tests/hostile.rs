//! Runtimes that are none: each gets a clear message, the documented exit code, an end in time, and leaves nothing.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, text};
use std::time::Duration;

/// Deadlines are cut to a tenth (1 s per call), so that hanging takes little time.
const SCALE: &[&str] = &["--timeout-scale", "0.1", "-P", "smoke"];

fn judged(body: &str) -> (String, i32, Duration) {
    let place = Place::new();
    let target = place.runtime(body);
    let mut args = vec!["run", "-t", &target];
    args.extend(SCALE);
    let (output, time) = place.run(&args);
    place.assert_clean();
    (text(&output), output.status.code().unwrap_or(-1), time)
}

#[test]
fn a_program_that_is_no_runtime_is_unfit() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (output, _) = place.run(&["run", "-t", "oci:/bin/true", "-P", "smoke"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("unfit"), "{}", text(&output));
    place.assert_clean();
}

#[test]
fn a_path_that_does_not_exist_is_usage() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (output, _) = place.run(&["run", "-t", "oci:/nonexistent"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("does not exist"), "{}", text(&output));
}

#[test]
fn a_runtime_that_hangs_ends_at_the_deadline() {
    if !fit() {
        return;
    }
    let (said, code, time) = judged("trap '' TERM; while :; do sleep 1; done");
    assert_eq!(code, 3, "{said}");
    assert!(time < Duration::from_secs(40), "took {time:?}");
}

#[test]
fn a_runtime_that_floods_is_cut_off() {
    if !fit() {
        return;
    }
    let (said, code, _) = judged("exec head -c 1073741824 /dev/zero");
    assert_eq!(code, 3, "{said}");
}

#[test]
fn a_runtime_that_leaves_processes_is_cleared_away() {
    if !fit() {
        return;
    }
    let marker = format!("3{}", std::process::id());
    let (said, code, _) =
        judged(&format!("setsid sh -c 'sleep {marker} & sleep {marker}' >/dev/null 2>&1 & exit 0"));
    assert_eq!(code, 3, "{said}");
    let left = std::fs::read_dir("/proc").unwrap().flatten().any(|e| {
        std::fs::read(e.path().join("cmdline")).is_ok_and(|c| c == format!("sleep\0{marker}\0").into_bytes())
    });
    assert!(!left, "a process of the runtime still runs");
}

#[test]
fn a_runtime_that_answers_garbage_is_unfit() {
    if !fit() {
        return;
    }
    let (said, code, _) = judged("echo '{\"status\": [[[' ; exit 0");
    assert_eq!(code, 3, "{said}");
}

#[test]
fn a_runtime_that_kills_its_parent_costs_only_the_attempt() {
    if !fit() {
        return;
    }
    let (said, code, _) = judged("kill -9 $PPID");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("without a result"), "{said}");
}

#[test]
fn bad_input_says_what_and_why() {
    let place = Place::new();
    for (args, want) in [
        (&["run", "-t", "docker:x"][..], "unknown kind"),
        (&["run", "-t", "oci:runc?foo=1"], "unknown parameter"),
        (&["run", "-P", "nonsense"], "unknown profile"),
        (&["run", "-E", "suite("], "cannot be read"),
        (&["run", "--case", "no/such/case"], "matches no case"),
        (&["run", "--timeout-scale", "0"], "above 0"),
        (&["run", "--partition", "slice:4/3"], "no partition"),
        (&["run", "--report", "pdf=x"], "names no report"),
        (&["explain", "no.such.thing"], "no requirement"),
        (&["schema", "nonsense"], "no schema"),
        (&["report", "render", "/nonexistent"], "cannot read"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        let (output, _) = place.run(args);
        let said = text(&output);
        let root_needed = said.contains("not running as root");
        assert!(root_needed || output.status.code() == Some(2), "{args:?}: {said}");
        assert!(root_needed || said.contains(want), "{args:?} says {said}");
    }
}
