//! Runs a part of the suite against a private containerd. `PLIMSOLL_CRI_CASES` chooses another part (text in the
//! case id, commas between several, `all` for every case), `PLIMSOLL_CRI_HANDLER` chooses the handler,
//! `PLIMSOLL_CRI_ENDPOINT` another endpoint. `PLIMSOLL_CRI_HOLD` names the file that holds back the restart of that
//! endpoint's server, where somebody starts it again when it dies.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use plimsoll_kit::case::Bound;
use plimsoll_kit::cri::Fixture;
use plimsoll_kit::job::{CriTarget, Job, Limits, Target};
use plimsoll_kit::reaper::Reaper;
use plimsoll_kit::{Cx, Stop, host};
use plimsoll_suite_cri::SUITE;
use plimsoll_testbed::{Options, Testbed};
use serde_json::Value;

/// Cases at once.
const WORKERS: usize = 4;

struct Line {
    id: String,
    outcome: &'static str,
    text: String,
    took: Duration,
}

fn job(
    bound: &Bound,
    n: usize,
    target: &CriTarget,
    facts: &BTreeMap<String, Value>,
    dir: &std::path::Path,
) -> Job {
    let dir = dir.join(n.to_string());
    std::fs::create_dir_all(&dir).unwrap();
    Job {
        case: bound.id.to_string(),
        tag: format!("x{:x}c{n}", std::process::id()),
        dir,
        cgroup: String::new(),
        target: Target::Cri(target.clone()),
        spec_version: None,
        features: None,
        target_facts: facts.clone(),
        host: host::facts(),
        oci_version: "1.0.2".parse().unwrap(),
        limits: Limits::default(),
        seed: 1,
        keep: None,
    }
}

async fn run_one(bound: &Bound, job: Job) -> Line {
    let start = Instant::now();
    let id = bound.id.to_string();
    let params = BTreeMap::new();
    let (outcome, text) = match Cx::new(job, params, Reaper::default()) {
        Err(stop) => ("ERROR", format!("{stop:?}")),
        Ok(mut cx) => {
            let limit = Duration::from_secs(bound.case.deadline_s.unwrap_or(90));
            let verdict = tokio::time::timeout(limit, (bound.case.run)(&mut cx)).await;
            let left = cx.finish_cri().await;
            match verdict {
                Err(_) => ("ERROR", format!("the case took over {limit:?}")),
                Ok(Err(Stop::Trouble(t))) => ("ERROR", format!("{}: {}", t.what, t.hint)),
                Ok(Err(Stop::Violation(v))) => {
                    ("FAIL", format!("[{}] expected {} | got {}", v.requirement, v.expected, v.actual))
                }
                Ok(Err(Stop::Skip { lack, reason })) => ("SKIP", format!("{lack}: {reason}")),
                Ok(Err(Stop::NotApplicable { capability, reason })) => {
                    ("N/A", format!("{capability}: {reason}"))
                }
                Ok(Ok(())) if left.is_empty() => ("pass", String::new()),
                Ok(Ok(())) => ("LEAK", left.join("; ")),
            }
        }
    };
    Line { id, outcome, text, took: start.elapsed() }
}

async fn run_all(target: CriTarget, facts: BTreeMap<String, Value>) -> Vec<Line> {
    let wanted = std::env::var("PLIMSOLL_CRI_CASES").unwrap_or_else(|_| "cri/transport".into());
    let wanted: Vec<&str> = if wanted == "all" { vec![""] } else { wanted.split(',').collect() };
    let bound: Vec<Bound> = SUITE
        .bound()
        .unwrap()
        .into_iter()
        .filter(|b| wanted.iter().any(|w| b.id.to_string().contains(w)))
        .collect();
    assert!(!bound.is_empty(), "no case has {wanted:?} in its id");
    let dir = tempfile::tempdir().unwrap();
    let (alone, together): (Vec<_>, Vec<_>) =
        bound.into_iter().enumerate().partition(|(_, b)| b.case.exclusive.contains(&"daemon"));
    let queue = Rc::new(RefCell::new(together));
    queue.borrow_mut().reverse();
    let lines = Rc::new(RefCell::new(Vec::new()));
    let local = tokio::task::LocalSet::new();
    for _ in 0..WORKERS {
        let (queue, lines, target, facts) = (queue.clone(), lines.clone(), target.clone(), facts.clone());
        let base = dir.path().to_owned();
        local.spawn_local(async move {
            loop {
                let Some((n, bound)) = queue.borrow_mut().pop() else { return };
                let line = run_one(&bound, job(&bound, n, &target, &facts, &base)).await;
                lines.borrow_mut().push(line);
            }
        });
    }
    local.await;
    let mut lines = Rc::try_unwrap(lines).ok().unwrap().into_inner();
    for (n, bound) in alone {
        lines.push(run_one(&bound, job(&bound, n, &target, &facts, dir.path())).await);
    }
    lines
}

#[tokio::test]
async fn the_suite_reaches_verdicts_on_a_real_server() {
    let handler = std::env::var("PLIMSOLL_CRI_HANDLER").unwrap_or_default();
    let given = std::env::var("PLIMSOLL_CRI_ENDPOINT").ok();
    if given.is_none() && !std::path::Path::new("/usr/bin/containerd").exists() {
        assert!(std::env::var("PLIMSOLL_CI").is_err(), "containerd is not installed");
        println!("SKIP: containerd is not installed");
        return;
    }
    let bed = match &given {
        Some(_) => None,
        None => Some(Testbed::start(Options::new(plimsoll_kit::probe::PROBE.to_vec())).await.unwrap()),
    };
    let endpoint = given.unwrap_or_else(|| format!("unix://{}", bed.as_ref().unwrap().socket().display()));
    let address: plimsoll_cri_client::Target = format!("cri:{endpoint}").parse().unwrap();
    let fixture = Fixture::prepare(&address, &format!("run-{}", std::process::id())).await.unwrap();
    let start = Instant::now();
    let target = CriTarget { image_endpoint: endpoint.clone(), endpoint, handler };
    let mut facts = fixture.facts();
    if let Ok(hold) = std::env::var("PLIMSOLL_CRI_HOLD") {
        facts.insert(plimsoll_kit::cri::DAEMON_HOLD.to_owned(), Value::String(hold));
    }
    let mut lines = run_all(target, facts).await;
    let took = start.elapsed();
    fixture.end().await.unwrap();
    if let Some(bed) = bed {
        bed.stop().await.unwrap();
    }
    lines.sort_by(|a, b| a.id.cmp(&b.id));
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        *count.entry(line.outcome).or_default() += 1;
        println!("{:6} {:60} {:5.1}s {}", line.outcome, line.id, line.took.as_secs_f32(), line.text);
    }
    println!("{count:?} in {:.1} s", took.as_secs_f32());
    assert!(count.contains_key("pass"), "nothing passed");
    assert_eq!(
        count.get("ERROR").copied().unwrap_or(0) + count.get("LEAK").copied().unwrap_or(0),
        0,
        "errors or leaks"
    );
}
