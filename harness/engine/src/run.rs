//! A run: resolve, preflight, plan, attempts in parallel, judgement, events.

use crate::between::{Between, Standing};
use crate::journal::RunDir;
use crate::plan::{Plan, PlanError, Selection, version_to_write};
use crate::pool;
use crate::prepare::{header, job, prepare};
use crate::reference::Server;
use crate::signals::Signals;
use crate::target::{Bundled, ResolveError, Resolved, resolve_all};
use crate::turn::{Busy, Claims, Turn};
use crate::{gc, plan};
use plimsoll_kit::Suite;
use plimsoll_kit::case::Drives;
use plimsoll_kit::job::{JobResult, Limits, Target};
use plimsoll_model::event::RunStatus;
use plimsoll_model::expectation::Subject;
use plimsoll_model::run::RunError;
use plimsoll_model::{
    CaseRecord, Event, Expectations, Footer, HostFacts, Outcome, OutcomeKind, Run, TargetSpec,
};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Everything that decides a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to judge.
    pub targets: Vec<TargetSpec>,
    /// The suites of this build.
    pub suites: Vec<&'static Suite>,
    /// Which cases.
    pub selection: Selection,
    /// Filters as the user wrote them, for the header.
    pub filters: Vec<String>,
    /// Attempts at the same time.
    pub jobs: usize,
    /// Bounds, already scaled.
    pub limits: Limits,
    /// Seed of everything random.
    pub seed: u64,
    /// How often a case with an `Error` is attempted again.
    pub retries: u32,
    /// Stop launching after this many unexpected failures; 0 means never.
    pub max_fail: u32,
    /// Where to copy the work directory of every attempt to.
    pub keep: Option<PathBuf>,
    /// Directory below which runs live.
    pub work_root: PathBuf,
    /// What is known to fail.
    pub expectations: Expectations,
    /// Whether warnings and fixed known failures close the gate as well.
    pub strict: bool,
    /// The command line, for the header.
    pub command: Vec<String>,
    /// A certifier's nonce.
    pub challenge: Option<String>,
    /// Program and version, for the header.
    pub tool: String,
    /// What to put in front of CRI endpoints.
    pub between: Option<Between>,
    /// This executable: workers and bundled runtimes are started from it.
    pub bundled: Bundled,
    /// What `doctor` found, for the header.
    pub host: HostFacts,
}

/// A run that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A target cannot be driven.
    #[error(transparent)]
    Target(#[from] ResolveError),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The work directory cannot be made.
    #[error("the work directory {path} cannot be made: {error}")]
    Work {
        /// Path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The harness broke its own rules.
    #[error("internal: {0}")]
    Internal(#[from] RunError),
    /// The event loop cannot be made.
    #[error("the event loop cannot be made: {0}")]
    Loop(io::Error),
}

/// What the outside can tell a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGINT.
    Int,
    /// SIGTERM.
    Term,
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// The run, footer included.
    pub run: Run,
    /// The signal that cut it short.
    pub interrupt: Option<Interrupt>,
}

/// Runs everything and gives each event to `sink` as soon as it is known, the header first and the footer last.
/// `exit_code` computes the footer's code from the settled run.
pub fn run(
    options: &RunOptions,
    sink: &mut dyn FnMut(&Event),
    exit_code: &dyn Fn(&Run, Option<Interrupt>) -> u8,
) -> Result<Finished, EngineError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EngineError::Loop)?;
    runtime.block_on(async {
        let mut session = Session::begin(options).await?;
        session.execute(sink).await;
        session.end(sink, exit_code).await
    })
}

struct Session<'a> {
    options: &'a RunOptions,
    plan: Plan,
    targets: Vec<Resolved>,
    servers: Vec<Server>,
    standing: Vec<Standing>,
    run_dir: RunDir,
    start: Instant,
    run: Run,
    cancel: watch::Sender<bool>,
    signals: Signals,
    interrupt: Option<Interrupt>,
    counter: u64,
}

impl<'a> Session<'a> {
    async fn begin(options: &'a RunOptions) -> Result<Self, EngineError> {
        let start = Instant::now();
        let mut targets = resolve_all(&options.targets, &options.bundled)?;
        let mut drives = Vec::new();
        for (kind, any) in [
            (Drives::Oci, targets.iter().any(|t| t.info.spec.is_oci())),
            (Drives::Cri, targets.iter().any(|t| t.info.spec.is_cri())),
        ] {
            if any {
                drives.push(kind);
            }
        }
        let plan = Plan::everything(&options.suites, &drives)?.select(&options.selection)?;
        let own = options.seed as u32 ^ std::process::id().rotate_left(16);
        // Every name that the run makes carries its id, and the id carries the certifier's nonce.
        let run_id = match &options.challenge {
            Some(challenge) => {
                format!("{}{:04x}", plimsoll_model::run::challenge_mark(challenge), own as u16)
            }
            None => format!("{own:08x}"),
        };
        let work = |error| EngineError::Work { path: options.work_root.clone(), error };
        let mut run_dir = RunDir::create(&options.work_root, &run_id).map_err(work)?;
        // From here on things are made that a signal must not leave behind.
        let mut signals = Signals::new();
        let mut interrupt = None;
        let (mut servers, mut standing) = (Vec::new(), Vec::new());
        let (cancel, receiver) = watch::channel(false);
        let prepared = {
            let started = (&mut servers, &mut standing);
            let preparing = prepare(options, &mut run_dir, &mut targets, started, &receiver);
            let mut preparing = std::pin::pin!(preparing);
            loop {
                tokio::select! {
                    prepared = &mut preparing => break prepared,
                    signal = signals.next() => {
                        if interrupt.replace(signal).is_some() {
                            break Ok(());
                        }
                        let _ = cancel.send(true);
                    }
                }
            }
        };
        prepared.map_err(work)?;
        let header = header(options, &plan, &targets, &run_id);
        let run = Run::begin(header)?;
        Ok(Self {
            options,
            plan,
            targets,
            servers,
            standing,
            run_dir,
            start,
            run,
            cancel,
            signals,
            interrupt,
            counter: 0,
        })
    }

    async fn execute(&mut self, sink: &mut dyn FnMut(&Event)) {
        sink(&Event::Header(Box::new(self.run.header.clone())));
        let mut waiting = self.queue(sink);
        let mut running: JoinSet<(Turn, JobResult, f64)> = JoinSet::new();
        let mut busy = Busy::default();
        let mut bad = 0;
        loop {
            while self.interrupt.is_none() && running.len() < self.options.jobs {
                let Some(turn) = self.next_turn(&mut waiting, &busy) else { break };
                busy.running.push((turn, self.claims(turn)));
                self.launch(turn, &mut running, sink);
            }
            if running.is_empty() {
                break;
            }
            tokio::select! {
                Some(joined) = running.join_next() => {
                    let Ok((turn, result, ms)) = joined else { continue };
                    busy.running.retain(|(t, _)| (t.case, t.target) != (turn.case, turn.target));
                    bad += self.settle_turn(turn, result, ms, &mut waiting, sink);
                    if self.options.max_fail > 0 && bad >= self.options.max_fail {
                        waiting.clear();
                    }
                }
                interrupt = self.signals.next() => {
                    if self.interrupt.replace(interrupt).is_some() {
                        break;
                    }
                    let _ = self.cancel.send(true);
                }
            }
        }
    }

    /// All turns in plan order, case by case so that targets are compared under the same load; what cannot run is
    /// decided at once.
    fn queue(&mut self, sink: &mut dyn FnMut(&Event)) -> VecDeque<Turn> {
        let mut waiting = VecDeque::new();
        for case in 0..self.plan.cases.len() {
            for target in 0..self.targets.len() {
                match self.excluded(case, target) {
                    Some(outcome) => self.decide(case, target, outcome, sink),
                    None => waiting.push_back(Turn { case, target, attempt: 1 }),
                }
            }
        }
        waiting
    }

    /// Why a case is not run on a target at all.
    fn excluded(&self, case: usize, target: usize) -> Option<Outcome> {
        let (case, info) = (&self.plan.cases[case], &self.targets[target].info);
        if let Some(why) = &info.unfit {
            return Some(Outcome::NotRun { why: format!("the target is unfit: {why}") });
        }
        let drives_oci =
            plan::suite_of(&self.options.suites, case.id.as_str()).is_some_and(|s| s.drives == Drives::Oci);
        if drives_oci != info.spec.is_oci() {
            let capability = if drives_oci { "oci-runtime" } else { "cri-endpoint" };
            let reason = "the target is driven through another interface".to_owned();
            return Some(Outcome::NotApplicable { capability: capability.into(), reason });
        }
        let declared = info.spec_version.as_ref()?;
        (case.since > declared.release()).then(|| Outcome::NotApplicable {
            capability: format!("spec-{}", case.since),
            reason: format!("the target declares version {declared} of the specification"),
        })
    }

    /// What a turn wants for itself.
    fn claims(&self, turn: Turn) -> Claims {
        let place = match &self.targets[turn.target].target {
            Target::Oci(_) => String::new(),
            Target::Cri(target) => target.endpoint.clone(),
        };
        Claims { place, exclusive: self.plan.bound[turn.case].case.exclusive }
    }

    fn next_turn(&self, waiting: &mut VecDeque<Turn>, busy: &Busy) -> Option<Turn> {
        let place = waiting.iter().position(|t| busy.admits(&self.claims(*t)))?;
        waiting.remove(place)
    }

    fn launch(
        &mut self,
        turn: Turn,
        running: &mut JoinSet<(Turn, JobResult, f64)>,
        sink: &mut dyn FnMut(&Event),
    ) {
        let (case, target) = (&self.plan.cases[turn.case], &self.targets[turn.target]);
        sink(&Event::CaseStarted {
            target: target.info.label.clone(),
            case: case.id.clone(),
            attempt: turn.attempt,
        });
        self.counter += 1;
        let mut job =
            job(self.options, &self.run_dir, self.counter, target, case.id.as_str(), &version_to_write(case));
        // The case's own deadline, when it is longer; the worker is held to the same.
        let own = self.plan.bound[turn.case].case.deadline_s.map_or(0, |s| s * 1000);
        job.limits.case_ms = job.limits.case_ms.max(own);
        job.keep = self.options.keep.as_ref().map(|k| k.join(&target.info.label).join(case.id.as_str()));
        let (program, cancel) = (self.options.bundled.program.clone(), self.cancel.subscribe());
        running.spawn(async move {
            let (result, duration) = pool::attempt(&program, job, cancel).await;
            (turn, result, duration.as_secs_f64() * 1000.0)
        });
    }

    /// Takes in a result: decides the case, or puts it back for another attempt. Returns 1 for an unexpected failure.
    fn settle_turn(
        &mut self,
        turn: Turn,
        result: JobResult,
        ms: f64,
        waiting: &mut VecDeque<Turn>,
        sink: &mut dyn FnMut(&Event),
    ) -> u32 {
        let error = result.outcome.kind() == OutcomeKind::Error;
        if error && self.interrupt.is_some() {
            // The interrupt reached the worker too, before or after it could tell that: no trouble, only not run.
            return 0;
        }
        let again = error && turn.attempt <= self.options.retries;
        let mut record = self.record(turn.case, turn.target, result.outcome);
        record.attempt = turn.attempt;
        record.duration_ms = ms;
        record.facts = result.facts;
        record.facts.insert(
            "harness.overhead-ms".into(),
            Value::from(((ms - result.calls_ms) * 1000.0).round() / 1000.0),
        );
        record.commands = result.commands;
        record.config = result.config;
        record.superseded = again;
        let bad = matches!(record.judgement, plimsoll_model::Judgement::Bad);
        if again {
            waiting.push_back(Turn { attempt: turn.attempt + 1, ..turn });
        }
        self.emit(record, sink);
        u32::from(bad)
    }

    fn decide(&mut self, case: usize, target: usize, outcome: Outcome, sink: &mut dyn FnMut(&Event)) {
        let record = self.record(case, target, outcome);
        self.emit(record, sink);
    }

    fn emit(&mut self, record: CaseRecord, sink: &mut dyn FnMut(&Event)) {
        let event = Event::CaseFinished(Box::new(record));
        sink(&event);
        self.run.push(event);
    }

    fn record(&self, case: usize, target: usize, outcome: Outcome) -> CaseRecord {
        let (case, info) = (&self.plan.cases[case], &self.targets[target].info);
        let on = Subject { target: info, host: &self.options.host };
        let judgement = self.options.expectations.judge(on, &case.id, outcome.kind());
        CaseRecord {
            target: info.label.clone(),
            case: case.id.clone(),
            attempt: 1,
            superseded: false,
            outcome,
            judgement,
            duration_ms: 0.0,
            facts: BTreeMap::new(),
            commands: vec![],
            config: None,
        }
    }

    /// Decides what never ran, clears up, settles the run and writes the footer.
    async fn end(
        mut self,
        sink: &mut dyn FnMut(&Event),
        exit_code: &dyn Fn(&Run, Option<Interrupt>) -> u8,
    ) -> Result<Finished, EngineError> {
        let why = match self.interrupt {
            Some(_) => "the run was interrupted",
            None => "the run stopped after too many failures",
        };
        let decided: std::collections::BTreeSet<(String, String)> =
            self.run.records.iter().map(|r| (r.case.to_string(), r.target.clone())).collect();
        let mut missing = 0;
        for case in 0..self.plan.cases.len() {
            for target in 0..self.targets.len() {
                let key = (self.plan.cases[case].id.to_string(), self.targets[target].info.label.clone());
                if !decided.contains(&key) {
                    missing += 1;
                    self.decide(case, target, Outcome::NotRun { why: why.into() }, sink);
                }
            }
        }
        self.clear_away(sink).await;
        let status = if missing == 0 { RunStatus::Complete } else { RunStatus::Cancelled };
        self.run.footer = Some(Footer {
            status,
            duration_ms: self.start.elapsed().as_secs_f64() * 1000.0,
            planned: (self.plan.cases.len() * self.targets.len()) as u64,
            counts: self.run.counts(),
            replaced: self
                .targets
                .iter()
                .filter(|t| t.was_replaced())
                .map(|t| t.info.label.clone())
                .collect(),
            exit_code: 0,
        });
        let code = exit_code(&self.run, self.interrupt);
        if let Some(footer) = &mut self.run.footer {
            footer.exit_code = code;
            sink(&Event::Footer(footer.clone()));
        }
        self.run.settle()?;
        Ok(Finished { run: self.run, interrupt: self.interrupt })
    }
}

impl Session<'_> {
    /// Stops the servers and removes what the run has made; what stays becomes a note.
    async fn clear_away(&mut self, sink: &mut dyn FnMut(&Event)) {
        let mut notes: Vec<String> = self.servers.iter_mut().filter_map(Server::ended).collect();
        self.standing.iter_mut().for_each(Standing::stop);
        for server in &mut self.servers {
            let stuck = server.stop();
            if !stuck.is_empty() {
                notes.push(format!("of the reference CRI server there is still: {stuck:?}"));
            }
        }
        let (dir, program) = (&self.run_dir, &self.options.bundled.program);
        if let gc::Found::Stuck(_, what) =
            gc::remove(dir.path(), &dir.intent, &dir.made, program, self.options.limits).await
        {
            notes.push(format!("could not be removed: {}; try `plimsoll gc`", what.join(", ")));
        }
        for text in notes {
            let event = Event::Note { text };
            sink(&event);
            self.run.push(event);
        }
    }
}
