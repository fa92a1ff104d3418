//! The driver against a real runtime, as a process of its own: it becomes a subreaper and collects orphans.

// A test says its verdict by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use plimsoll_bench_scenarios::export;
use plimsoll_bench_scenarios::result::BenchRun;
use plimsoll_bench_stats::gate::Verdict;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plimsoll-bench");

/// A runtime that works here, or `None` after saying why not.
fn runtime() -> Option<String> {
    let usable = rustix::process::geteuid().as_raw() == 0;
    let found = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|p| Path::new(p).exists());
    if let (true, Some(path)) = (usable, found) {
        return Some(path.to_owned());
    }
    println!("SKIP: needs root and runc");
    assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "skipped though PLIMSOLL_CI is set");
    None
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg("--output").arg(self.output()).env("TMPDIR", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self) -> PathBuf {
        self.dir.path().join("run.json")
    }

    fn run(&self, args: &[&str]) -> (Output, Option<BenchRun>) {
        let output = self.command(args).output().unwrap();
        let run = fs::read(self.output()).ok().map(|bytes| export::read(&bytes).unwrap());
        (output, run)
    }

    /// Everything the program made in its directory is gone, and so are its cgroups.
    fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("plimsoll-bench-"))
            .collect();
        assert!(left.is_empty(), "left in the work directory: {left:?}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.path().display().to_string();
        assert!(!mounts.contains(&dir), "a mount was left below {dir}");
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_runtime_against_itself_passes_and_its_phases_close() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = (format!("a={runc}"), format!("b={runc}"));
    let (output, run) =
        bench.run(&["-t", &a, "-t", &b, "-s", "cold-start", "--gate", "smoke", "--budget", "60"]);
    let run = run.unwrap_or_else(|| panic!("no run: {}", said(&output)));
    // On a busy host "cannot tell" is an honest answer; "slower" never is.
    assert_ne!(run.verdict(), Some(Verdict::Fail), "{}", said(&output));
    assert!(matches!(output.status.code(), Some(0 | 7)), "{}", said(&output));
    let scenario = &run.scenarios[0];
    assert!(scenario.blocks >= 10, "{}", said(&output));
    for arm in &scenario.arms {
        assert_eq!(arm.failed, 0, "{:?}", arm.failures);
        let median = |name: &str| arm.median(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(median("start.entrypoint") > 0.5 && median("cpu.lifecycle") > 0.5);
        assert!(median("start.entrypoint") < median("lifecycle.wall"));
        assert!(median("start.x-floor") > 1.0, "a runtime cannot be faster than the floor");
        assert!(median("phase.create") < median("start.api"));
    }
    assert_eq!(scenario.closures.len(), 4);
    for (target, what, closure) in &scenario.closures {
        // The gate for the closure is 1 %; under tests that run in parallel the harness itself may wait.
        assert!((0.8..=1.01).contains(&closure.ratio), "{target}: {what}: {closure:?}");
    }
    assert!(run.harness_gap_us().is_some());
    bench.assert_clean();
}

#[test]
fn a_runtime_that_fails_often_closes_the_gate() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = (format!("a={runc},inject=none"), format!("b={runc},inject=fail=2"));
    let (output, run) =
        bench.run(&["-t", &a, "-t", &b, "-s", "lifecycle", "--gate", "smoke", "--budget", "60"]);
    let run = run.unwrap_or_else(|| panic!("no run: {}", said(&output)));
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let arm = &run.scenarios[0].arms[1];
    assert!(arm.failed >= 5 && arm.failed < arm.attempts, "{} of {}", arm.failed, arm.attempts);
    let series = arm.series("run.wall").unwrap();
    let kept = series.samples.iter().flatten().count() as u64;
    assert_eq!(kept, arm.attempts - arm.failed, "a failure became a sample");
    bench.assert_clean();
}

#[test]
fn an_earlier_run_is_continued_and_a_repeated_seed_refused() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = (format!("a={runc}"), format!("b={runc}"));
    let earlier = bench.dir.path().join("earlier.json").display().to_string();
    let common =
        ["-t", &a, "-t", &b, "-s", "lifecycle", "--metric", "faults.minor", "--gate", "smoke", "--sentinel"];
    let (output, first) = bench.run(&common);
    let first = first.unwrap_or_else(|| panic!("no run: {}", said(&output)));
    assert_eq!(first.scenarios[0].comparisons.len(), 2, "one of them the sentinel");
    assert_eq!(first.scenarios[0].arms.len(), 2, "the sentinel is no target");
    fs::rename(bench.output(), &earlier).unwrap();

    let (output, none) = bench.run(&[&common[..], &["--continues", &earlier]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("random choices of its own") && none.is_none(), "{}", said(&output));

    let (output, second) = bench.run(&[&common[..], &["--continues", &earlier, "--seed", "2"]].concat());
    let second = second.unwrap_or_else(|| panic!("no run: {}", said(&output)));
    let pairs = |run: &BenchRun| run.scenarios[0].comparisons[0].metrics[0].report.clone();
    assert_eq!(pairs(&second).n_earlier, pairs(&first).n);

    let text = fs::read_to_string(&earlier).unwrap();
    let kernel = first.key.fields["kernel"].clone();
    fs::write(&earlier, text.replace(&format!("\"kernel\":\"{kernel}\""), "\"kernel\":\"other\"")).unwrap();
    fs::remove_file(bench.output()).unwrap();
    let (output, none) = bench.run(&[&common[..], &["--continues", &earlier, "--seed", "3"]].concat());
    assert!(said(&output).contains("kernel: `other` there") && none.is_none(), "{}", said(&output));
    bench.assert_clean();
}

#[test]
fn an_interrupt_cleans_up() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = (format!("a={runc}"), format!("b={runc}"));
    let child = bench
        .command(&["-t", &a, "-t", &b, "-s", "density", "--density", "60", "--budget", "60"])
        .spawn()
        .unwrap();
    // Interrupted as soon as a few containers live: they are seen as state files.
    let until = Instant::now() + Duration::from_secs(30);
    while count_states(bench.dir.path()) < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    bench.assert_clean();
}

fn count_states(dir: &Path) -> usize {
    let sub =
        |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
    sub(dir)
        .iter()
        .filter(|p| p.to_string_lossy().contains("plimsoll-bench-"))
        .flat_map(|p| sub(p))
        .filter(|p| p.to_string_lossy().contains("/state-d"))
        .flat_map(|p| sub(&p))
        .count()
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (args, reason) in [
        (vec!["-t", "a=relative"], "not an absolute path"),
        (vec!["-t", "a=/nonexistent/runtime"], "not an absolute path of a program"),
        (vec!["-t", "a=/bin/true", "-s", "nonsense"], "no scenario `nonsense`"),
        (vec!["-t", "a=/bin/true", "-t", "a=/bin/false"], "two targets are named `a`"),
        (vec!["-t", "a=/bin/true", "--gate", "nonsense"], "unknown gate profile"),
        (vec!["-t", "nonsense"], "write name=PROGRAM"),
    ] {
        let output = Bench::new().command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert!(said(&output).contains(reason), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_program_that_is_no_runtime_is_refused_and_leaves_nothing() {
    if runtime().is_none() {
        return;
    }
    let bench = Bench::new();
    let (output, run) = bench.run(&["-t", "a=/bin/true"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("failed its first lifecycle"), "{}", said(&output));
    assert!(run.is_none());
    bench.assert_clean();
}
