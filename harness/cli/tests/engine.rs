//! The engine's own proof: cases that must fail, hang, leak and panic, run as any suite is run.
//!
//! This program is its own worker and its own reference runtime, as the executable is: so it has a main function of
//! its own, and the suite needs no place in the executable.
#![allow(clippy::unwrap_used)]

use plimsoll_engine::target::Bundled;
use plimsoll_engine::{Filter, Profile, RunOptions, Selection};
use plimsoll_kit::job::Limits;
use plimsoll_model::event::RunStatus;
use plimsoll_model::{Event, Expectations, Judgement, Outcome, OutcomeKind, Run, TroubleKind};
use plimsoll_suite_selftest::SUITE;
use std::collections::BTreeMap;
use std::path::Path;

fn main() -> std::process::ExitCode {
    let verb = std::env::args().nth(1);
    match verb.as_deref() {
        Some(plimsoll_engine::pool::WORKER_VERB) => return plimsoll_engine::worker::main(&[&SUITE]).into(),
        Some("oci") => return plimsoll_oci::run(std::env::args_os().skip(2)).into(),
        // What cargo and test runners ask for; the proof below is one test.
        Some("--list") => {
            write("the_engine_ends_every_case_as_it_must: test\n");
            return std::process::ExitCode::SUCCESS;
        }
        _ => {}
    }
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "CI runs as root");
        write("SKIP: a run needs root\n");
        return std::process::ExitCode::SUCCESS;
    }
    let work = tempfile::Builder::new().prefix("plimsoll-engine-").tempdir_in("/var/tmp").unwrap();
    every_case_ends_as_it_must(work.path());
    a_run_that_stops_early_decides_the_rest(work.path());
    write("test the_engine_ends_every_case_as_it_must ... ok\n");
    std::process::ExitCode::SUCCESS
}

fn write(text: &str) {
    use std::io::Write as _;
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

fn options(work: &Path, filter: &str, max_fail: u32) -> RunOptions {
    RunOptions {
        targets: vec!["ref:oci".parse().unwrap()],
        suites: vec![&SUITE],
        selection: Selection {
            profile: Profile::Full,
            filters: vec![Filter::parse(filter).unwrap()],
            partition: None,
        },
        filters: vec![filter.to_owned()],
        jobs: if max_fail > 0 { 1 } else { 8 },
        limits: Limits { case_ms: 15_000, ..Limits::default() },
        seed: 7,
        retries: u32::from(max_fail == 0),
        max_fail,
        keep: None,
        work_root: work.join("work"),
        expectations: Expectations::default(),
        strict: false,
        command: vec!["selftest".to_owned()],
        challenge: None,
        tool: "plimsoll 0".to_owned(),
        between: None,
        bundled: Bundled {
            program: std::env::current_exe().unwrap(),
            oci_verb: "oci".into(),
            cri_verb: "cri".into(),
        },
        host: plimsoll_engine::doctor::examine(work).0,
    }
}

/// Runs, reads the events back as a reader of the run file would, and checks that nothing is left.
fn run(options: &RunOptions) -> Run {
    let mut text = String::new();
    let mut sink = |event: &Event| {
        text.push_str(&serde_json::to_string(event).unwrap());
        text.push('\n');
    };
    let finished = plimsoll_engine::run(options, &mut sink, &|_, _| 1).unwrap();
    let run = Run::parse(&text).unwrap();
    assert_eq!(run.records.len(), finished.run.records.len());
    assert_eq!(run.header.targets[0].unfit, None);
    let left: Vec<_> = std::fs::read_dir(&options.work_root).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "left in the work directory: {left:?}");
    for hierarchy in plimsoll_kit::host::hierarchies() {
        for dir in plimsoll_kit::host::sub_directories(&hierarchy.mount) {
            let named = dir.display().to_string().contains(&run.header.run_id);
            assert!(!named, "a cgroup is left: {}", dir.display());
        }
    }
    let forgotten = plimsoll_suite_selftest::leaks::FORGOTTEN_S;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        assert!(line.trim() != format!("sleep {forgotten}"), "a process is left: {line}");
    }
    run
}

/// Outcome in words: the kind, and what names it.
fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Fail { violations } | Outcome::Warn { violations } => {
            let ids: Vec<&str> = violations.iter().map(|v| v.requirement.as_str()).collect();
            format!("{} {}", outcome.kind().word(), ids.join(" "))
        }
        Outcome::Error { trouble } => format!("error {:?}", trouble.kind),
        Outcome::Skip { lack, .. } => format!("skip {lack}"),
        Outcome::NotApplicable { capability, .. } => format!("n/a {capability}"),
        Outcome::Pass | Outcome::NotRun { .. } => outcome.kind().word().to_owned(),
    }
}

fn every_case_ends_as_it_must(work: &Path) {
    let run = run(&options(work, "all()", 0));
    let want: BTreeMap<&str, String> = [
        ("outcomes/passes", "pass".to_owned()),
        ("outcomes/fails", "fail self.must".into()),
        ("outcomes/fails-another-requirement", "fail self.other".into()),
        ("outcomes/warns", "warn self.should".into()),
        ("outcomes/records", "pass".into()),
        ("outcomes/skips", "skip a-second-moon".into()),
        ("outcomes/is-not-applicable", "n/a teleport".into()),
        ("outcomes/is-newer-than-the-target", "n/a spec-99.0.0".into()),
        ("outcomes/runs-a-container", "pass".into()),
        ("trouble/fails-in-its-set-up", format!("error {:?}", TroubleKind::Setup)),
        ("trouble/loses-its-files", format!("error {:?}", TroubleKind::Harness)),
        ("trouble/panics", format!("error {:?}", TroubleKind::Panic)),
        ("trouble/waits-for-ever", format!("error {:?}", TroubleKind::Timeout)),
        ("trouble/blocks-its-thread", format!("error {:?}", TroubleKind::Timeout)),
        ("trouble/kills-its-worker", format!("error {:?}", TroubleKind::WorkerDied)),
        ("trouble/ends-its-worker", format!("error {:?}", TroubleKind::WorkerDied)),
        ("trouble/floods-its-worker", format!("error {:?}", TroubleKind::WorkerDied)),
        ("trouble/hears-from-a-stranger", format!("error {:?}", TroubleKind::Setup)),
        ("leaks/leaves-a-process", "fail self.leaves-nothing".into()),
        ("leaks/leaves-a-mount", "fail self.leaves-nothing".into()),
        ("leaks/leaves-a-cgroup", "fail self.leaves-nothing".into()),
        ("leaks/leaves-state", "fail self.leaves-nothing".into()),
        ("leaks/warns-and-leaves-a-mount", "fail self.leaves-nothing self.should".into()),
        ("leaks/fails-and-leaves-a-mount", "fail self.must self.leaves-nothing".into()),
        ("turns/errs-once", "pass".into()),
        ("turns/is-alone/seat=a", "pass".into()),
        ("turns/is-alone/seat=b", "pass".into()),
        ("turns/is-alone/seat=c", "pass".into()),
        ("turns/knows-its-value/seat=a", "pass".into()),
        ("turns/knows-its-value/seat=b", "pass".into()),
        ("turns/knows-its-value/seat=c", "pass".into()),
    ]
    .into();
    let found: BTreeMap<&str, String> = run
        .records
        .iter()
        .map(|r| (r.case.as_str().trim_start_matches("selftest/"), said(&r.outcome)))
        .collect();
    assert_eq!(found, want);
    assert!(run.is_complete());
    let record = |id: &str| run.records.iter().find(|r| r.case.as_str().ends_with(id)).unwrap();
    assert_eq!(record("outcomes/records").facts["self.may"], "this one");
    assert_eq!(record("outcomes/records").facts["self.said"], "as it likes");
    let panic = record("trouble/panics").outcome.message();
    assert!(panic.contains("at the disco"), "{panic}");
    assert_eq!(record("leaks/leaves-a-mount").judgement, Judgement::Bad);
    assert_eq!(record("trouble/panics").judgement, Judgement::Trouble);
    // Only trouble is attempted again, and only once.
    assert_eq!((record("turns/errs-once").attempt, record("trouble/panics").attempt), (2, 2));
    assert_eq!((record("outcomes/fails").attempt, record("outcomes/passes").attempt), (1, 1));
    let tried: Vec<&str> = run
        .superseded
        .iter()
        .filter(|r| r.outcome.kind() != OutcomeKind::Error)
        .map(|r| r.case.as_str())
        .collect();
    assert_eq!(tried, Vec::<&str>::new());
}

fn a_run_that_stops_early_decides_the_rest(work: &Path) {
    let run = run(&options(work, "section(outcomes)", 1));
    let kind = |id: &str| {
        run.records.iter().find(|r| r.case.as_str().ends_with(id)).map(|r| r.outcome.kind()).unwrap()
    };
    assert_eq!(kind("outcomes/passes"), OutcomeKind::Pass);
    assert_eq!(kind("outcomes/fails"), OutcomeKind::Fail);
    assert_eq!(kind("outcomes/runs-a-container"), OutcomeKind::NotRun);
    assert_eq!(run.footer.as_ref().unwrap().status, RunStatus::Cancelled);
    assert_eq!(run.records.len(), run.header.plan.len());
}
