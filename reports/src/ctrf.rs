//! Common Test Report Format, specification 0.0.0.

use plimsoll_model::{CaseRecord, Judgement, OutcomeKind, PlannedCase, Run};
use serde_json::{Map, Value, json};

use crate::terminal::failure_block;
use crate::text::{cap, clean, one_line, shorten, stable};
use crate::view::{View, is_flaky};

/// The document: all targets, or one by its label.
pub fn render(run: &Run, target: Option<&str>) -> String {
    let view = View::new(run);
    let mut tests = Vec::new();
    let targets = run.header.targets.iter().filter(|t| target.is_none_or(|label| label == t.label));
    for label in targets.map(|t| t.label.as_str()) {
        for case in &run.header.plan {
            let record = view.record(case.id.as_str(), label);
            tests.push(record.map_or_else(|| missing(case, label), |r| test(&view, case, r)));
        }
    }
    let count = |status: &str| tests.iter().filter(|t| t["status"] == status).count();
    let start = run.header.started_at.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond);
    let took = run.footer.as_ref().map_or(0.0, |f| f.duration_ms.clamp(0.0, 1e15));
    let tool = one_line(&run.header.tool);
    let (name, version) = tool.split_once(' ').unwrap_or((tool.as_str(), ""));
    let mut about = Map::new();
    about.insert("name".into(), if name.is_empty() { "plimsoll" } else { name }.into());
    if !version.is_empty() {
        about.insert("version".into(), version.into());
    }
    let document = json!({
        "reportFormat": "CTRF",
        "specVersion": "0.0.0",
        "generatedBy": "plimsoll",
        "results": {
            "tool": about,
            "summary": {
                "tests": tests.len(), "passed": count("passed"), "failed": count("failed"), "skipped": count("skipped"),
                "pending": count("pending"), "other": count("other"),
                "start": start, "stop": start.saturating_add(took as i64),
            },
            "tests": tests,
            "environment": {
                "osPlatform": one_line(&run.header.host.machine), "osRelease": one_line(&run.header.host.kernel),
                "osVersion": one_line(&run.header.host.os),
                "extra": {"plimsoll": {"runId": one_line(&run.header.run_id), "planDigest": one_line(&run.header.plan_digest)}},
            },
        },
    });
    format!("{document:#}\n")
}

fn missing(case: &PlannedCase, target: &str) -> Value {
    json!({
        "name": case.id.as_str(), "status": "other", "rawStatus": "no result", "duration": 0,
        "suite": suite(case, target), "message": "no result: the run was cut off",
    })
}

fn suite(case: &PlannedCase, target: &str) -> Value {
    json!([format!("target {}", one_line(target)), case.id.suite(), case.id.section()])
}

fn test(view: &View<'_>, case: &PlannedCase, record: &CaseRecord) -> Value {
    let kind = record.outcome.kind();
    let status = match (&record.judgement, kind) {
        (Judgement::Known { .. }, _) => "pending",
        (_, OutcomeKind::Pass | OutcomeKind::Warn) => "passed",
        (_, OutcomeKind::Fail) => "failed",
        (_, OutcomeKind::NotApplicable | OutcomeKind::Skip | OutcomeKind::NotRun) => "skipped",
        (_, OutcomeKind::Error) => "other",
    };
    let tries = view.superseded(record.case.as_str(), &record.target);
    let mut out = Map::new();
    out.insert("name".into(), case.id.as_str().into());
    out.insert("status".into(), status.into());
    out.insert("rawStatus".into(), kind.word().into());
    out.insert("duration".into(), (record.duration_ms.clamp(0.0, 1e15).round() as u64).into());
    out.insert("suite".into(), suite(case, &record.target));
    out.insert("type".into(), "conformance".into());
    out.insert("filePath".into(), one_line(&case.file).into());
    if !case.tags.is_empty() {
        out.insert("tags".into(), case.tags.iter().map(|t| one_line(t)).collect::<Vec<_>>().into());
    }
    if kind != OutcomeKind::Pass {
        let message = shorten(&stable(&one_line(&record.outcome.message())), 500);
        let block = failure_block(record, &view.run.header, 1 + tries.len() as u32);
        out.insert("message".into(), message.into());
        out.insert("trace".into(), cap(&clean(&block), 32 * 1024).into());
    }
    if !tries.is_empty() {
        out.insert("retries".into(), tries.len().into());
        out.insert("flaky".into(), is_flaky(view, record).into());
    }
    out.insert("extra".into(), json!({"plimsoll": {"covers": case.covers, "attempt": record.attempt}}));
    Value::Object(out)
}
