//! `plimsoll run`, and the main job when no verb is given.

use crate::args::{BenchArgs, Dialect, Format, Global, RunArgs, SelectArgs};
use crate::browse;
use crate::output;
use crate::partition;
use crate::report;
use crate::rerun;
use crate::stress;
use crate::suites;
use crate::usage::{self, Failure};
use plimsoll_engine::run::{Finished, Interrupt};
use plimsoll_engine::target::Bundled;
use plimsoll_engine::{Filter, RunOptions, Timings, doctor};
use plimsoll_kit::case::Drives;
use plimsoll_kit::job::Limits;
use plimsoll_model::expectation::Subject;
use plimsoll_model::{Event, ExitCode, Expectations, HostFacts, Judgement, Run, TargetSpec};
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Program and version as reports show it.
pub const TOOL: &str = concat!("plimsoll ", env!("CARGO_PKG_VERSION"));

/// This executable, for workers and for the bundled runtimes.
pub fn bundled() -> Result<Bundled, Failure> {
    let program =
        std::env::current_exe().map_err(|e| Failure::trouble(format!("cannot find this executable: {e}")))?;
    Ok(Bundled { program, oci_verb: "oci".into(), cri_verb: "cri".into() })
}

/// Looks at the host and refuses to go on where nothing can run.
pub fn fit_host(global: &Global) -> Result<HostFacts, Failure> {
    let (facts, findings) = doctor::examine(&global.work_dir);
    match findings.iter().find(|f| f.grade == doctor::Grade::Broken) {
        Some(broken) => {
            Err(Failure::trouble(format!("{}: {}", broken.topic, broken.found)).hint(broken.fix.clone()))
        }
        None => Ok(facts),
    }
}

/// Parses target strings.
pub fn targets(texts: &[String]) -> Result<Vec<TargetSpec>, Failure> {
    texts
        .iter()
        .map(|t| {
            crate::testbed::expand(t)?.parse().map_err(|e: plimsoll_model::target::TargetError| {
                Failure::usage(e.to_string())
                    .hint("examples: runc, oci:/usr/bin/crun?cgroups=legacy, ref:oci, ref:cri, cri:unix:///run/containerd/containerd.sock")
            })
        })
        .collect()
}

/// A seed that differs from run to run.
pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64) ^ (u64::from(std::process::id()) << 32)
}

/// `plimsoll run`.
pub fn verb(global: &Global, args: &RunArgs) -> Result<ExitCode, Failure> {
    let reports = args.report.iter().map(|r| report::Wanted::parse(r)).collect::<Result<Vec<_>, _>>()?;
    if args.embargo && matches!(args.format, Format::Jsonl) {
        return Err(Failure::usage("--embargo and --format jsonl contradict each other")
            .hint("run.jsonl in the output directory always holds every event"));
    }
    let options = options(global, args)?;
    if args.dry_run {
        return dry_run(&options);
    }
    let whole = options.filters.is_empty() && options.selection.partition.is_none();
    let run = match args.stress_count {
        Some(times) => stress::repeat(times, global, |round| {
            let options = RunOptions { seed: options.seed.wrapping_add(round), ..options.clone() };
            execute(global, &options, args.format, whole)
        })?,
        None => execute(global, &options, args.format, whole)?.run,
    };
    let code = run.footer.as_ref().map_or(ExitCode::Trouble, |f| code_of(f.exit_code));
    let run = if args.embargo { report::published(&run, args.strict) } else { run };
    let style = report::Style { strict: args.strict, dialect: args.dialect };
    report::write_standard(&run, &global.out, style)?;
    for wanted in &reports {
        wanted.write(&run, None, style)?;
    }
    show(&run, args.format, &global.out);
    let excused = args.exit_zero
        && !matches!(code, ExitCode::NothingRan | ExitCode::Interrupted | ExitCode::Terminated);
    Ok(if excused { ExitCode::Success } else { code })
}

/// The exit code that a footer names.
pub fn code_of(code: u8) -> ExitCode {
    ExitCode::ALL.into_iter().find(|c| c.code() == code).unwrap_or(ExitCode::Trouble)
}

fn options(global: &Global, args: &RunArgs) -> Result<RunOptions, Failure> {
    let (mut selection, mut filters) = browse::selection(&args.select)?;
    let mut texts = args.target.clone();
    if let [which, path] = args.rerun.as_slice() {
        let again = rerun::failed(which, Path::new(path))?;
        if !args.target_given {
            texts = again.targets;
        }
        filters = vec![format!("rerun {which} {path}: {} cases", again.cases.len())];
        selection.filters = again.cases.iter().map(|c| Filter::exact(c)).reduce(either).into_iter().collect();
    }
    let timings = args.balance.as_deref().map(report::read).transpose()?;
    let timings = timings.as_ref().map(Timings::of);
    let environment = |name: &str| std::env::var(name).ok();
    if let Some(text) = &args.partition {
        selection.partition = Some(partition::read(text, timings, &environment)?);
    }
    if !(args.timeout_scale.is_finite() && args.timeout_scale > 0.0) {
        return Err(Failure::usage("--timeout-scale takes a number above 0"));
    }
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get() + 1));
    if jobs == 0 {
        return Err(Failure::usage("--jobs takes a number above 0"));
    }
    let targets = targets(&texts)?;
    let expectations = args.expectations.as_deref().map(read_expectations).transpose()?.unwrap_or_default();
    Ok(RunOptions {
        targets,
        suites: suites::ALL.to_vec(),
        selection,
        filters,
        jobs,
        limits: Limits::default().scaled(args.timeout_scale),
        seed: args.seed.unwrap_or_else(fresh_seed),
        retries: args.retries,
        max_fail: if args.fail_fast { 1 } else { args.max_fail },
        keep: args.keep.as_ref().map(|k| std::path::absolute(k).unwrap_or_else(|_| k.clone())),
        work_root: global.work_dir.clone(),
        expectations,
        strict: args.strict,
        command: std::env::args().skip(1).chain(global.resolved.iter().cloned()).collect(),
        challenge: args.challenge.clone(),
        tool: TOOL.to_owned(),
        between: None,
        bundled: bundled()?,
        host: fit_host(global)?,
    })
}

fn either(a: Filter, b: Filter) -> Filter {
    Filter::Or(Box::new(a), Box::new(b))
}

/// Prints what would run: targets that can be found, and the cases of this share.
fn dry_run(options: &RunOptions) -> Result<ExitCode, Failure> {
    let targets = plimsoll_engine::target::resolve_all(&options.targets, &options.bundled);
    let targets = targets.map_err(|e| Failure::from(plimsoll_engine::EngineError::Target(e)))?;
    let mut drives = Vec::new();
    for (kind, any) in [
        (Drives::Oci, options.targets.iter().any(TargetSpec::is_oci)),
        (Drives::Cri, options.targets.iter().any(TargetSpec::is_cri)),
    ] {
        drives.extend(any.then_some(kind));
    }
    let plan = plimsoll_engine::Plan::everything(&options.suites, &drives)
        .and_then(|plan| plan.select(&options.selection))
        .map_err(|e| Failure::from(plimsoll_engine::EngineError::Plan(e)))?;
    for target in &targets {
        output::note(&format!("target {}: {}", target.info.label, target.info.spec));
    }
    output::data(&browse::table(&plan.cases));
    Ok(if plan.cases.is_empty() { ExitCode::NothingRan } else { ExitCode::Success })
}

/// Reads an expectations file.
pub fn read_expectations(path: &Path) -> Result<Expectations, Failure> {
    let text = fs::read_to_string(path).map_err(|e| usage::file("read", path, &e))?;
    toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

/// Runs, writing `run.jsonl` as events come, and shows progress.
fn execute(global: &Global, options: &RunOptions, format: Format, whole: bool) -> Result<Finished, Failure> {
    fs::create_dir_all(&global.out).map_err(|e| usage::file("make", &global.out, &e))?;
    let path = global.out.join("run.jsonl");
    let mut file = File::create(&path).map_err(|e| usage::file("write", &path, &e))?;
    let mut progress = Progress::new(format, global.verbose);
    let mut write_error = None;
    let mut sink = |event: &Event| {
        let line = serde_json::to_string(event).unwrap_or_default();
        if let Err(e) = writeln!(file, "{line}") {
            write_error.get_or_insert(e);
        }
        progress.event(event, &line);
    };
    let exit_code =
        |run: &Run, interrupt: Option<Interrupt>| exit_code(options, run, interrupt, whole).code();
    let finished = plimsoll_engine::run(options, &mut sink, &exit_code)?;
    progress.end();
    match write_error {
        Some(e) => {
            Err(usage::file("write", &path, &e).hint("free some space or choose another place with --out"))
        }
        None => Ok(finished),
    }
}

fn exit_code(options: &RunOptions, run: &Run, interrupt: Option<Interrupt>, whole: bool) -> ExitCode {
    let stale = if whole { stale_entries(&options.expectations, run) } else { Vec::new() };
    let code = plimsoll_reports::verdict::gate(run, options.strict, &stale);
    match interrupt {
        Some(Interrupt::Int) => code.and(ExitCode::Interrupted),
        Some(Interrupt::Term) => code.and(ExitCode::Terminated),
        None => code,
    }
}

/// Entries of the expectations file that match no case of the run.
fn stale_entries(expectations: &Expectations, run: &Run) -> Vec<String> {
    let mut used = vec![false; expectations.entries.len()];
    for record in &run.records {
        let target = run.header.targets.iter().find(|t| t.label == record.target);
        let on = target.map(|target| Subject { target, host: &run.header.host });
        if let Some(i) = on.and_then(|on| expectations.find(on, &record.case)) {
            used[i] = true;
        }
    }
    expectations.entries.iter().zip(used).filter(|(_, used)| !used).map(|(e, _)| e.case.clone()).collect()
}

/// What is shown while a run goes on: a bar on a terminal, plain lines elsewhere.
struct Progress {
    format: Format,
    verbose: u8,
    bar: Option<indicatif::ProgressBar>,
    started: std::time::Instant,
    last: std::time::Instant,
    done: u64,
    total: u64,
    bad: u64,
}

impl Progress {
    fn new(format: Format, verbose: u8) -> Self {
        // Lines of cases would go through a bar.
        let terminal = verbose == 0 && std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        let bar = terminal.then(|| {
            let style = indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
            indicatif::ProgressBar::new(0)
                .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
        });
        let now = std::time::Instant::now();
        Self { format, verbose, bar, started: now, last: now, done: 0, total: 0, bad: 0 }
    }

    fn event(&mut self, event: &Event, line: &str) {
        if self.format == Format::Jsonl {
            output::line(line);
        }
        for line in crate::verbose::lines(event, self.verbose) {
            output::note(&line);
        }
        match event {
            Event::Header(h) => {
                self.total = (h.plan.len() * h.targets.len()) as u64;
                for t in &h.targets {
                    let spec = t.spec_version.as_ref().map(|v| format!(", declares {v}")).unwrap_or_default();
                    let unfit = t.unfit.as_ref().map(|u| format!("\n  unfit: {u}")).unwrap_or_default();
                    output::note(&format!("target {}: {}{spec}{unfit}", t.label, t.version));
                }
                output::note(&format!(
                    "{} cases on {} target(s), profile {}, seed {}",
                    h.plan.len(),
                    h.targets.len(),
                    h.profile,
                    h.seed
                ));
                if let Some(bar) = &self.bar {
                    bar.set_length(self.total);
                }
            }
            Event::CaseFinished(record) if !record.superseded => {
                self.done += 1;
                self.bad += u64::from(matches!(record.judgement, Judgement::Bad | Judgement::Trouble));
                self.tick();
            }
            _ => {}
        }
    }

    fn tick(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(format!("{} unexpected", self.bad));
        } else if self.last.elapsed().as_secs() >= 10 {
            self.last = std::time::Instant::now();
            let seconds = self.started.elapsed().as_secs();
            output::note(&format!(
                "{}/{} cases, {} unexpected, {seconds} s",
                self.done, self.total, self.bad
            ));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn show(run: &Run, format: Format, out: &Path) {
    match format {
        Format::Jsonl => {}
        Format::Json => output::data(&plimsoll_reports::summary::json(run)),
        Format::Concise => output::data(&output::painted(&plimsoll_reports::summary::concise(run))),
        Format::Tap => output::data(&plimsoll_reports::tap::render(run)),
        Format::Human | Format::Github => {
            for record in run.records.iter().filter(|r| !quiet(&r.judgement)).take(40) {
                let block = plimsoll_reports::terminal::failure_block(record, &run.header, record.attempt);
                output::data(&output::painted(&block));
                output::line("");
            }
            if format == Format::Github || std::env::var_os("GITHUB_ACTIONS").is_some() {
                for annotation in plimsoll_reports::github::annotations(run) {
                    output::line(&annotation);
                }
            }
            output::data(&output::painted(&plimsoll_reports::terminal::summary(run)));
            output::line(&format!("report: {}", out.join("report.html").display()));
        }
    }
}

fn quiet(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::Good | Judgement::Neutral | Judgement::Known { .. } | Judgement::Warned)
}

/// A run of a whole profile without anything else.
fn plain(targets: &[&str], profile: &str, challenge: Option<String>) -> RunArgs {
    RunArgs {
        target: targets.iter().map(|t| (*t).to_owned()).collect(),
        select: SelectArgs { profile: profile.into(), ..SelectArgs::default() },
        jobs: None,
        partition: None,
        balance: None,
        retries: 0,
        fail_fast: false,
        max_fail: 0,
        keep: None,
        seed: None,
        timeout_scale: 1.0,
        expectations: None,
        strict: false,
        report: vec![],
        dialect: Dialect::default(),
        format: Format::Human,
        embargo: false,
        gate: None,
        rerun: vec![],
        stress_count: None,
        target_given: false,
        dry_run: false,
        exit_zero: false,
        challenge,
    }
}

/// The run of a certificate: the whole profile, nothing known, nothing attempted again. Its command is the one that
/// makes such a run again, without the paths of the vendor's key.
pub fn certified(global: &Global, target: &str, challenge: Option<String>) -> Result<Run, Failure> {
    let args = plain(&[target], "certify", challenge);
    let mut options = options(global, &args)?;
    options.command = ["run", "-P", "certify", "-t", target].map(str::to_owned).to_vec();
    if let Some(challenge) = &args.challenge {
        options.command.extend(["--challenge".to_owned(), challenge.clone()]);
    }
    let run = execute(global, &options, args.format, true)?.run;
    report::write_standard(&run, &global.out, report::Style::default())?;
    show(&run, args.format, &global.out);
    Ok(run)
}

/// The main job: the bundled reference runtime and CRI server through the suites, then the benchmarks beside the runtimes found on
/// this host, then the reports.
pub fn main_job(global: &Global) -> Result<ExitCode, Failure> {
    let args = plain(&["ref:oci", "ref:cri"], "full", None);
    let options = options(global, &args)?;
    let finished = execute(global, &options, args.format, true)?;
    let mut run = finished.run;
    let mut code = run.footer.as_ref().map_or(ExitCode::Trouble, |f| code_of(f.exit_code));
    if finished.interrupt.is_none() {
        match benchmarks(global) {
            Ok(result) => {
                let event = Event::Bench { name: "bench".into(), result };
                append(&global.out.join("run.jsonl"), &event, &mut run)?;
            }
            Err(failure) => {
                output::error(&failure);
                code = code.and(failure.code);
            }
        }
    }
    report::write_standard(&run, &global.out, report::Style::default())?;
    show(&run, args.format, &global.out);
    Ok(code)
}

/// Benchmarks in a process of their own: the driver wants to be the only parent of what it measures.
fn benchmarks(global: &Global) -> Result<serde_json::Value, Failure> {
    output::note(
        "benchmarks: cold start, throughput and density of the reference runtime and of what is installed",
    );
    let path = global.out.join("bench.json");
    let found = ["runc", "crun"].iter().filter(|name| on_path(name));
    let mut targets = vec!["ref:oci".to_owned()];
    targets.extend(
        found.map(|n| if *n == "crun" { format!("oci:{n}?cgroups=legacy") } else { format!("oci:{n}") }),
    );
    let args = BenchArgs {
        target: targets,
        scenario: ["cold-start", "throughput", "density"].map(str::to_owned).to_vec(),
        baseline: None,
        continues: None,
        gate: "smoke".into(),
        metric: Vec::new(),
        seed: 1,
        budget: 15,
        density: 20,
        selftest: false,
        worker: false,
        only: None,
        replay: None,
        sentinel: false,
        fifo: false,
        repeat: None,
        output: Some(path.clone()),
        exports: None,
    };
    crate::bench::in_child(global, &args)?;
    let text = fs::read_to_string(&path).map_err(|e| usage::file("read", &path, &e))?;
    serde_json::from_str(&text).map_err(|e| Failure::trouble(format!("{}: {e}", path.display())))
}

fn on_path(name: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .any(|d| Path::new(d).join(name).is_file())
}

/// Adds an event before the footer: the file is written anew, so that the footer stays last.
fn append(path: &Path, event: &Event, run: &mut Run) -> Result<(), Failure> {
    run.push(event.clone());
    let lines: Vec<String> = run.to_events().iter().filter_map(|e| serde_json::to_string(e).ok()).collect();
    output::file(path, format!("{}\n", lines.join("\n")).as_bytes())
}
