//! The in-toto statement: which runtime, which result, under which configuration.

use plimsoll_model::{Judgement, OutcomeKind, Run, Severity};
use serde_json::{Value, json};

use super::{Files, sha256_hex};
use crate::view::View;

/// The type of in-toto statements.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate of test results.
const PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// The statement's bytes; a function of the run and of what the manifest names, so that a checker makes it again.
pub(super) fn write(run: &Run, files: &Files, manifest: &[u8], journal_head: &str) -> Vec<u8> {
    let mut subject: Vec<Value> = Vec::new();
    for target in &run.header.targets {
        if let Some(digest) = &target.sha256 {
            subject.push(json!({"name": target.label, "digest": {"sha256": digest}}));
        }
    }
    subject.push(json!({"name": super::MANIFEST, "digest": {"sha256": sha256_hex(manifest)}}));
    let resource = |name: &str| {
        let content = files.get(name).map(Vec::as_slice).unwrap_or_default();
        json!({"name": name, "digest": {"sha256": sha256_hex(content)}})
    };
    let tests = |pick: fn(OutcomeKind) -> bool| -> Vec<String> {
        let records = run.records.iter().filter(|r| pick(r.outcome.kind()));
        records.map(|r| format!("{} {}", r.target, r.case)).collect()
    };
    let statement = json!({
        "_type": STATEMENT,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": {
            "result": result(run),
            "configuration": [resource("requirements.json"), resource("waivers.json"), resource("environment.json")],
            "passedTests": tests(|k| k == OutcomeKind::Pass),
            "warnedTests": tests(|k| k == OutcomeKind::Warn),
            "failedTests": tests(|k| k == OutcomeKind::Fail),
            // The predicate has no list for what was not decided, and silence would hide it.
            "plimsoll": {
                "errorTests": tests(|k| k == OutcomeKind::Error),
                "skippedTests": tests(|k| k == OutcomeKind::Skip),
                "notApplicableTests": tests(|k| k == OutcomeKind::NotApplicable),
                "notRunTests": tests(|k| k == OutcomeKind::NotRun),
                "reservations": reservations(run),
                "runId": run.header.run_id,
                "planDigest": run.header.plan_digest,
                "seed": run.header.seed,
                "challenge": run.header.challenge,
                "journalHead": journal_head,
            },
        },
    });
    statement.to_string().into_bytes()
}

/// `FAILED` when a MUST is not met or nothing was decided, `WARNED` when a SHOULD is not met or something at MUST level
/// is undecided, else `PASSED`. Known failures are failures here.
pub(super) fn result(run: &Run) -> &'static str {
    let any = |kind| run.records.iter().any(|r| r.outcome.kind() == kind);
    if any(OutcomeKind::Fail) || !any(OutcomeKind::Pass) {
        "FAILED"
    } else if any(OutcomeKind::Warn) || !reservations(run).is_empty() {
        "WARNED"
    } else {
        "PASSED"
    }
}

/// What keeps the run from being a proof of conformance, apart from failures: MUST-level cases that are undecided, known
/// failures, and MUST requirements that no case covers.
pub(super) fn reservations(run: &Run) -> Vec<String> {
    let view = View::new(run);
    let mut out = Vec::new();
    for record in &run.records {
        let must = view.planned(record.case.as_str()).is_some_and(|c| c.severity == Severity::Fail);
        let kind = record.outcome.kind();
        let undecided = matches!(kind, OutcomeKind::Error | OutcomeKind::Skip | OutcomeKind::NotRun);
        if must && undecided {
            out.push(format!("{} on {}: {}", record.case, record.target, kind.word()));
        }
        if matches!(record.judgement, Judgement::Known { .. }) {
            out.push(format!("{} on {}: known failure", record.case, record.target));
        }
    }
    let covered = crate::coverage::coverage(&run.header.requirements, &run.header.plan, &run.header.waivers);
    let open = covered.open.iter().filter(|r| r.level.is_must());
    out.extend(open.map(|r| format!("{}: no case covers it", r.id)));
    out
}
