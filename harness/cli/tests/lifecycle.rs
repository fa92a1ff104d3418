//! Whole runs of the built program: a real runtime, a kill -9 and its clean-up, an interrupt, shards.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, packaged, text};
use plimsoll_model::{OutcomeKind, Run};
use std::time::{Duration, Instant};

fn read(place: &Place) -> Run {
    Run::parse(&std::fs::read_to_string(place.out().join("run.jsonl")).unwrap()).unwrap()
}

#[test]
fn the_reference_runtime_passes_the_smoke_profile() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let (output, _) = place.run(&["run", "-t", "ref:oci", "-P", "smoke", "--timeout-scale", "3"]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let run = read(&place);
    assert!(run.is_complete() && !run.records.is_empty());
    assert!(run.records.iter().all(|r| r.outcome.kind() != OutcomeKind::Error), "{said}");
    for name in ["junit_ref-oci.xml", "report.html", "summary.md"] {
        assert!(place.out().join(name).is_file(), "{name} is missing");
    }
    place.assert_clean();
}

#[test]
fn a_real_runtime_gets_a_verdict() {
    let (true, Some(runc)) = (fit(), packaged("runc")) else { return };
    let place = Place::new();
    let target = format!("oci:{runc}");
    let args = ["run", "-t", &target, "oci-runtime/kill", "--timeout-scale", "3", "--exit-zero"];
    let (output, _) = place.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let run = read(&place);
    assert!(run.header.targets[0].version.contains("runc"));
    assert!(run.records.iter().any(|r| r.outcome.kind() == OutcomeKind::Pass));
    place.assert_clean();
}

#[test]
fn what_a_killed_run_left_is_collected() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let mut child = place.command(&["run", "-t", "ref:oci", "-P", "full"]).spawn().unwrap();
    let start = Instant::now();
    // In mid-run: some case has begun.
    let begun = || {
        std::fs::read_to_string(place.out().join("run.jsonl"))
            .is_ok_and(|t| t.matches("case-started").count() > 5)
    };
    while !begun() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!read(&place).is_complete());
    let (doctor, _) = place.run(&["doctor"]);
    assert!(text(&doctor).contains("! leftovers"), "{}", text(&doctor));
    let (output, _) = place.run(&["gc"]);
    assert!(output.status.success() && text(&output).contains("removed"), "{}", text(&output));
    let (again, _) = place.run(&["gc"]);
    assert!(text(&again).contains("nothing to remove"), "{}", text(&again));
    place.assert_clean();
}

#[test]
fn an_interrupt_cleans_up_and_writes_the_footer() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let mut child = place.command(&["run", "-t", "ref:oci", "-P", "full"]).spawn().unwrap();
    let start = Instant::now();
    let begun =
        || std::fs::read_to_string(place.out().join("run.jsonl")).is_ok_and(|t| t.contains("case-started"));
    while !begun() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let run = read(&place);
    assert!(run.footer.is_some() && !run.is_complete());
    assert!(run.records.iter().any(|r| r.outcome.kind() == OutcomeKind::NotRun));
    place.assert_clean();
}

#[test]
fn merged_shards_are_the_whole() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let mut parts = Vec::new();
    for share in ["slice:1/2", "slice:2/2"] {
        let out = place.path().join(share.replace([':', '/'], "-"));
        let args = ["run", "-t", "ref:oci", "-P", "smoke", "--partition", share, "--timeout-scale", "3"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .args(args)
            .arg("--out")
            .arg(&out)
            .arg("--work-dir")
            .arg(place.work())
            .output()
            .unwrap();
        assert!(output.status.code().is_some_and(|c| c < 2), "{}", text(&output));
        parts.push(out.join("run.jsonl").display().to_string());
    }
    let merged = place.path().join("merged.jsonl").display().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["report", "merge", &parts[0], &parts[1], "-o", &merged])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = Run::parse(&std::fs::read_to_string(merged).unwrap()).unwrap();
    let (plan, _) = place.run(&["run", "-t", "ref:oci", "-P", "smoke", "--dry-run"]);
    let lines = String::from_utf8_lossy(&plan.stdout).into_owned();
    let ids = lines.lines().filter_map(|l| l.split(' ').next()).filter(|id| id.contains('/'));
    let names: Vec<String> = ids.map(str::to_owned).collect();
    let have: Vec<String> = run.records.iter().map(|r| r.case.to_string()).collect();
    let (mut a, mut b) = (names, have);
    a.sort();
    b.sort();
    assert_eq!(a, b);
}
