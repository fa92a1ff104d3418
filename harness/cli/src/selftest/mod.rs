//! `plimsoll selftest`: who tests the tests. Runs the cases against every fault, and gives the detection score.

mod draw;
mod front;
mod page;
mod score;

use crate::args::{Global, SelftestArgs, Shape};
use crate::output;
use crate::run::{TOOL, bundled, fit_host, targets};
use crate::suites;
use crate::usage::{self, Failure};
use front::{Driven, Front};
use plimsoll_engine::target::Bundled;
use plimsoll_engine::{Filter, Profile, RunOptions, Selection, run};
use plimsoll_faults::Fault;
use plimsoll_kit::job::Limits;
use plimsoll_model::{Event, ExitCode, Expectations, HostFacts, OutcomeKind, PlannedCase, Run};
use score::{Alarm, Control, Document, Found, SCHEMA, Summary};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Faults under test at the same time.
const PARALLEL: usize = 3;
/// Cases at the same time under one fault.
const JOBS: usize = 2;
/// Why cases stay unproven, by case id or glob.
const UNPROVEN: &str = include_str!("unproven.tsv");

struct Session<'a> {
    args: &'a SelftestArgs,
    global: &'a Global,
    host: HostFacts,
    bundled: Bundled,
    front: Front,
    control: Control,
    interrupted: AtomicBool,
}

/// `plimsoll selftest`.
pub fn verb(global: &Global, args: &SelftestArgs) -> Result<ExitCode, Failure> {
    if !args.from.is_empty() {
        let documents = args.from.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        show(&score::join(documents), args.format)?;
        return Ok(ExitCode::Success);
    }
    if !(args.timeout_scale.is_finite() && args.timeout_scale > 0.0) {
        return Err(Failure::usage("--timeout-scale takes a number above 0"));
    }
    let spec = targets(std::slice::from_ref(&args.target))?.remove(0);
    let known = known_survivors(args)?;
    let front = Front::new(&spec, &bundled()?, args.inside.as_deref())?;
    let all: Vec<Fault> = plimsoll_faults::catalogue().iter().filter(|f| front.takes(f)).cloned().collect();
    let faults = draw::draw(all, &args.faults, args.sample, args.seed)?;
    let whole = args.faults.is_empty() && args.sample.is_none();
    let mut session = Session {
        args,
        global,
        host: fit_host(global)?,
        bundled: bundled()?,
        front,
        control: Control::default(),
        interrupted: AtomicBool::new(false),
    };
    let (control, alarms) = session.control(&faults, whole)?;
    output::note(&format!("{} cases pass; {} faults", session.control.passing.len(), faults.len()));
    let found = session.all(&faults);
    let interrupted = session.interrupted.load(Ordering::SeqCst);
    let document = session.document(&control, whole && !interrupted, found, alarms);
    write(global, &document, control)?;
    show(std::slice::from_ref(&document), args.format)?;
    if interrupted {
        return Ok(ExitCode::Interrupted);
    }
    Ok(gate(&document, &known))
}

/// Reads a finished result.
fn read(path: &Path) -> Result<Document, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| usage::file("read", path, &e))?;
    let document: Document =
        serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    if document.schema == SCHEMA {
        return Ok(document);
    }
    Err(Failure::usage(format!("{} is no result of a self-test", path.display()))
        .hint("`plimsoll selftest` writes selftest.json into its output directory"))
}

fn show(documents: &[Document], format: Shape) -> Result<(), Failure> {
    let json = |d: &Document| serde_json::to_string_pretty(d).map_err(|e| Failure::trouble(e.to_string()));
    output::data(&match format {
        Shape::Human => documents.iter().map(page::text).collect::<String>(),
        Shape::Markdown => page::markdown(documents),
        Shape::Json => documents.iter().map(json).collect::<Result<Vec<_>, _>>()?.join("\n") + "\n",
    });
    Ok(())
}

/// Fault ids that are known to survive.
fn known_survivors(args: &SelftestArgs) -> Result<BTreeSet<String>, Failure> {
    let Some(path) = &args.known_survivors else { return Ok(BTreeSet::new()) };
    let text = std::fs::read_to_string(path).map_err(|e| usage::file("read", path, &e))?;
    let ids = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_whitespace().next());
    Ok(ids.map(str::to_owned).collect())
}

/// Closed by a survivor that is not known, and by a known one that was found after all.
fn gate(document: &Document, known: &BTreeSet<String>) -> ExitCode {
    let survivor = |f: &Found| f.outcome == "missed" && !known.contains(&f.id);
    let fixed: Vec<&Found> =
        document.faults.iter().filter(|f| f.outcome == "found" && known.contains(&f.id)).collect();
    for f in &fixed {
        output::line(&format!("  no survivor any more: {}; take it off the list", f.id));
    }
    if document.faults.iter().any(survivor) || !fixed.is_empty() {
        return ExitCode::GateClosed;
    }
    if document.summary.applicable == 0 { ExitCode::NothingRan } else { ExitCode::Success }
}

/// Writes the result alone, and the run without a fault with the result beside it, as page and run file.
fn write(global: &Global, document: &Document, mut control: Run) -> Result<(), Failure> {
    let value = serde_json::to_value(document).map_err(|e| Failure::trouble(e.to_string()))?;
    let text = serde_json::to_string_pretty(&value).map_err(|e| Failure::trouble(e.to_string()))?;
    output::file(&global.out.join("selftest.json"), text.as_bytes())?;
    control.push(Event::Bench { name: "selftest".into(), result: value });
    crate::report::write_selftest(&control, &global.out)?;
    output::note(&format!("report: {}", global.out.join("selftest.html").display()));
    Ok(())
}

/// The lines of the table of reasons.
fn unproven_reasons() -> Vec<(String, String)> {
    let rows = UNPROVEN.lines().skip(1).filter_map(|l| l.split_once('\t'));
    rows.map(|(case, why)| (case.to_owned(), why.to_owned())).collect()
}

impl Session<'_> {
    fn jobs(&self) -> usize {
        self.args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get() + 1))
    }

    fn run(&self, driven: &Driven, filter: Filter, seed: u64, jobs: usize) -> Result<Run, Failure> {
        let options = RunOptions {
            targets: vec![driven.spec.clone()],
            suites: suites::ALL.to_vec(),
            // A filter selects from all suites, whatever the profile leaves out.
            selection: Selection { profile: Profile::Full, filters: vec![filter], partition: None },
            filters: vec![],
            jobs,
            limits: Limits::default().scaled(self.args.timeout_scale),
            seed,
            // Trouble says nothing about the fault.
            retries: 1,
            max_fail: 0,
            keep: None,
            work_root: self.global.work_dir.clone(),
            expectations: Expectations::default(),
            strict: false,
            command: std::env::args().skip(1).collect(),
            challenge: None,
            tool: TOOL.to_owned(),
            between: driven.between.clone(),
            bundled: self.bundled.clone(),
            host: self.host.clone(),
        };
        let finished = run(&options, &mut |_| {}, &|_, _| 0)?;
        if finished.interrupt.is_some() {
            self.interrupted.store(true, Ordering::SeqCst);
        }
        Ok(finished.run)
    }

    /// The target without a fault: which cases pass, and which are red for no reason of ours.
    fn control(&mut self, faults: &[Fault], whole: bool) -> Result<(Run, Vec<Alarm>), Failure> {
        output::note(&format!("selftest: the unbroken {} first", self.args.target));
        let filter = if whole || self.args.full { Filter::All } else { self.claiming(faults)? };
        let control = self.run(&self.front.unbroken(), filter, self.args.seed, self.jobs())?;
        if let Some(unfit) = control.header.targets.iter().find_map(|t| t.unfit.clone()) {
            return Err(Failure::trouble(format!("the target is unfit: {unfit}")));
        }
        let mut alarms = Vec::new();
        self.control.levels =
            control.header.requirements.iter().map(|r| (r.id.clone(), (r.level, r.severity()))).collect();
        for record in control.records.iter().filter(|r| !r.superseded) {
            let Some(case) = control.header.plan.iter().find(|c| c.id == record.case) else { continue };
            let kind = record.outcome.kind();
            if kind == OutcomeKind::Pass {
                self.control.passing.push(case.clone());
                continue;
            }
            if matches!(kind, OutcomeKind::Fail | OutcomeKind::Warn | OutcomeKind::Error) {
                let (case, target) = (case.id.to_string(), self.args.target.clone());
                alarms.push(Alarm { case, target, outcome: kind.word().to_owned() });
            }
            self.control.others.push((case.clone(), record.outcome.clone()));
        }
        Ok((control, alarms))
    }

    /// The cases that claim anything that these faults break.
    fn claiming(&self, faults: &[Fault]) -> Result<Filter, Failure> {
        let broken: BTreeSet<&str> =
            faults.iter().flat_map(|f| &f.requirements).map(String::as_str).collect();
        let plan = crate::browse::everything()?;
        let suites = self.front.suites();
        let claims = |c: &&PlannedCase| {
            suites.contains(&c.id.suite()) && c.covers.iter().any(|r| broken.contains(r.as_str()))
        };
        any(plan.cases.iter().filter(claims)).ok_or_else(|| {
            Failure::usage("no case claims what these faults break")
                .hint("`plimsoll explain FAULT` shows it; --full runs every case")
        })
    }

    fn all(&self, faults: &[Fault]) -> Vec<Found> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Found)>> = Mutex::new(Vec::new());
        let parallel = self.front.parallel(PARALLEL);
        std::thread::scope(|scope| {
            for _ in 0..parallel {
                scope.spawn(|| {
                    while let Some((n, fault)) = self.next(&next, faults) {
                        let found = self.one(n, fault);
                        if found.outcome == "missed" {
                            output::note(&format!("survived: {} ({})", found.id, found.title));
                        }
                        let Ok(mut done) = done.lock() else { continue };
                        done.push((n, found));
                        if done.len() % 25 == 0 {
                            output::note(&format!("{}/{} faults", done.len(), faults.len()));
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, f)| f).collect()
    }

    fn next<'f>(&self, next: &AtomicUsize, faults: &'f [Fault]) -> Option<(usize, &'f Fault)> {
        if self.interrupted.load(Ordering::SeqCst) {
            return None;
        }
        let n = next.fetch_add(1, Ordering::SeqCst);
        faults.get(n).map(|f| (n, f))
    }

    fn one(&self, n: usize, fault: &Fault) -> Found {
        let control = &self.control;
        if control.claiming(fault).is_empty() {
            return control.not_applicable(fault);
        }
        let chosen = if self.args.full {
            any(control.passing.iter())
        } else {
            any(control.claiming(fault).into_iter())
        };
        let Some(filter) = chosen else { return control.not_applicable(fault) };
        let invalid = |why: String| Found { outcome: "error".into(), why, ..control.blank(fault) };
        let seed = self.args.seed.wrapping_add(1 + n as u64);
        match self.run(&self.front.broken(fault), filter, seed, JOBS) {
            Err(failure) => invalid(failure.what),
            Ok(run) => match run.header.targets.iter().find_map(|t| t.unfit.clone()) {
                Some(unfit) => invalid(unfit),
                None => control.judge(fault, &run.records),
            },
        }
    }

    fn document(&self, control: &Run, whole: bool, faults: Vec<Found>, alarms: Vec<Alarm>) -> Document {
        let unproven = if whole { self.control.unproven(&faults, &unproven_reasons()) } else { Vec::new() };
        Document {
            schema: SCHEMA.to_owned(),
            target: self.args.target.clone(),
            version: control.header.targets.first().map(|t| t.version.clone()).unwrap_or_default(),
            seed: self.args.seed,
            whole,
            passing: self.control.passing.len(),
            summary: Summary::of(&faults),
            faults,
            unproven,
            false_alarms: alarms,
        }
    }
}

/// A filter that takes exactly these cases.
fn any<'c>(cases: impl Iterator<Item = &'c PlannedCase>) -> Option<Filter> {
    // A balanced tree: a chain of a thousand would be as deep.
    let mut level: Vec<Filter> = cases.map(|c| Filter::exact(c.id.as_str())).collect();
    while level.len() > 1 {
        let mut pairs = level.into_iter();
        let mut next = Vec::new();
        while let Some(a) = pairs.next() {
            next.push(match pairs.next() {
                Some(b) => Filter::Or(Box::new(a), Box::new(b)),
                None => a,
            });
        }
        level = next;
    }
    level.pop()
}
