//! `plimsoll selftest`: who tests the tests. Runs the cases against every fault, and prints the detection score.

use crate::args::{Global, SelftestArgs};
use crate::output;
use crate::run::{TOOL, bundled, fit_host, targets};
use crate::suites;
use crate::usage::Failure;
use plimsoll_engine::target::{Bundled, resolve_all};
use plimsoll_engine::{Filter, Profile, RunOptions, Selection, run};
use plimsoll_faults::Fault;
use plimsoll_kit::job::{self, CgroupLayout, Limits, OciTarget};
use plimsoll_model::expectation::glob;
use plimsoll_model::{
    ExitCode, Expectations, HostFacts, OutcomeKind, PlannedCase, Run, TargetKind, TargetSpec,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Layers that only an OCI runtime wrapper can break; `inside` needs a special build, `bench` and `cri` have verbs of
/// their own.
const OTHER_LAYERS: [&str; 3] = ["inside", "bench", "cri"];
/// Faults under test at the same time.
const PARALLEL: usize = 3;

/// What came of one fault.
#[derive(Debug, Clone)]
struct Found {
    fault: Fault,
    /// `found`, `missed`, `not-applicable` (no passing case claims it) or `error` (breaks even a plain container).
    verdict: &'static str,
    /// Cases that turned red.
    by: Vec<String>,
    /// Whether one of them covers what the fault breaks.
    right: bool,
}

struct Session<'a> {
    args: &'a SelftestArgs,
    global: &'a Global,
    host: HostFacts,
    bundled: Bundled,
    oci: OciTarget,
    spec: TargetSpec,
    passing: Vec<PlannedCase>,
}

/// `plimsoll selftest`.
pub fn verb(global: &Global, args: &SelftestArgs) -> Result<ExitCode, Failure> {
    let host = fit_host(global)?;
    let bundled = bundled()?;
    let spec = targets(std::slice::from_ref(&args.target))?.remove(0);
    let resolved =
        resolve_all(std::slice::from_ref(&spec), &bundled).map_err(|e| Failure::usage(e.to_string()))?;
    let Some(job::Target::Oci(oci)) = resolved.into_iter().next().map(|r| r.target) else {
        return Err(Failure::usage("selftest breaks OCI runtimes").hint("give an oci: target or ref:oci"));
    };
    let mut session = Session { args, global, host, bundled, oci, spec: spec.clone(), passing: vec![] };
    output::note(&format!("selftest: the unbroken {} first", args.target));
    let control = session.run(spec, Vec::new(), session.args.seed, session.jobs())?;
    if let Some(unfit) = control.header.targets.iter().find_map(|t| t.unfit.clone()) {
        return Err(Failure::trouble(format!("the target is unfit: {unfit}")));
    }
    let passed = |id: &str| {
        control.records.iter().any(|r| r.case.as_str() == id && r.outcome.kind() == OutcomeKind::Pass)
    };
    session.passing = control.header.plan.iter().filter(|c| passed(c.id.as_str())).cloned().collect();
    let alarms: Vec<(String, &'static str)> = control
        .records
        .iter()
        .filter(|r| matches!(r.outcome.kind(), OutcomeKind::Fail | OutcomeKind::Warn | OutcomeKind::Error))
        .map(|r| (r.case.to_string(), r.outcome.kind().word()))
        .collect();
    let faults = draw(args)?;
    let known = known_survivors(args)?;
    output::note(&format!("{} cases pass; {} faults", session.passing.len(), faults.len()));
    let found = session.all(&faults);
    let code = report(global, args, &session, &found, &alarms)?;
    Ok(if code == ExitCode::GateClosed { gate(&found, &known) } else { code.and(gate(&found, &known)) })
}

/// Fault ids that are known to survive.
fn known_survivors(args: &SelftestArgs) -> Result<BTreeSet<String>, Failure> {
    let Some(path) = &args.known_survivors else { return Ok(BTreeSet::new()) };
    let text = std::fs::read_to_string(path).map_err(|e| crate::usage::file("read", path, &e))?;
    let ids = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_whitespace().next());
    Ok(ids.map(str::to_owned).collect())
}

/// Closed by a survivor that is not known, and by a known one that was found after all.
fn gate(found: &[Found], known: &BTreeSet<String>) -> ExitCode {
    let mut code = ExitCode::Success;
    for f in found {
        let listed = known.contains(&f.fault.id);
        if f.verdict == "missed" && !listed {
            code = ExitCode::GateClosed;
        }
        if f.verdict == "found" && listed {
            output::line(&format!("  no survivor any more: {}; take it off the list", f.fault.id));
            code = ExitCode::GateClosed;
        }
    }
    code
}

/// The faults to try, in catalogue order.
fn draw(args: &SelftestArgs) -> Result<Vec<Fault>, Failure> {
    let wanted = |f: &&Fault| args.faults.is_empty() || args.faults.iter().any(|g| glob(g, &f.id));
    let mut faults: Vec<Fault> = plimsoll_faults::catalogue()
        .iter()
        .filter(|f| !OTHER_LAYERS.contains(&f.layer.as_str()))
        .filter(wanted)
        .cloned()
        .collect();
    if faults.is_empty() {
        return Err(Failure::usage("no fault matches").hint("`plimsoll faults --list` shows them"));
    }
    if let Some(n) = args.sample {
        // A draw by hash: the same seed gives the same sample, whatever is added to the catalogue elsewhere.
        faults.sort_by_key(|f| mix(args.seed, &f.id));
        faults.truncate(n);
        faults.sort_by(|a, b| a.id.cmp(&b.id));
    }
    Ok(faults)
}

/// FNV-1a over the seed and a name.
fn mix(seed: u64, name: &str) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = name.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    hash ^ (hash >> 29)
}

impl Session<'_> {
    fn jobs(&self) -> usize {
        self.args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get() + 1))
    }

    fn run(&self, target: TargetSpec, filters: Vec<Filter>, seed: u64, jobs: usize) -> Result<Run, Failure> {
        let options = RunOptions {
            targets: vec![target],
            suites: suites::ALL.to_vec(),
            selection: Selection { profile: Profile::Full, filters, partition: None },
            filters: vec![],
            jobs,
            limits: Limits::default().scaled(self.args.timeout_scale),
            seed,
            retries: 0,
            max_fail: 0,
            keep: None,
            work_root: self.global.work_dir.clone(),
            expectations: Expectations::default(),
            strict: false,
            command: vec![],
            challenge: None,
            tool: TOOL.to_owned(),
            bundled: self.bundled.clone(),
            host: self.host.clone(),
        };
        Ok(run(&options, &mut |_| {}, &|_, _| 0)?.run)
    }

    /// The target behind the wrapper with one fault.
    fn broken(&self, fault: &Fault) -> TargetSpec {
        let mut params: Vec<(String, String)> = vec![];
        let mut arg = |text: &str| params.push(("arg".into(), text.to_owned()));
        for text in ["faults", "--fault", &fault.id, "--target", &self.oci.program.display().to_string()] {
            arg(text);
        }
        for text in &self.oci.args {
            arg("--target-arg");
            arg(text);
        }
        arg("--");
        let layout = match self.oci.cgroups {
            CgroupLayout::Host => "host",
            CgroupLayout::Legacy => "legacy",
            CgroupLayout::V2 => "v2",
        };
        params.push(("cgroups".into(), layout.into()));
        params.extend(self.spec.get("spec").map(|s| ("spec".to_owned(), s.to_owned())));
        params.extend(self.oci.env.iter().map(|(k, v)| ("env".to_owned(), format!("{k}={v}"))));
        params.push(("name".into(), "faulty".into()));
        TargetSpec { kind: TargetKind::Oci, locator: self.bundled.program.display().to_string(), params }
    }

    fn all(&self, faults: &[Fault]) -> Vec<Found> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL {
                scope.spawn(|| {
                    while let Some((n, fault)) = {
                        let n = next.fetch_add(1, Ordering::SeqCst);
                        faults.get(n).map(|f| (n, f))
                    } {
                        let found = self.one(n, fault);
                        if let Ok(mut done) = done.lock() {
                            done.push((n, found));
                            if done.len() % 25 == 0 {
                                output::note(&format!("{}/{} faults", done.len(), faults.len()));
                            }
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, f)| f).collect()
    }

    fn one(&self, n: usize, fault: &Fault) -> Found {
        let claims = |c: &&PlannedCase| c.covers.iter().any(|r| fault.requirements.contains(r));
        let chosen: Vec<&PlannedCase> = if self.args.full {
            self.passing.iter().collect()
        } else {
            self.passing.iter().filter(claims).collect()
        };
        let unknown = |verdict| Found { fault: fault.clone(), verdict, by: vec![], right: false };
        let filter = chosen
            .iter()
            .map(|c| Filter::exact(c.id.as_str()))
            .reduce(|a, b| Filter::Or(Box::new(a), Box::new(b)));
        let Some(filter) = filter else { return unknown("not-applicable") };
        let seed = self.args.seed.wrapping_add(1 + n as u64);
        let Ok(run) = self.run(self.broken(fault), vec![filter], seed, 2) else { return unknown("error") };
        if run.header.targets.iter().any(|t| t.unfit.is_some()) {
            return unknown("error");
        }
        let red: BTreeSet<&str> = run
            .records
            .iter()
            .filter(|r| matches!(r.outcome.kind(), OutcomeKind::Fail | OutcomeKind::Warn))
            .map(|r| r.case.as_str())
            .collect();
        let right = chosen.iter().filter(|c| claims(c)).any(|c| red.contains(c.id.as_str()));
        let verdict = if red.is_empty() { "missed" } else { "found" };
        Found { fault: fault.clone(), verdict, by: red.into_iter().map(str::to_owned).collect(), right }
    }
}

fn report(
    global: &Global,
    args: &SelftestArgs,
    session: &Session<'_>,
    found: &[Found],
    alarms: &[(String, &'static str)],
) -> Result<ExitCode, Failure> {
    let of = |verdict: &str| found.iter().filter(|f| f.verdict == verdict).collect::<Vec<_>>();
    let (killed, survived, invalid, untested) =
        (of("found"), of("missed"), of("error"), of("not-applicable"));
    let right = killed.iter().filter(|f| f.right).count();
    let red: BTreeSet<&str> = killed.iter().flat_map(|f| f.by.iter().map(String::as_str)).collect();
    let unproven: Vec<&str> =
        session.passing.iter().map(|c| c.id.as_str()).filter(|id| !red.contains(id)).collect();
    let document = json!({
        "schema": "plimsoll-selftest/1",
        "target": args.target,
        "seed": args.seed,
        "injected": found.len(),
        "found": killed.len(),
        "right_reason": right,
        "missed": survived.len(),
        "invalid": invalid.len(),
        "untested": untested.len(),
        "faults": found.iter().map(row).collect::<Vec<_>>(),
        "unproven": unproven,
        "false_alarms": alarms.iter().map(|(c, word)| json!({ "case": c, "target": args.target, "outcome": word })).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&document).map_err(|e| Failure::trouble(e.to_string()))?;
    let path = global.out.join("selftest.json");
    output::file(&path, text.as_bytes())?;
    let applicable = killed.len() + survived.len();
    output::line(&format!(
        "detection score of {}: {} of {applicable} faults found, {right} for the right reason",
        args.target,
        killed.len()
    ));
    for f in &survived {
        output::line(&format!(
            "  survived  {:<44} {} [{}]",
            f.fault.id,
            f.fault.title,
            f.fault.requirements.join(", ")
        ));
    }
    for f in &invalid {
        output::line(&format!("  invalid   {:<44} breaks even a plain container", f.fault.id));
    }
    let mut why: BTreeMap<String, usize> = BTreeMap::new();
    for f in &untested {
        *why.entry(f.fault.requirements.join(", ")).or_default() += 1;
    }
    output::line(&format!(
        "{} faults untested: no passing case claims {} requirement sets",
        untested.len(),
        why.len()
    ));
    output::line(&format!(
        "{} of {} passing cases turned red by no fault tried here",
        unproven.len(),
        session.passing.len()
    ));
    for (case, word) in alarms {
        output::line(&format!("  without a fault: {case} ({word})"));
    }
    output::line(&format!("details: {}", path.display()));
    if applicable == 0 {
        return Ok(ExitCode::NothingRan);
    }
    Ok(if survived.is_empty() { ExitCode::Success } else { ExitCode::GateClosed })
}

fn row(f: &Found) -> Value {
    json!({
        "id": f.fault.id,
        "layer": f.fault.layer,
        "title": f.fault.title,
        "requirement": f.fault.requirements.join(", "),
        "outcome": f.verdict,
        "right_reason": f.right,
        "red": f.by,
        "why": f.fault.needs,
    })
}
