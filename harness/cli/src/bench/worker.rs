//! What the engine adds to a case: a worker process, its surroundings, its leak check and its removal.
//!
//! Measured with a runtime that does nothing and a case that calls it once: the attempt's time without that call is
//! the engine's own. No run holds this suite; only the worker knows it.

use crate::output;
use crate::run::bundled;
use crate::usage::Failure;
use plimsoll_bench_stats::describe;
use plimsoll_engine::journal::RunDir;
use plimsoll_engine::{doctor, pool};
use plimsoll_kit::case::Drives;
use plimsoll_kit::job::{CgroupLayout, Job, Limits, OciTarget, Target};
use plimsoll_kit::prelude::*;
use plimsoll_kit::{Section, Suite};
use plimsoll_model::{ExitCode, Outcome, SpecVersion};
use std::path::Path;

/// Attempts that are measured, after a few that are not.
const ATTEMPTS: u64 = 60;
/// Attempts that only warm up.
const WARM_UP: u64 = 5;
/// What a case may cost beyond the runtime's own calls, milliseconds.
const TARGET_MS: f64 = 5.0;

static SECTIONS: &[Section] = &[Section { name: "worker", cases: &[calls_once] }];

/// The suite; only for workers.
pub static SUITE: Suite = Suite {
    name: "overhead",
    title: "What the engine itself costs",
    drives: Drives::Oci,
    requirements: &[],
    waivers: &[],
    leak_requirement: "overhead.nothing",
    clause_url: "",
    sections: &[SECTIONS],
};

/// A case that calls its runtime once and asks nothing of the answer.
#[case(covers = ["overhead.nothing"])]
async fn calls_once(cx: &mut Cx) -> Verdict {
    cx.runtime().call(&["--version"]).await.map(|_| ())
}

/// Measures and prints; success means that the median is within the target.
pub fn measure(guest: &Path, work: &Path) -> Result<ExitCode, Failure> {
    let trouble =
        |e: std::io::Error| Failure::trouble(format!("the engine's own cost cannot be measured: {e}"));
    let (host, _) = doctor::examine(work);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(trouble)?;
    let program = bundled()?.program;
    let id = format!("{:08x}", crate::run::fresh_seed() as u32);
    let run = RunDir::create(work, &id).map_err(trouble)?;
    let (_keep, cancel) = tokio::sync::watch::channel(false);
    let mut own = Vec::new();
    let mut calls = Vec::new();
    let mut failed = None;
    for n in 0..WARM_UP + ATTEMPTS {
        let job = job(&run, n, guest, &host);
        let (result, took) = runtime.block_on(pool::attempt(&program, job, cancel.clone()));
        if result.outcome != Outcome::Pass {
            failed = Some(result.outcome.message());
            break;
        }
        if n >= WARM_UP {
            own.push(took.as_secs_f64() * 1e3 - result.calls_ms);
            calls.push(result.calls_ms);
        }
    }
    let _ = plimsoll_engine::sandbox::clear_cgroups(&run.intent.cgroup);
    std::fs::remove_dir_all(run.path()).map_err(trouble)?;
    if let Some(why) = failed {
        return Err(Failure::trouble(format!("a worker failed: {why}")));
    }
    let of = |values: &[f64]| describe::summary(values).map_err(|e| Failure::trouble(e.to_string()));
    let (own, calls) = (of(&own)?, of(&calls)?);
    output::line(&format!(
        "worker: {:.2} ms per case beyond the runtime's own calls (median of {}; p90 {:.2}, least {:.2}); the null \
         runtime's call took {:.2} ms; target {TARGET_MS} ms",
        own.p50, own.n, own.p90, own.min, calls.p50
    ));
    Ok(if own.p50 <= TARGET_MS { ExitCode::Success } else { ExitCode::CannotTell })
}

fn job(run: &RunDir, n: u64, guest: &Path, host: &plimsoll_model::HostFacts) -> Job {
    let intent = &run.intent;
    Job {
        case: "overhead/worker/calls-once".into(),
        tag: format!("{}x{n}", intent.run),
        dir: run.path().join(n.to_string()),
        cgroup: format!("{}/{n}", intent.cgroup),
        target: Target::Oci(OciTarget {
            program: guest.to_owned(),
            // Whatever follows, this writes one line and ends.
            args: vec!["stamp".into(), "1".into()],
            env: Vec::new(),
            cgroups: CgroupLayout::Host,
        }),
        spec_version: None,
        features: None,
        target_facts: std::collections::BTreeMap::new(),
        host: host.clone(),
        oci_version: SpecVersion::new(1, 0, 2),
        limits: Limits::default(),
        seed: n,
        keep: None,
    }
}
