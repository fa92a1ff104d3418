//! `plimsoll bench` against real runtimes, as a process of its own: it becomes a subreaper and collects orphans.

// A test says its verdict by panicking.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use plimsoll_bench_scenarios::export;
use plimsoll_bench_scenarios::result::BenchRun;
use plimsoll_bench_stats::gate::Verdict;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_plimsoll");

fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIP: needs root");
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "skipped though PLIMSOLL_CI is set");
    }
    root
}

fn installed(paths: &[&str]) -> Option<String> {
    let found = paths.iter().find(|p| Path::new(p).exists());
    if found.is_none() {
        println!("SKIP: needs {}", paths[0]);
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "skipped though PLIMSOLL_CI is set");
    }
    found.map(|p| (*p).to_owned())
}

/// A runtime that works here, or `None` after saying why not.
fn runtime() -> Option<String> {
    if root() { installed(&["/usr/sbin/runc", "/usr/bin/runc"]) } else { None }
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
        command.arg("bench").args(args).arg("--output").arg(self.output());
        command.arg("--out").arg(self.dir.path().join("out"));
        command.arg("--work-dir").arg(self.dir.path().join("work"));
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

    /// Everything the program made in its work directory is gone, and no mount is left there.
    fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.path().join("work"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
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

fn twice(runc: &str, of_b: &str) -> (String, String) {
    (format!("oci:{runc}?name=a"), format!("oci:{runc}?name=b{of_b}"))
}

#[test]
fn a_runtime_against_itself_passes_and_its_phases_close() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = twice(&runc, "");
    let exports = bench.dir.path().join("exports");
    let (output, run) = bench.run(&[
        "-t",
        &a,
        "-t",
        &b,
        "--gate",
        "smoke",
        "--budget",
        "60",
        "--exports",
        &exports.display().to_string(),
    ]);
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
    assert!(said(&output).contains("again: plimsoll bench -t"), "{}", said(&output));
    let page = fs::read_to_string(exports.join("bench.html")).unwrap();
    assert!(page.matches("<svg").count() >= 3, "ladder, distribution and phases are drawn");
    let xml = fs::read_to_string(exports.join("bench.xml")).unwrap();
    let is_case = |tag: &str| {
        ["name=\"cpu.lifecycle\"", "classname=\"bench.cold-start.b\""].iter().all(|a| tag.contains(a))
    };
    assert!(xml.split("<testcase ").skip(1).filter_map(|t| t.split('>').next()).any(is_case), "{xml}");
    for name in
        ["bench.csv", "bench.md", "bencher.json", "action-smaller.json", "action-bigger.json", "bench.om"]
    {
        assert!(exports.join(name).metadata().unwrap().len() > 1, "{name}");
    }
    bench.assert_clean();
}

#[test]
fn a_runtime_that_fails_often_closes_the_gate() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = twice(&runc, "&inject=fail=2");
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
    let (a, b) = twice(&runc, "");
    let earlier = bench.dir.path().join("earlier.json").display().to_string();
    let common =
        ["-t", &a, "-t", &b, "-s", "lifecycle", "--metric", "faults.minor", "--gate", "smoke", "--sentinel"];
    let (output, first) = bench.run(&common);
    let first = first.unwrap_or_else(|| panic!("no run: {}", said(&output)));
    assert_eq!(first.scenarios[0].comparisons.len(), 2, "one of them the sentinel");
    assert_eq!(first.scenarios[0].arms.len(), 2, "the sentinel is no target");
    fs::rename(bench.output(), &earlier).unwrap();

    let (output, none) = bench.run(&[&common[..], &["--continues", &earlier]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("random choices of its own") && none.is_none(), "{}", said(&output));

    let (output, second) = bench.run(&[&common[..], &["--continues", &earlier, "--seed", "2"]].concat());
    let second = second.unwrap_or_else(|| panic!("no run: {}", said(&output)));
    let pairs = |run: &BenchRun| run.scenarios[0].comparisons[0].metrics[0].report.clone();
    assert_eq!(pairs(&second).n_earlier, pairs(&first).n);

    let text = fs::read_to_string(&earlier).unwrap();
    let kernel = first.key.fields["kernel"].clone();
    fs::write(&earlier, text.replace(&format!("\"kernel\":\"{kernel}\""), "\"kernel\":\"other\"")).unwrap();
    fs::remove_file(bench.output()).unwrap();
    for flag in ["--continues", "--baseline"] {
        let (output, none) = bench.run(&[&common[..], &[flag, &earlier, "--seed", "3"]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains("kernel: `other` there") && none.is_none(), "{}", said(&output));
    }
    bench.assert_clean();
}

#[test]
fn an_interrupt_cleans_up() {
    let Some(runc) = runtime() else { return };
    let bench = Bench::new();
    let (a, b) = twice(&runc, "");
    let child = bench
        .command(&["-t", &a, "-t", &b, "-s", "density", "--density", "60", "--budget", "60"])
        .spawn()
        .unwrap();
    // Interrupted as soon as a few containers live: they are seen as state files.
    let until = Instant::now() + Duration::from_secs(30);
    while count_states(&bench.dir.path().join("work")) < 3 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    bench.assert_clean();
}

/// State directories of containers below `dir`, at most four levels deep.
fn count_states(dir: &Path) -> usize {
    fn walk(dir: &Path, depth: usize) -> usize {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
        entries
            .map(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with("state-d") {
                    fs::read_dir(&path).into_iter().flatten().count()
                } else if depth > 0 && path.is_dir() && !name.starts_with("rootfs") {
                    walk(&path, depth - 1)
                } else {
                    0
                }
            })
            .sum()
    }
    walk(dir, 3)
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for (args, reason) in [
        (vec!["-t", "oci:./relative"], "does not exist"),
        (vec!["-t", "oci:/nonexistent/runtime"], "does not exist"),
        (vec!["-t", "oci:/bin/true", "-s", "nonsense"], "no scenario is called `nonsense`"),
        (vec!["-t", "oci:/bin/true", "-s", "pull"], "have no scenario `pull`"),
        (vec!["-t", "oci:/bin/true", "--metric", "start.api"], "no metric that decides"),
        (vec!["-t", "oci:/bin/true?name=a", "-t", "oci:/bin/false?name=a"], "two targets are called `a`"),
        (vec!["-t", "oci:/bin/true", "--gate", "nonsense"], "no gate profile"),
        (vec!["-t", "oci:/bin/true?inject=nonsense"], "no known defect"),
        (vec!["-t", "oci:/bin/true", "-t", "cri:unix:///nowhere.sock"], "do different work"),
        (vec!["-t", "cri:unix:///nowhere.sock"], "does not exist"),
    ] {
        let output = Bench::new().command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(reason), "{args:?}: {}", said(&output));
    }
}

#[test]
fn a_program_that_is_no_runtime_is_refused_and_leaves_nothing() {
    if !root() {
        return;
    }
    let bench = Bench::new();
    let (output, run) = bench.run(&["-t", "oci:/bin/true"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("failed its first lifecycle"), "{}", said(&output));
    assert!(run.is_none());
    bench.assert_clean();
}

/// Runs the scenarios of an endpoint for a moment each, and looks at what is measured, not at how fast.
fn endpoint(bench: &Bench, prefix: &[&str], target: &str) {
    let scenarios = [
        "cold-start",
        "lifecycle",
        "exec",
        "exec-stream",
        "stop",
        "network",
        "pull",
        "log",
        "throughput",
        "density",
        "churn",
    ];
    let mut command = bench.command(&["-t", target, "--gate", "smoke", "--budget", "2", "--density", "4"]);
    for scenario in scenarios {
        command.args(["-s", scenario]);
    }
    let mut whole = Command::new(PROGRAM);
    let command = if prefix.is_empty() {
        command
    } else {
        whole.args(prefix).arg(PROGRAM).args(command.get_args());
        whole.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        whole
    };
    let mut command = command;
    let output = command.output().unwrap();
    let bytes = fs::read(bench.output()).unwrap_or_else(|_| panic!("no run: {}", said(&output)));
    let run = export::read(&bytes).unwrap();
    assert_eq!(run.scenarios.len(), scenarios.len(), "{}", said(&output));
    for scenario in &run.scenarios {
        let arm = &scenario.arms[0];
        assert_eq!(arm.failed, 0, "{}: {:?}\n{}", scenario.name, arm.failures, said(&output));
        assert!(arm.attempts > 0, "{}", scenario.name);
    }
    let of = |scenario: &str, metric: &str| {
        run.scenario(scenario).unwrap().arms[0]
            .median(metric)
            .unwrap_or_else(|| panic!("{scenario}: no {metric}"))
    };
    for phase in ["sandbox", "create", "start", "exit", "delete", "sandbox-stop", "sandbox-remove"] {
        assert!(of("cold-start", &format!("phase.{phase}")) >= 0.0);
    }
    assert!(of("cold-start", "start.entrypoint") > of("cold-start", "phase.sandbox"));
    assert!(of("cold-start", "cpu.lifecycle") > 0.0, "the daemon has a cgroup of its own");
    assert!(of("exec-stream", "exec.entrypoint") > 0.0 && of("stop", "exit.detect") >= 0.0);
    assert!(of("log", "log.rate") > 0.0 && of("pull", "image.rate") > 0.0);
    assert_eq!(run.scenario("cold-start").unwrap().closures.len(), 2);
    let curve = |name: &str| run.scenarios.iter().flat_map(|s| &s.curves).any(|c| c.name == name);
    for name in ["throughput.closed", "density.overhead", "density.list-pods", "churn.netns"] {
        assert!(curve(name), "{name}");
    }
}

#[test]
fn the_bundled_cri_server_has_every_scenario() {
    if !root() {
        return;
    }
    let bench = Bench::new();
    endpoint(&bench, &[], "ref:cri");
    bench.assert_clean();
}

#[test]
fn containerd_has_every_scenario() {
    let there = |paths: &[&str]| installed(paths).is_some();
    if !root()
        || !there(&["/usr/bin/containerd"])
        || !there(&["/usr/lib/cni/ptp"])
        || !there(&["/usr/sbin/runc", "/usr/bin/runc"])
    {
        return;
    }
    let bench = Bench::new();
    let work = bench.dir.path().join("work").display().to_string();
    endpoint(&bench, &["testbed", "containerd", "--work-dir", &work, "--"], "@testbed?handler=runc");
    bench.assert_clean();
}
