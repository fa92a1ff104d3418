//! `plimsoll bench`: targets as for `run`, measured by the benchmark's driver with the embedded probe as guest.
//!
//! The driver wants a process of its own: it becomes a subreaper, and it forks before it starts threads. What has to
//! be running besides (a bundled or private CRI server) is started by one process, and the driver is its child.

pub mod args;
mod daemons;
mod exports;
mod target;
pub mod worker;

use crate::args::{BenchArgs, Global};
use crate::output;
use crate::run::{bundled, fit_host};
use crate::usage::{self, Failure};
use daemons::Daemons;
use plimsoll_bench_scenarios::metric::Profile;
use plimsoll_bench_scenarios::{
    BenchError, BenchPlan, BenchRun, Interface, Progress, Target, export, history, scenario, selftest, sys,
    validate,
};
use plimsoll_model::ExitCode;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `plimsoll bench`.
pub fn verb(global: &Global, args: &BenchArgs) -> Result<ExitCode, Failure> {
    fit_host(global)?;
    let profile = Profile::named(&args.gate).ok_or_else(|| {
        Failure::usage(format!("no gate profile is called `{}`", args.gate))
            .hint("known: release, strict, smoke")
    })?;
    check_scenarios(&args.scenario)?;
    fs::create_dir_all(&global.work_dir).map_err(|e| usage::file("make", &global.work_dir, &e))?;
    if args.worker {
        let work = tempfile::Builder::new().prefix("plimsoll-bench-").tempdir_in(&global.work_dir);
        let work = work.map_err(|e| usage::file("make a directory below", &global.work_dir, &e))?;
        return worker::measure(&guest(work.path())?, work.path());
    }
    if args.target.iter().any(|t| daemons::is_ours(t)) {
        return beside_daemons(global, args);
    }
    let work = tempfile::Builder::new().prefix("plimsoll-bench-").tempdir_in(&global.work_dir);
    let work = work.map_err(|e| usage::file("make a directory below", &global.work_dir, &e))?;
    let arms = target::resolve(&args.target, work.path())?;
    let guest = guest(work.path())?;
    sys::catch_interrupts();
    if args.selftest {
        return run_selftest(args, &arms, guest, work.path());
    }
    let mut plan = BenchPlan::new(arms, args.scenario.clone(), guest);
    work.path().clone_into(&mut plan.work_dir);
    plan.profile = profile;
    plan.metrics = (!args.metric.is_empty()).then(|| args.metric.clone());
    plan.seed = args.seed;
    plan.budget = Duration::from_secs(args.budget);
    plan.load.density = args.density;
    plan.sentinel = args.sentinel;
    plan.fifo = args.fifo;
    plan.replay = Some(args.again());
    if let Some(path) = &args.continues {
        plan.continues = Some(Box::new(read(path)?));
    }
    let standard = args.baseline.as_deref().map(read).transpose()?;
    let mut teller = Teller::new(&plan);
    if let Some(times) = args.repeat {
        let table = validate::repeat(&plan, times, &mut |p| teller.tell(&p)).map_err(failure)?;
        output::data(&validate::markdown(&table));
        return Ok(if times == 0 { ExitCode::NothingRan } else { ExitCode::Success });
    }
    let mut result = plimsoll_bench_scenarios::run(&plan, &mut |p| teller.tell(&p)).map_err(failure)?;
    if let Some(standard) = &standard {
        result.drifts = history::against(standard, &result).map_err(failure)?;
    }
    finish(global, args, &result)
}

/// Prints and writes the result; its meaning as an exit code.
fn finish(global: &Global, args: &BenchArgs, result: &BenchRun) -> Result<ExitCode, Failure> {
    output::data(&export::text(result));
    let json = export::json(result).map_err(|e| Failure::trouble(e.to_string()))?;
    let path = args.output.clone().unwrap_or_else(|| global.out.join("bench.json"));
    output::file(&path, json.as_bytes())?;
    if let Some(dir) = &args.exports {
        exports::write(result, &json, dir)?;
    }
    Ok(match result.verdict() {
        _ if result.void.is_some() => ExitCode::Trouble,
        Some(plimsoll_bench_stats::Verdict::Fail) => ExitCode::Regression,
        Some(plimsoll_bench_stats::Verdict::Inconclusive) => ExitCode::CannotTell,
        _ => ExitCode::Success,
    })
}

/// Starts the servers that are asked for, drives the benchmark in a child, and stops them.
fn beside_daemons(global: &Global, args: &BenchArgs) -> Result<ExitCode, Failure> {
    sys::catch_interrupts();
    let daemons = Daemons::start(&args.target, &global.work_dir)?;
    let inner = BenchArgs { replay: Some(args.again()), ..args.clone() };
    let outcome = child(global, &inner, daemons.targets());
    daemons.stop();
    outcome
}

fn child(global: &Global, args: &BenchArgs, targets: &[String]) -> Result<ExitCode, Failure> {
    let trouble = |e: std::io::Error| Failure::trouble(format!("the benchmark could not be started: {e}"));
    let mut command = Command::new(bundled()?.program);
    command.arg("bench").arg("--out").arg(&global.out).arg("--work-dir").arg(&global.work_dir);
    let mut child = command.args(args.words(targets)).spawn().map_err(trouble)?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().map_err(trouble)? {
            let code =
                status.code().and_then(|c| ExitCode::ALL.into_iter().find(|e| i32::from(e.code()) == c));
            return code.ok_or_else(|| Failure::trouble(format!("the benchmark ended with {status}")));
        }
        if sys::interrupted() && !std::mem::replace(&mut told, true) {
            // A terminal tells both processes, anybody else only this one; the child takes both as one request.
            let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the verb in a child process, for a process that has threads and children already.
pub fn in_child(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    // A comparison of different runtimes has winners and losers; only trouble is of interest here.
    match child(global, args, &args.target)? {
        ExitCode::Success | ExitCode::Regression | ExitCode::CannotTell => Ok(()),
        other => Err(Failure::trouble(format!("the benchmark ended with exit code {}", other.code()))
            .hint("run `plimsoll bench` by itself to see why")),
    }
}

fn check_scenarios(names: &[String]) -> Result<(), Failure> {
    let known: Vec<&str> = scenario::SCENARIOS.iter().map(|s| s.name).collect();
    match names.iter().find(|n| !known.contains(&n.as_str())) {
        Some(name) => Err(Failure::usage(format!("no scenario is called `{name}`"))
            .hint(format!("known: {}", known.join(", ")))),
        None => Ok(()),
    }
}

fn guest(dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join("guest");
    let write = fs::write(&path, plimsoll_kit::probe::PROBE)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)));
    write.map_err(|e| usage::file("write", &path, &e))?;
    Ok(path)
}

fn read(path: &Path) -> Result<BenchRun, Failure> {
    let bytes = fs::read(path).map_err(|e| usage::file("read", path, &e))?;
    export::read(&bytes).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

// By value, so that it can be handed to `map_err` as it is.
#[allow(clippy::needless_pass_by_value)]
fn failure(error: BenchError) -> Failure {
    let (code, hint) = match &error {
        BenchError::Interrupted => (ExitCode::Interrupted, ""),
        BenchError::Plan(_) => (ExitCode::Usage, ""),
        BenchError::NotComparable { .. } => (
            ExitCode::Usage,
            "compare runs of one host, one method and the same programs; leave the option out otherwise",
        ),
        _ => (ExitCode::Trouble, ""),
    };
    Failure { what: error.to_string(), hint: hint.to_owned(), code }
}

/// Tells how a run goes on, and how long it may still take.
struct Teller {
    budget: Duration,
    /// Scenarios after the present one.
    after: u32,
    last: Option<Instant>,
}

impl Teller {
    /// Lines of one scenario are at least so far apart.
    const APART: Duration = Duration::from_secs(3);

    fn new(plan: &BenchPlan) -> Self {
        Self { budget: plan.budget, after: plan.scenarios.len() as u32, last: None }
    }

    fn tell(&mut self, progress: &Progress) {
        match progress {
            Progress::Scenario { name, index, of } => {
                self.after = (of - index) as u32;
                self.last = Some(Instant::now());
                let most = self.budget * (self.after + 1);
                output::note(&format!("[{index}/{of}] {name}; about {} s left at most", most.as_secs()));
            }
            Progress::Block { block, verdicts, at_most, .. } => {
                if self.last.is_some_and(|last| last.elapsed() < Self::APART) {
                    return;
                }
                self.last = Some(Instant::now());
                let open =
                    |v: &plimsoll_bench_stats::Verdict| *v == plimsoll_bench_stats::Verdict::Inconclusive;
                let decided = verdicts.iter().filter(|(_, _, v)| !open(v)).count();
                let all = *at_most + self.budget * self.after;
                output::note(&format!(
                    "  block {block}: {decided} of {} gates decided; at most {} s here, {} s in all",
                    verdicts.len(),
                    at_most.as_secs(),
                    all.as_secs()
                ));
            }
            Progress::Step { says, .. } => output::note(&format!("  {says}")),
            Progress::Note(text) => output::note(&format!("note: {text}")),
        }
    }
}

fn run_selftest(args: &BenchArgs, arms: &[Target], guest: PathBuf, work: &Path) -> Result<ExitCode, Failure> {
    let Some(Target::Oci(runtime)) = arms.first() else {
        return Err(Failure::usage("--selftest breaks an OCI runtime, and the first target is none")
            .hint("the statistics are the same for both interfaces: give an OCI runtime"));
    };
    let plan = selftest::SelftestPlan {
        runtime: runtime.clone(),
        wrapper: bundled()?.program,
        guest,
        work_dir: work.to_owned(),
        seed: args.seed,
        budget: Duration::from_secs(args.budget),
        only: args.only.clone(),
    };
    let mut note = |p: Progress| {
        if let Progress::Note(text) = p {
            output::note(&text);
        }
    };
    let rows = selftest::run_all(&plan, &mut note).map_err(failure)?;
    output::data(&selftest::markdown(&rows));
    if rows.is_empty() {
        return Ok(ExitCode::NothingRan);
    }
    let told = rows.iter().all(|r| r.passed() || r.undecided());
    Ok(match (told, rows.iter().any(selftest::RowResult::undecided)) {
        (true, true) => ExitCode::CannotTell,
        (true, false) => ExitCode::Success,
        (false, _) => ExitCode::GateClosed,
    })
}

/// How targets of both kinds are told apart before anything is started.
fn interface(text: &str) -> Interface {
    if ["cri:", "ref:cri", "@testbed"].iter().any(|p| text.starts_with(p)) {
        Interface::Cri
    } else {
        Interface::Oci
    }
}
