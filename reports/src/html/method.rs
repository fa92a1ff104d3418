//! How the run was made, what this host could not show, and what the words mean.

use askama::Template;
use plimsoll_model::event::RunStatus;
use plimsoll_model::{ExitCode, Outcome};
use std::collections::BTreeMap;

use crate::text::{duration, one_line, shell, shorten};
use crate::verdict::exit_code;
use crate::view::View;

#[derive(Template)]
#[template(path = "method.html")]
struct Body {
    facts: Vec<(&'static str, String)>,
    limits: Vec<Limit>,
    words: Vec<(&'static str, &'static str)>,
    command: String,
}

struct Limit {
    lack: String,
    n: usize,
    reason: String,
}

pub(super) fn body(view: &View<'_>) -> String {
    let mut limits: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for record in &view.run.records {
        if let Outcome::Skip { lack, reason } = &record.outcome {
            let slot = limits.entry(one_line(lack)).or_insert_with(|| (0, shorten(&one_line(reason), 300)));
            slot.0 += 1;
        }
    }
    let limits = limits.into_iter().take(100).map(|(lack, (n, reason))| Limit {
        lack: shorten(&lack, 100),
        n,
        reason,
    });
    let words = vec![
        ("✓ pass", "every check held, on positive evidence"),
        ("! warn", "a recommendation (SHOULD) is not met"),
        ("✗ fail", "an obligation (MUST) is not met"),
        ("– n/a", "the target declares that it lacks an optional thing"),
        ("○ skip", "this host cannot show it"),
        ("? error", "the harness, the host or the set-up failed; says nothing about the target"),
        ("· not run", "planned, but not run"),
    ];
    let argv: Vec<String> = view.run.header.command.iter().map(|a| shell(&one_line(a))).collect();
    let command = shorten(&format!("plimsoll {}", argv.join(" ")), 2_000);
    Body { facts: facts(view), limits: limits.collect(), words, command }.render().unwrap_or_default()
}

fn facts(view: &View<'_>) -> Vec<(&'static str, String)> {
    let header = &view.run.header;
    let code: ExitCode = exit_code(view.run);
    let mut facts = vec![
        ("tool", one_line(&header.tool)),
        ("started", one_line(&header.started_at)),
        ("profile", one_line(&header.profile)),
        (
            "plan",
            format!(
                "{} cases on {} targets, digest {}",
                header.plan.len(),
                header.targets.len(),
                one_line(&header.plan_digest)
            ),
        ),
        ("seed", header.seed.to_string()),
        ("exit code", format!("{}: {}", code.code(), code.meaning())),
    ];
    if !header.filters.is_empty() {
        facts.push(("filters", shorten(&one_line(&header.filters.join(", ")), 1_000)));
    }
    if let Some(partition) = &header.partition {
        facts.push(("partition", one_line(partition)));
    }
    if let Some(challenge) = &header.challenge {
        facts.push(("challenge", one_line(challenge)));
    }
    let mut overhead: Vec<f64> =
        view.run.records.iter().filter_map(|r| r.facts.get("harness.overhead-ms")?.as_f64()).collect();
    overhead.sort_by(f64::total_cmp);
    if !overhead.is_empty() {
        let median = duration(overhead[overhead.len() / 2].max(0.0));
        let what =
            format!("{median} per attempt beyond the runtime's own calls (median of {})", overhead.len());
        facts.push(("harness", what));
    }
    facts.push(match &view.run.footer {
        Some(footer) if footer.status == RunStatus::Complete => ("duration", duration(footer.duration_ms)),
        Some(footer) => ("duration", format!("cancelled after {}", duration(footer.duration_ms))),
        None => ("duration", "the run was cut off: there is no footer".to_owned()),
    });
    facts
}
