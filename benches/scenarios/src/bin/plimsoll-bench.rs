//! The benchmark on its own: driver, guest and injecting wrapper in one small program.
//!
//! `plimsoll bench` does the same with the embedded probe; this one is for working on the benchmark.
#![allow(clippy::print_stdout)]

use clap::Parser;
use plimsoll_bench_scenarios::metric::Profile;
use plimsoll_bench_scenarios::{
    BenchError, BenchPlan, CgroupView, Progress, Target, export, inject, selftest, sys, validate,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Compare container runtimes.
#[derive(Parser)]
struct Options {
    /// `name=PROGRAM[,cgroups=legacy|v2][,arg=ARGUMENT][,inject=DEFECT]...`; the first is the baseline.
    #[arg(short, long = "target", required = true)]
    target: Vec<String>,
    /// Test the benchmark itself: inject known defects into the first target.
    #[arg(long)]
    selftest: bool,
    /// Repeat the comparison so many times and count the verdicts: false alarms and power of the gate.
    #[arg(long)]
    repeat: Option<u64>,
    /// With --selftest: only rows whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Also write CSV, Markdown, Bencher, github-action-benchmark and `OpenMetrics` files into this directory.
    #[arg(long)]
    exports: Option<PathBuf>,
    /// Scenarios; repeat for more.
    #[arg(short, long = "scenario", default_value = "cold-start")]
    scenario: Vec<String>,
    /// The guest program; this program itself when absent.
    #[arg(long)]
    guest: Option<PathBuf>,
    /// Only this metric decides; repeat for more.
    #[arg(long = "metric")]
    metric: Vec<String>,
    /// Gate profile: release, strict or smoke.
    #[arg(long, default_value = "release")]
    gate: String,
    /// Seed of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Longest time per scenario, seconds.
    #[arg(long, default_value_t = 60)]
    budget: u64,
    /// Add a copy of the baseline that voids the run when it differs.
    #[arg(long)]
    sentinel: bool,
    /// Run the lifecycles in `SCHED_FIFO`.
    #[arg(long)]
    fifo: bool,
    /// Most live containers in the density scenario.
    #[arg(long, default_value_t = 50)]
    density: usize,
    /// Continue the evidence of an earlier run.
    #[arg(long)]
    continues: Option<PathBuf>,
    /// Where to write the run as JSON.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Some(code) = inject::wrapper_main() {
        return code;
    }
    let first = std::env::args().nth(1).unwrap_or_default();
    match first.as_str() {
        "stamp" => stamp(),
        "stamp-pause" => {
            // Blocked before the stamp is written: whoever sees the stamp may send the signal.
            let term = sys::Term::block();
            let code = stamp();
            term.wait();
            code
        }
        _ => match drive(&Options::parse()) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("plimsoll-bench: {error}");
                let stopped = matches!(error.downcast_ref(), Some(BenchError::Interrupted));
                ExitCode::from(if stopped { 130 } else { 3 })
            }
        },
    }
}

/// The guest: its first instruction's time, as near to the beginning as a Rust `main` is.
fn stamp() -> ExitCode {
    let now = sys::now_ns();
    match std::io::stdout().write_all(format!("{{\"stamp_ns\":{now}}}\n").as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn target(text: &str) -> Result<Target, String> {
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("`{text}`: write name=PROGRAM"))?;
    let mut parts = rest.split(',');
    let program = PathBuf::from(parts.next().unwrap_or_default());
    let mut out = Target { name: name.into(), program, args: vec![], env: vec![], cgroups: CgroupView::Host };
    for part in parts {
        match part.split_once('=') {
            Some(("cgroups", "legacy")) => out.cgroups = CgroupView::Legacy,
            Some(("cgroups", "v2")) => out.cgroups = CgroupView::V2,
            Some(("arg", value)) => out.args.push(value.into()),
            Some(("env", value)) => {
                let (k, v) = value.split_once(':').ok_or("env is written env=NAME:VALUE")?;
                out.env.push((k.into(), v.into()));
            }
            Some(("inject", text)) => {
                // The program becomes the injecting wrapper in front of itself.
                let me = std::env::current_exe().map_err(|e| e.to_string())?;
                let runtime = std::mem::replace(&mut out.program, me);
                out.env.push((inject::INJECT.into(), text.into()));
                out.env.push((inject::RUNTIME.into(), runtime.display().to_string()));
                out.env.push((inject::SCRATCH.into(), std::env::temp_dir().display().to_string()));
            }
            _ => return Err(format!("`{part}`: known are cgroups=legacy, cgroups=v2, arg=, env=, inject=")),
        }
    }
    Ok(out)
}

fn drive(options: &Options) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let targets: Vec<Target> = options.target.iter().map(|t| target(t)).collect::<Result<_, _>>()?;
    let guest = match &options.guest {
        Some(path) => path.clone(),
        None => std::env::current_exe()?,
    };
    if options.selftest {
        return run_selftest(options, &targets, guest);
    }
    let mut plan = BenchPlan::new(targets, options.scenario.clone(), guest);
    plan.profile = Profile::named(&options.gate).ok_or("unknown gate profile")?;
    plan.replay = Some(std::env::args().collect::<Vec<_>>().join(" "));
    plan.metrics = (!options.metric.is_empty()).then(|| options.metric.clone());
    plan.seed = options.seed;
    plan.budget = Duration::from_secs(options.budget);
    plan.sentinel = options.sentinel;
    plan.fifo = options.fifo;
    plan.load.density = options.density;
    if let Some(path) = &options.continues {
        plan.continues = Some(Box::new(serde_json::from_slice(&std::fs::read(path)?)?));
    }
    sys::catch_interrupts();
    if let Some(times) = options.repeat {
        let table = validate::repeat(&plan, times, &mut |p| tell(&p))?;
        print!("{}", validate::markdown(&table));
        return Ok(ExitCode::SUCCESS);
    }
    let run = plimsoll_bench_scenarios::run(&plan, &mut |p| tell(&p))?;
    print!("{}", export::text(&run));
    if let Some(path) = &options.output {
        write(path, &export::json(&run)?)?;
    }
    if let Some(dir) = &options.exports {
        std::fs::create_dir_all(dir)?;
        let action = export::github_action(&run);
        for (name, text) in [
            ("bench.csv", export::csv(&run)),
            ("bench.md", export::markdown(&run)),
            ("bench.html", export::html(&run)),
            ("bencher.json", export::bencher(&run).to_string()),
            ("action-smaller.json", action.smaller_is_better.to_string()),
            ("action-bigger.json", action.bigger_is_better.to_string()),
            ("bench.om", export::open_metrics(&run)),
        ] {
            write(&dir.join(name), &text)?;
        }
    }
    Ok(match run.verdict() {
        _ if run.void.is_some() => ExitCode::from(3),
        Some(plimsoll_bench_stats::Verdict::Fail) => ExitCode::from(5),
        Some(plimsoll_bench_stats::Verdict::Inconclusive) => ExitCode::from(7),
        _ => ExitCode::SUCCESS,
    })
}

fn tell(progress: &Progress) {
    match progress {
        Progress::Scenario { name, index, of } => eprintln!("[{index}/{of}] {name}"),
        Progress::Block { block, at_most, .. } if block % 10 == 0 => {
            eprintln!("  block {block}, at most {:.0} s more", at_most.as_secs_f64());
        }
        Progress::Block { .. } => {}
        Progress::Step { says, .. } => eprintln!("  {says}"),
        Progress::Note(text) => eprintln!("note: {text}"),
    }
}

/// A file is there whole or not at all.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text)?;
    std::fs::rename(part, path)
}

fn run_selftest(
    options: &Options,
    targets: &[Target],
    guest: PathBuf,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let plan = selftest::SelftestPlan {
        runtime: targets[0].clone(),
        wrapper: std::env::current_exe()?,
        guest,
        work_dir: std::env::temp_dir(),
        seed: options.seed,
        budget: Duration::from_secs(options.budget),
        only: options.only.clone(),
    };
    sys::catch_interrupts();
    let rows = selftest::run_all(&plan, &mut |p| tell(&p))?;
    print!("{}", selftest::markdown(&rows));
    let told = rows.iter().all(|r| r.passed() || r.undecided());
    Ok(if !rows.is_empty() && told && rows.iter().any(selftest::RowResult::undecided) {
        ExitCode::from(7)
    } else if !rows.is_empty() && told {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
