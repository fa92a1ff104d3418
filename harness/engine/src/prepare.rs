//! Before the first case: servers are started, each target is looked at, and the header is written.

use crate::between::Standing;
use crate::journal::{Made, RunDir};
use crate::plan::Plan;
use crate::pool;
use crate::preflight::{LOOK, PREFLIGHT};
use crate::reference::Server;
use crate::run::RunOptions;
use crate::target::Resolved;
use plimsoll_kit::job::{Job, Limits, Target};
use plimsoll_model::event::RUN_FORMAT;
use plimsoll_model::{Header, Outcome, PlannedCase, SpecVersion};
use serde_json::Value;
use std::io;
use tokio::sync::watch;

/// Starts the servers that targets want, then looks at each target.
pub(crate) async fn prepare(
    options: &RunOptions,
    run_dir: &mut RunDir,
    targets: &mut [Resolved],
    (servers, standing): (&mut Vec<Server>, &mut Vec<Standing>),
    cancel: &watch::Receiver<bool>,
) -> io::Result<()> {
    let scale = options.limits.call_ms as f64 / Limits::default().call_ms as f64;
    for (n, target) in targets.iter_mut().enumerate() {
        if *cancel.borrow() {
            target.info.unfit = Some("interrupted before it was looked at".into());
            continue;
        }
        if let (Some(wanted), Target::Cri(cri)) = (&target.server, &mut target.target) {
            match Server::start(&options.bundled, run_dir, n, wanted, scale).await {
                Ok(server) => {
                    cri.endpoint = server.endpoint();
                    cri.image_endpoint = server.endpoint();
                    target.restarted = Some(server.restarted());
                    servers.push(server);
                }
                Err(error) => {
                    target.info.unfit = Some(error.to_string());
                    continue;
                }
            }
        }
        if target.info.spec.is_cri() {
            ask(options, run_dir, n, target, LOOK, cancel.clone()).await;
        }
        if let (Target::Cri(cri), None, None) = (&target.target, &target.server, &target.info.unfit) {
            // Handlers of one endpoint are cleared away together.
            let known =
                |m: &Made| matches!(m, Made::OnEndpoint { target } if target.endpoint == cri.endpoint);
            if !run_dir.made.iter().any(known) {
                run_dir.record(&Made::OnEndpoint { target: cri.clone() })?;
            }
        }
        if target.info.unfit.is_none() {
            ask(options, run_dir, n, target, PREFLIGHT, cancel.clone()).await;
        }
        // Only now, so that the cases judge what it does, and no fitness ends the run before they could.
        if let (Some(between), Target::Cri(cri)) = (&options.between, &mut target.target) {
            match Standing::start(between, &options.bundled, run_dir, n, cri, scale).await {
                Ok(program) => standing.push(program),
                Err(error) => {
                    target.info.unfit = Some(format!("nothing could be put in front of it: {error}"));
                }
            }
        }
    }
    Ok(())
}

/// One attempt of a case on a target.
pub(crate) fn job(
    options: &RunOptions,
    run_dir: &RunDir,
    n: u64,
    target: &Resolved,
    case: &str,
    version: &SpecVersion,
) -> Job {
    let mut limits = options.limits;
    limits.case_ms = limits.case_ms.max(1000);
    if let Target::Cri(_) = target.target {
        // One rpc alone may take the time of a whole case of an OCI runtime.
        limits.case_ms *= 2;
    }
    let mut target_facts = target.info.facts.clone();
    if let Some(place) = &target.restarted {
        let mut insert = |name: &str, path: &std::path::Path| {
            target_facts.insert(name.to_owned(), path.display().to_string().into());
        };
        insert(plimsoll_kit::cri::DAEMON_HOLD, &place.hold);
        insert(plimsoll_kit::cri::DAEMON_SOCKET, &place.socket);
    }
    Job {
        case: case.to_owned(),
        tag: format!("{}x{n}", run_dir.intent.run),
        dir: run_dir.path().join(n.to_string()),
        cgroup: format!("{}/{n}", run_dir.intent.cgroup),
        target: target.target.clone(),
        spec_version: target.info.spec_version.clone(),
        features: target.info.features.clone(),
        target_facts,
        host: options.host.clone(),
        oci_version: version.clone(),
        limits,
        seed: options.seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        keep: None,
    }
}

/// Fills in what the target says of itself, and whether it is fit to be judged.
async fn ask(
    options: &RunOptions,
    run_dir: &RunDir,
    n: usize,
    target: &mut Resolved,
    question: &str,
    cancel: watch::Receiver<bool>,
) {
    let oldest = SpecVersion::new(1, 0, 2);
    // Numbers beyond those of cases; each question has its own, as names on an endpoint must differ.
    let number = 1_000_000 + 2 * n as u64 + u64::from(question == PREFLIGHT);
    let job = job(options, run_dir, number, target, question, &oldest);
    let (mut result, _) = pool::attempt(&options.bundled.program, job, cancel).await;
    let text = |v: Option<Value>| v.and_then(|v| v.as_str().map(str::to_owned));
    let info = &mut target.info;
    if let Some(version) = text(result.facts.remove("version")) {
        info.version = version;
    }
    info.features = result.facts.remove("features").or(info.features.take());
    let said =
        ["ociVersionMin", "ociVersionMax"].map(|key| info.features.as_ref()?[key].as_str()?.parse().ok());
    let from_version = text(result.facts.remove("spec")).and_then(|s| s.parse().ok());
    // The highest: a document whose latest version is wrong must not take the cases about it out of the run.
    let declared = said.into_iter().flatten().chain(from_version).max();
    info.spec_version = info.spec_version.clone().or(declared);
    info.facts.extend(result.facts);
    if result.outcome != Outcome::Pass {
        info.unfit = Some(result.outcome.message());
    }
}

/// The first line of the run file.
pub(crate) fn header(options: &RunOptions, plan: &Plan, targets: &[Resolved], run_id: &str) -> Header {
    let cases: Vec<PlannedCase> = plan.cases.clone();
    Header {
        format: RUN_FORMAT.to_owned(),
        run_id: run_id.to_owned(),
        tool: options.tool.clone(),
        started_at: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seed: options.seed,
        command: options.command.clone(),
        profile: options.selection.profile.word().to_owned(),
        filters: options.filters.clone(),
        partition: options.selection.partition.as_ref().map(ToString::to_string),
        plan_digest: plan.digest.clone(),
        challenge: options.challenge.clone(),
        host: options.host.clone(),
        targets: targets.iter().map(|t| t.info.clone()).collect(),
        plan: cases,
        places: plan.places.clone(),
        requirements: plan.catalogue.rows().to_vec(),
        waivers: plan.waivers.clone(),
    }
}
