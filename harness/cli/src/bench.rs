//! `plimsoll bench`: targets as for `run`, measured by the benchmark's driver with the embedded probe as guest.

use crate::args::{BenchArgs, Global};
use crate::output;
use crate::run::{bundled, fit_host, targets};
use crate::usage::{self, Failure};
use plimsoll_bench_scenarios::metric::Profile;
use plimsoll_bench_scenarios::{
    BenchError, BenchPlan, BenchRun, CgroupView, Progress, Target, export, scenario, selftest, sys, validate,
};
use plimsoll_engine::target::resolve_all;
use plimsoll_kit::job::{self, CgroupLayout};
use plimsoll_model::ExitCode;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `plimsoll bench`.
pub fn verb(global: &Global, args: &BenchArgs) -> Result<ExitCode, Failure> {
    fit_host(global)?;
    let profile = Profile::named(&args.gate).ok_or_else(|| {
        Failure::usage(format!("no gate profile is called `{}`", args.gate))
            .hint("known: release, strict, smoke")
    })?;
    check_scenarios(&args.scenario)?;
    let arms = arms(&args.target)?;
    let work = tempfile::Builder::new().prefix("plimsoll-bench-").tempdir_in(work_parent(global)?);
    let work = work.map_err(|e| usage::file("make a directory below", &global.work_dir, &e))?;
    let guest = guest(work.path())?;
    sys::catch_interrupts();
    if args.selftest {
        return run_selftest(args, &arms, guest, work.path());
    }
    let mut plan = BenchPlan::new(arms, args.scenario.clone(), guest);
    work.path().clone_into(&mut plan.work_dir);
    plan.profile = profile;
    plan.seed = args.seed;
    plan.budget = Duration::from_secs(args.budget);
    plan.load.density = args.density;
    plan.sentinel = args.sentinel;
    plan.fifo = args.fifo;
    plan.replay = Some(format!("plimsoll bench {}", replay(args)));
    if let Some(path) = &args.baseline {
        plan.continues = Some(Box::new(read(path)?));
    }
    if let Some(times) = args.repeat {
        let table = validate::repeat(&plan, times, &mut |p| tell(&p)).map_err(failure)?;
        output::data(&validate::markdown(&table));
        return Ok(if times == 0 { ExitCode::NothingRan } else { ExitCode::Success });
    }
    let result = plimsoll_bench_scenarios::run(&plan, &mut |p| tell(&p)).map_err(failure)?;
    output::data(&export::text(&result));
    let json = export::json(&result).map_err(|e| Failure::trouble(e.to_string()))?;
    let path = args.output.clone().unwrap_or_else(|| global.out.join("bench.json"));
    output::file(&path, json.as_bytes())?;
    if let Some(dir) = &args.exports {
        exports(&result, dir)?;
    }
    output::note(&format!("replay: plimsoll bench {}", replay(args)));
    Ok(match result.verdict() {
        _ if result.void.is_some() => ExitCode::Trouble,
        Some(plimsoll_bench_stats::Verdict::Fail) => ExitCode::Regression,
        Some(plimsoll_bench_stats::Verdict::Inconclusive) => ExitCode::CannotTell,
        _ => ExitCode::Success,
    })
}

/// Runs the verb in a child process: the driver becomes a subreaper and forks, which wants a process of its own.
pub fn in_child(global: &Global, args: &BenchArgs) -> Result<(), Failure> {
    let program = bundled()?.program;
    let mut command = std::process::Command::new(program);
    command.arg("bench").args(["--out", &global.out.display().to_string()]);
    command.args(["--work-dir", &global.work_dir.display().to_string()]);
    for target in &args.target {
        command.args(["-t", target]);
    }
    for scenario in &args.scenario {
        command.args(["--scenario", scenario]);
    }
    command.args([
        "--gate",
        &args.gate,
        "--budget",
        &args.budget.to_string(),
        "--density",
        &args.density.to_string(),
    ]);
    if let Some(path) = &args.output {
        command.arg("--output").arg(path);
    }
    let status =
        command.status().map_err(|e| Failure::trouble(format!("the benchmark could not be started: {e}")))?;
    // A comparison of different runtimes has winners and losers; only trouble is of interest here.
    match status.code() {
        Some(0 | 5 | 7) => Ok(()),
        _ => Err(Failure::trouble(format!("the benchmark ended with {status}"))
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

fn work_parent(global: &Global) -> Result<&Path, Failure> {
    fs::create_dir_all(&global.work_dir).map_err(|e| usage::file("make", &global.work_dir, &e))?;
    Ok(&global.work_dir)
}

fn guest(dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join("guest");
    let write = fs::write(&path, plimsoll_kit::probe::PROBE)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)));
    write.map_err(|e| usage::file("write", &path, &e))?;
    Ok(path)
}

fn arms(texts: &[String]) -> Result<Vec<Target>, Failure> {
    let resolved = resolve_all(&targets(texts)?, &bundled()?).map_err(|e| Failure::usage(e.to_string()))?;
    resolved
        .into_iter()
        .map(|r| match r.target {
            job::Target::Oci(oci) => Ok(Target {
                name: r.info.label,
                program: oci.program,
                args: oci.args,
                env: oci.env,
                cgroups: match oci.cgroups {
                    CgroupLayout::Host => CgroupView::Host,
                    CgroupLayout::Legacy => CgroupView::Legacy,
                    CgroupLayout::V2 => CgroupView::V2,
                },
            }),
            job::Target::Cri(_) => {
                Err(Failure::usage(format!("`{}`: bench drives OCI runtimes", r.info.spec)))
            }
        })
        .collect()
}

fn read(path: &Path) -> Result<BenchRun, Failure> {
    let bytes = fs::read(path).map_err(|e| usage::file("read", path, &e))?;
    export::read(&bytes).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

// By value, so that it can be handed to `map_err` as it is.
#[allow(clippy::needless_pass_by_value)]
fn failure(error: BenchError) -> Failure {
    let code =
        if matches!(error, BenchError::Interrupted) { ExitCode::Interrupted } else { ExitCode::Trouble };
    Failure { what: error.to_string(), hint: String::new(), code }
}

fn exports(result: &BenchRun, dir: &Path) -> Result<(), Failure> {
    let action = export::github_action(result);
    for (name, text) in [
        ("bench.csv", export::csv(result)),
        ("bench.md", export::markdown(result)),
        ("bench.html", export::html(result)),
        ("bencher.json", export::bencher(result).to_string()),
        ("action-smaller.json", action.smaller_is_better.to_string()),
        ("action-bigger.json", action.bigger_is_better.to_string()),
        ("bench.om", export::open_metrics(result)),
    ] {
        output::file(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

fn replay(args: &BenchArgs) -> String {
    let targets = args.target.iter().map(|t| format!("-t '{t}'"));
    let scenarios = args.scenario.iter().map(|s| format!("--scenario {s}"));
    let words: Vec<String> = targets.chain(scenarios).collect();
    let flags = [(args.sentinel, " --sentinel"), (args.fifo, " --fifo")];
    let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, text)| *text).collect();
    let BenchArgs { gate, seed, budget, density, .. } = args;
    let words = words.join(" ");
    format!("{words} --gate {gate} --seed {seed} --budget {budget} --density {density}{flags}")
}

fn tell(progress: &Progress) {
    match progress {
        Progress::Scenario { name, index, of } => output::note(&format!("[{index}/{of}] {name}")),
        Progress::Block { block, at_most, .. } if block % 50 == 0 => {
            output::note(&format!("  block {block}, at most {:.0} s more", at_most.as_secs_f64()));
        }
        Progress::Block { .. } => {}
        Progress::Step { says, .. } => output::note(&format!("  {says}")),
        Progress::Note(text) => output::note(&format!("note: {text}")),
    }
}

fn run_selftest(args: &BenchArgs, arms: &[Target], guest: PathBuf, work: &Path) -> Result<ExitCode, Failure> {
    let Some(runtime) = arms.first() else { return Err(Failure::usage("--selftest needs a target")) };
    let plan = selftest::SelftestPlan {
        runtime: runtime.clone(),
        wrapper: bundled()?.program,
        guest,
        work_dir: work.to_owned(),
        seed: args.seed,
        budget: Duration::from_secs(args.budget),
        only: None,
    };
    let rows = selftest::run_all(&plan, &mut |p| tell(&p)).map_err(failure)?;
    output::data(&selftest::markdown(&rows));
    let told = !rows.is_empty() && rows.iter().all(|r| r.passed() || r.undecided());
    Ok(match (told, rows.iter().any(selftest::RowResult::undecided)) {
        (true, true) => ExitCode::CannotTell,
        (true, false) => ExitCode::Success,
        (false, _) => ExitCode::GateClosed,
    })
}
