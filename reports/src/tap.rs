//! TAP version 14, with YAML diagnostics that carry the requirement.

use plimsoll_model::{CaseRecord, Judgement, Outcome, OutcomeKind, Run};
use std::fmt::Write as _;

use crate::text::{clean, one_line};
use crate::view::{View, reproduce};

/// The whole stream: one test point per case and target, in plan order.
pub fn render(run: &Run) -> String {
    let view = View::new(run);
    let mut out = String::from("TAP version 14\n");
    let points = run.header.plan.len() * run.header.targets.len();
    let _ = writeln!(out, "1..{points}");
    let mut n = 0;
    for target in &run.header.targets {
        for case in &run.header.plan {
            n += 1;
            let name = format!("{} {}", escape(&target.label), case.id);
            match view.record(case.id.as_str(), &target.label) {
                Some(record) => point(&mut out, &view, n, &name, record),
                None => {
                    let _ = writeln!(out, "not ok {n} - {name} # no result: the run was cut off");
                }
            }
        }
    }
    if run.footer.is_none() {
        out.push_str("Bail out! the run file has no footer: the run was cut off\n");
    }
    out
}

fn point(out: &mut String, view: &View<'_>, n: usize, name: &str, record: &CaseRecord) {
    let kind = record.outcome.kind();
    let message = escape(&record.outcome.message());
    let (ok, directive) = match (&record.judgement, kind) {
        (Judgement::Known { issue, .. }, _) => (false, format!(" # TODO {}", escape(issue))),
        (_, OutcomeKind::Pass | OutcomeKind::Warn) => (true, String::new()),
        (_, OutcomeKind::NotApplicable | OutcomeKind::Skip | OutcomeKind::NotRun) => {
            (true, format!(" # SKIP {message}"))
        }
        (_, OutcomeKind::Fail | OutcomeKind::Error) => (false, String::new()),
    };
    let word = if ok { "ok" } else { "not ok" };
    let _ = writeln!(out, "{word} {n} - {name}{directive}");
    if kind != OutcomeKind::Pass {
        diagnostics(out, view, record);
    }
}

fn diagnostics(out: &mut String, view: &View<'_>, record: &CaseRecord) {
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "  {key}: {}", yaml(value));
    };
    line("---", "");
    line("outcome", record.outcome.kind().word());
    match &record.outcome {
        Outcome::Fail { violations } | Outcome::Warn { violations } => {
            if let Some(first) = violations.first() {
                line("requirement", &first.requirement);
                if let Some(requirement) = view.requirement(&first.requirement) {
                    line("level", requirement.level.word());
                    line("reference", &requirement.clause());
                }
                line("expected", &first.expected);
                line("actual", &first.actual);
            }
        }
        _ => line("message", &record.outcome.message()),
    }
    let _ = writeln!(out, "  duration_ms: {:.3}", record.duration_ms.max(0.0));
    let _ = writeln!(out, "  rerun: {}\n  ...", yaml(&reproduce(&view.run.header, record)));
}

/// A description or directive must not hold an unescaped `#`, nor a line end.
fn escape(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('#', "\\#")
}

/// A JSON string is a YAML scalar in double quotes.
fn yaml(text: &str) -> String {
    serde_json::to_string(&clean(text)).unwrap_or_else(|_| "\"\"".into())
}
