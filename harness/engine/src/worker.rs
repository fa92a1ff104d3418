//! The worker process: one attempt of one case, in surroundings of its own.

use crate::plan::{find_case, suite_of};
use crate::preflight;
use crate::sandbox;
use plimsoll_kit::case::{Bound, CaseFuture};
use plimsoll_kit::cri::{Cri, Made};
use plimsoll_kit::job::{Job, JobResult, Target};
use plimsoll_kit::reaper::Reaper;
use plimsoll_kit::{Call, Cx, Stop, Suite, leak};
use plimsoll_model::{CommandRecord, Outcome, Severity, Trouble, TroubleKind, Violation};
use std::any::Any;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Reads a job from standard input, runs it, writes the result to standard output. The process must have no other
/// thread yet. Returns the process's exit status: 0 when a result was written.
pub fn main(suites: &[&'static Suite]) -> u8 {
    let mut text = String::new();
    let job: Job = match std::io::stdin().read_to_string(&mut text).map(|_| serde_json::from_str(&text)) {
        Ok(Ok(job)) => job,
        _ => return 2,
    };
    let result = attempt(job, suites);
    let line = serde_json::to_string(&result).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    u8::from(writeln!(out, "{line}").and_then(|()| out.flush()).is_err())
}

fn attempt(job: Job, suites: &[&'static Suite]) -> JobResult {
    if let Err(e) = sandbox::enter(&job) {
        let trouble =
            Trouble::new(TroubleKind::Host, format!("the attempt's surroundings could not be made: {e}"))
                .hint("plimsoll needs root with CAP_SYS_ADMIN; see `plimsoll doctor`");
        return failed(trouble);
    }
    // The panic's message reaches the outcome; the default hook would print it to the runner's terminal as well.
    std::panic::set_hook(Box::new(|_| {}));
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(judge(job, suites)),
        Err(e) => failed(Trouble::new(TroubleKind::Harness, format!("the worker's event loop: {e}"))),
    }
}

fn failed(trouble: Trouble) -> JobResult {
    let outcome = Outcome::Error { trouble };
    JobResult { outcome, facts: BTreeMap::new(), commands: vec![], config: None, calls_ms: 0.0 }
}

async fn judge(job: Job, suites: &[&'static Suite]) -> JobResult {
    let own = preflight::is_own(&job.case);
    let found = if own { None } else { find_case(suites, &job.case) };
    if found.is_none() && !own {
        return failed(Trouble::new(TroubleKind::Harness, format!("no case `{}` in this build", job.case)));
    }
    let mut params = BTreeMap::new();
    if let Some((bound, _)) = &found
        && let Some(variant) = &bound.variant
    {
        params.insert(bound.case.axis.to_owned(), variant.value.to_owned());
    }
    let reaper = Reaper::default();
    let sweeping = reaper.clone();
    let local = tokio::task::LocalSet::new();
    local.spawn_local(sweeping.run());
    let body = async {
        let before = leak::mounts();
        let mut cx = match Cx::new(job.clone(), params, reaper) {
            Ok(cx) => cx,
            Err(stop) => return failed(trouble_of(stop)),
        };
        let verdict = run_body(&mut cx, &job, found.as_ref().map(|(b, _)| b)).await;
        let evidence = Evidence::of(&cx, &job);
        let left = match &job.target {
            Target::Oci(_) => leak::clean_up(&cx, &before).await,
            Target::Cri(_) => cx.finish_cri().await,
        };
        let covers = found.as_ref().map(|(b, _)| b.covers.clone()).unwrap_or_default();
        let suite = suite_of(suites, &job.case);
        let mut outcome = observe(verdict, &covers, suite, &cx);
        if !left.is_empty() {
            outcome = blame(outcome, &left, suite);
        }
        finish(&cx, &evidence, outcome)
    };
    let result = local.run_until(body).await;
    if let Some(keep) = &job.keep {
        let _ = copy_tree(&job.dir, keep);
    }
    result
}

/// Runs the body under the case's deadline; a panic, a signal to the worker and the deadline are trouble.
async fn run_body(cx: &mut Cx, job: &Job, bound: Option<&Bound>) -> Result<(), Stop> {
    let trouble = |kind, what: String| Err(Stop::Trouble(Trouble::new(kind, what)));
    let own = bound.and_then(|b| b.case.deadline_s).map(|s| s * 1000);
    let limit = Duration::from_millis(own.unwrap_or(0).max(job.limits.case_ms));
    let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return trouble(TroubleKind::Harness, "the worker cannot watch for signals".into());
    };
    let future: CaseFuture<'_> = match bound {
        Some(bound) => (bound.case.run)(cx),
        None => preflight::body(cx, job),
    };
    tokio::select! {
        caught = CatchUnwind(future) => match caught {
            Ok(verdict) => verdict,
            Err(panic) => trouble(TroubleKind::Panic, format!("the case panicked: {}", panic_text(&*panic))),
        },
        () = tokio::time::sleep(limit) => {
            trouble(TroubleKind::Timeout, format!("the case did not end within {} s", limit.as_secs()))
        }
        _ = term.recv() => trouble(TroubleKind::Harness, "cancelled".into()),
    }
}

/// A future whose panics are values.
struct CatchUnwind<'a>(CaseFuture<'a>);

impl Future for CatchUnwind<'_> {
    type Output = Result<Result<(), Stop>, Box<dyn Any + Send>>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        match std::panic::catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(std::task::Poll::Ready(value)) => std::task::Poll::Ready(Ok(value)),
            Ok(std::task::Poll::Pending) => std::task::Poll::Pending,
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn trouble_of(stop: Stop) -> Trouble {
    match stop {
        Stop::Trouble(t) => t,
        Stop::Violation(v) => {
            Trouble::new(TroubleKind::Setup, format!("expected {}, got {}", v.expected, v.actual))
        }
        Stop::Skip { reason, .. } | Stop::NotApplicable { reason, .. } => {
            Trouble::new(TroubleKind::Harness, reason)
        }
    }
}

/// From what the body returned to an outcome: the violated requirement's level decides between fail and warn.
fn observe(verdict: Result<(), Stop>, covers: &[&str], suite: Option<&Suite>, cx: &Cx) -> Outcome {
    match verdict {
        Ok(()) => Outcome::Pass,
        Err(Stop::Skip { lack, reason }) => Outcome::Skip { lack, reason },
        Err(Stop::NotApplicable { capability, reason }) => Outcome::NotApplicable { capability, reason },
        Err(Stop::Trouble(trouble)) => Outcome::Error { trouble },
        Err(Stop::Violation(mut violation)) => {
            if violation.requirement.is_empty() {
                covers.first().copied().unwrap_or_default().clone_into(&mut violation.requirement);
            }
            let catalogue = suite.and_then(|s| s.catalogue().ok()).unwrap_or_default();
            let severity = catalogue.get(&violation.requirement).map(plimsoll_model::Requirement::severity);
            match severity {
                Some(Severity::Fail) => Outcome::Fail { violations: vec![violation] },
                Some(Severity::Warn) => Outcome::Warn { violations: vec![violation] },
                Some(Severity::Record) => {
                    cx.record(&violation.requirement, violation.actual);
                    Outcome::Pass
                }
                // The preflight covers nothing, and a target that fails it is unfit, not non-conformant.
                None => Outcome::Error {
                    trouble: Trouble::new(
                        TroubleKind::Setup,
                        format!("expected {}, got {}", violation.expected, violation.actual),
                    ),
                },
            }
        }
    }
}

/// A leftover violates the suite's clean-up requirement; it never hides what the case itself found.
fn blame(outcome: Outcome, left: &[String], suite: Option<&Suite>) -> Outcome {
    let requirement = suite.map(|s| s.leak_requirement).unwrap_or_default();
    let catalogue = suite.and_then(|s| s.catalogue().ok()).unwrap_or_default();
    let must = catalogue.get(requirement).is_none_or(|r| r.severity() == Severity::Fail);
    let violation =
        Violation::new("nothing is left behind after delete", format!("left behind: {}", left.join(", ")))
            .of(requirement);
    match outcome {
        Outcome::Pass if must => Outcome::Fail { violations: vec![violation] },
        Outcome::Pass => Outcome::Warn { violations: vec![violation] },
        Outcome::Warn { mut violations } if must => {
            violations.insert(0, violation);
            Outcome::Fail { violations }
        }
        Outcome::Warn { mut violations } => {
            violations.push(violation);
            Outcome::Warn { violations }
        }
        Outcome::Fail { mut violations } => {
            violations.push(violation);
            Outcome::Fail { violations }
        }
        other => other,
    }
}

/// What the attempt did, taken before the clean-up adds its own calls.
struct Evidence<'a> {
    job: &'a Job,
    commands: Vec<CommandRecord>,
    calls_ms: f64,
    made: Vec<Made>,
}

impl<'a> Evidence<'a> {
    fn of(cx: &Cx, job: &'a Job) -> Self {
        let mut evidence = Self { job, commands: vec![], calls_ms: 0.0, made: vec![] };
        if let Some(cri) = cx.cri_so_far() {
            evidence.made = cri.made();
            evidence.commands = evidence.of_endpoint(&cri);
        } else {
            evidence.commands = cx.calls().iter().map(|c| evidence.record(c)).collect();
        }
        evidence.calls_ms = evidence.commands.iter().map(|c| c.ms).sum();
        evidence
    }

    fn of_endpoint(&self, cri: &Cri) -> Vec<CommandRecord> {
        let records = cri.records();
        // The last calls tell most.
        let skipped = records.len().saturating_sub(CALLS);
        let shown = records.into_iter().skip(skipped).map(|r| CommandRecord {
            argv: vec![r.rpc.to_owned(), self.short(&r.request)],
            status: r.code.clone(),
            ms: r.nanoseconds as f64 / 1e6,
            stdout: if r.code == "Ok" { self.short(&r.response) } else { String::new() },
            stderr: if r.code == "Ok" { String::new() } else { self.short(&r.response) },
        });
        shown.collect()
    }

    fn record(&self, call: &Call) -> CommandRecord {
        CommandRecord {
            argv: call.argv.iter().map(|a| self.short(a)).collect(),
            status: call.status.to_string(),
            ms: call.duration.as_secs_f64() * 1000.0,
            stdout: self.short(&call.stdout),
            stderr: self.short(&call.stderr),
        }
    }

    fn short(&self, text: &str) -> String {
        self.stable(text).chars().take(SHOWN).collect()
    }

    /// Replaces what varies between runs: the attempt's directory by `W`, its cgroup by `/G`, its containers' ids by
    /// `C1`, `C2`, ..., or, on an endpoint, ids by `pod1` and `container1`.
    fn stable(&self, text: &str) -> String {
        let mut text = text
            .replace(&self.job.dir.display().to_string(), "W")
            .replace(&self.job.cgroup, "/G")
            .replace(&format!("pl-{}-", self.job.tag), "C")
            .replace(&self.job.tag, "T");
        let (mut pods, mut containers) = (0, 0);
        for made in &self.made {
            let (count, word) = match made {
                Made::Pod(_) => (&mut pods, "pod"),
                Made::Container(_) => (&mut containers, "container"),
            };
            *count += 1;
            text = text.replace(made.id(), &format!("{word}{count}"));
        }
        text
    }
}

/// What is shown of each stream of a call in a record, in bytes.
const SHOWN: usize = 2048;
/// Calls of an endpoint that are shown.
const CALLS: usize = 64;

/// Normalises what varies between runs, and keeps the evidence of everything but a pass.
fn finish(cx: &Cx, evidence: &Evidence<'_>, outcome: Outcome) -> JobResult {
    let calls_ms = evidence.calls_ms;
    let mut result = JobResult { outcome, facts: cx.facts(), commands: vec![], config: None, calls_ms };
    if result.outcome != Outcome::Pass {
        result.commands.clone_from(&evidence.commands);
        let config = cx.last_config();
        result.config = config.map(|c| serde_json::from_str(&evidence.stable(&c.to_string())).unwrap_or(c));
    }
    let text = serde_json::to_string(&result.outcome).unwrap_or_default();
    if let Ok(outcome) = serde_json::from_str(&evidence.stable(&text)) {
        result.outcome = outcome;
    }
    result
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)?.flatten() {
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() && entry.file_name() != "probe" {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
