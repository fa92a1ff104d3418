//! `--stress-count`: the same plan again and again; verdicts that differ are flaky.

use crate::args::Global;
use crate::output;
use crate::report;
use crate::usage::Failure;
use plimsoll_engine::run::Finished;
use plimsoll_model::{CaseRecord, ExitCode, Run};
use std::collections::BTreeMap;

/// Runs the plan `times` times and makes one run of it: each round is an attempt, and the gravest outcome decides.
pub fn repeat(
    times: u32,
    global: &Global,
    mut execute: impl FnMut(u64) -> Result<Finished, Failure>,
) -> Result<Run, Failure> {
    let mut rounds = Vec::new();
    for round in 0..times {
        output::note(&format!("round {} of {times}", round + 1));
        let finished = execute(u64::from(round))?;
        let stop = finished.interrupt.is_some();
        rounds.push(finished.run);
        if stop {
            break;
        }
    }
    let run = joined(rounds).ok_or_else(|| Failure::usage("--stress-count takes a number above 0"))?;
    output::file(&global.out.join("run.jsonl"), report::jsonl(&run)?.as_bytes())?;
    Ok(run)
}

/// One run of several: records of the same case and target become attempts, the gravest of them last.
fn joined(rounds: Vec<Run>) -> Option<Run> {
    let mut attempts: BTreeMap<(String, String), Vec<CaseRecord>> = BTreeMap::new();
    let mut earlier = Vec::new();
    let mut last: Option<Run> = None;
    let mut duration_ms = 0.0;
    let mut code = ExitCode::Success;
    for mut run in rounds {
        earlier.append(&mut run.superseded);
        for record in run.records.drain(..) {
            attempts.entry((record.case.to_string(), record.target.clone())).or_default().push(record);
        }
        if let Some(footer) = &run.footer {
            duration_ms += footer.duration_ms;
            code = code.and(crate::run::code_of(footer.exit_code));
        }
        last = Some(run);
    }
    let mut run = last?;
    let mut flaky = 0;
    for (_, mut records) in attempts {
        flaky += usize::from(records.windows(2).any(|w| w[0].outcome.kind() != w[1].outcome.kind()));
        records.sort_by_key(|r| r.outcome.kind().gravity());
        let number = records.len();
        for (i, mut record) in records.into_iter().enumerate() {
            record.attempt = i as u32 + 1;
            record.superseded = i + 1 < number;
            if record.superseded { run.superseded.push(record) } else { run.records.push(record) }
        }
    }
    run.superseded.append(&mut earlier);
    if flaky > 0 {
        code = code.and(ExitCode::GateClosed);
    }
    let counts = run.counts();
    if let Some(footer) = &mut run.footer {
        footer.duration_ms = duration_ms;
        footer.counts = counts;
        footer.exit_code = code.code();
    }
    run.settle().ok()?;
    Some(run)
}

#[cfg(test)]
mod tests {
    use super::joined;
    use plimsoll_model::{OutcomeKind, Run};
    use serde_json::{Value, json};

    fn round(outcome: &Value, judgement: &str, code: u8) -> Run {
        let kind = outcome["kind"].as_str().unwrap_or_default().to_owned();
        let spec: plimsoll_model::TargetSpec = "oci:/mine".parse().unwrap();
        let events = [
            json!({"event": "header", "format": "plimsoll-run/1", "run_id": "r", "tool": "plimsoll 0", "started_at": "",
                "seed": 1, "command": [], "profile": "full", "plan_digest": "", "requirements": [], "waivers": {},
                "plan": [{"id": "s/a/one", "summary": "", "covers": [], "severity": "fail", "since": "1.0.0",
                    "file": "", "line": 1}],
                "targets": [{"label": "mine", "spec": spec, "version": ""}],
                "host": {"kernel": "", "machine": "", "os": "", "cgroups": "v2", "controllers": {}, "lsm": [],
                    "missing_capabilities": [], "cpus": 1, "memory_kib": 1}}),
            json!({"event": "case-finished", "target": "mine", "case": "s/a/one", "attempt": 1, "outcome": outcome,
                "judgement": {"kind": judgement}, "duration_ms": 1.0}),
            json!({"event": "footer", "status": "complete", "duration_ms": 2.0, "planned": 1, "exit_code": code,
                "counts": {"mine": {kind: 1}}}),
        ];
        Run::parse(&events.map(|e| e.to_string() + "\n").concat()).unwrap()
    }

    #[test]
    fn one_red_round_among_many_decides_and_counts_as_flaky() {
        let pass = round(&json!({"kind": "pass"}), "good", 0);
        let violation = json!({"requirement": "r", "expected": "a", "actual": "b"});
        let fail = round(&json!({"kind": "fail", "violations": [violation]}), "bad", 1);
        let run = joined(vec![pass.clone(), fail, pass.clone()]).unwrap();
        assert_eq!(run.records[0].outcome.kind(), OutcomeKind::Fail);
        assert_eq!((run.superseded.len(), run.records[0].attempt), (2, 3));
        assert_eq!(run.footer.as_ref().unwrap().exit_code, 1);
        // What was joined is a run file like any other.
        let text: String = run.to_events().iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect();
        assert_eq!(Run::parse(&text).unwrap(), run);
        let calm = joined(vec![pass.clone(), pass]).unwrap();
        assert_eq!(calm.footer.unwrap().exit_code, 0);
    }
}
