//! Every case, folded, with the evidence of each outcome that is not a pass.

use askama::Template;
use plimsoll_model::{CaseRecord, Judgement, Outcome, OutcomeKind, PlannedCase, Violation};

use super::{cell_id, fragment, letter};
use crate::terminal::command_words;
use crate::text::{cap, clean, duration, one_line, shell, shorten};
use crate::view::{View, is_flaky, reproduce, severity_word, target_name};

/// What all evidence together may take of the page; past it the details shrink evenly, least important first.
const BUDGET_BYTES: usize = 1_150_000;

#[derive(Template)]
#[template(path = "cases.html")]
struct Body {
    intro: String,
    groups: Vec<Group>,
}

struct Group {
    name: String,
    cases: Vec<Case>,
}

struct Case {
    id: String,
    name: String,
    class: &'static str,
    glyph: char,
    summary: String,
    level: &'static str,
    covers: Vec<Link>,
    since: String,
    source: String,
    passes: String,
    evidence: Vec<String>,
}

struct Link {
    id: String,
    href: String,
}

#[derive(Template)]
#[template(path = "evidence.html")]
struct Evidence {
    class: &'static str,
    id: String,
    glyph: char,
    word: &'static str,
    target: String,
    timing: String,
    violations: Vec<Clause>,
    message: String,
    note: String,
    commands: Vec<String>,
    config: String,
    rerun: String,
}

struct Clause {
    level: &'static str,
    requirement: String,
    href: String,
    address: String,
    url: String,
    text: String,
    expected: String,
    actual: String,
}

/// Targets whose evidence a page with very many cells shows for each case.
const CONDENSED_TARGETS: usize = 3;

/// How much of the evidence a page shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// What was violated, expected and seen.
    Line,
    /// And the last commands.
    Commands,
    /// And the configuration.
    Full,
}

/// Steps from everything to the least: for what needs action, and for the rest.
const STEPS: [(Detail, Detail); 6] = [
    (Detail::Full, Detail::Full),
    (Detail::Full, Detail::Commands),
    (Detail::Full, Detail::Line),
    (Detail::Commands, Detail::Commands),
    (Detail::Commands, Detail::Line),
    (Detail::Line, Detail::Line),
];

pub(super) fn body(view: &View<'_>) -> String {
    if view.run.header.plan.is_empty() {
        return String::new();
    }
    let step = STEPS.into_iter().find(|step| fits(view, *step)).unwrap_or((Detail::Line, Detail::Line));
    let groups = view.sections().into_iter().map(|section| Group {
        name: format!("{}/{}", section.suite, section.name),
        cases: section
            .cases
            .iter()
            .filter(|c| view.shows(c.id.as_str()))
            .map(|c| case(view, c, step))
            .collect(),
    });
    let groups = groups.filter(|g| !g.cases.is_empty());
    let mut intro =
        "What each case states, what it covers, and the evidence for every outcome that is not a pass."
            .to_owned();
    if step != STEPS[0] {
        intro.push_str(
            " To keep this page small, some commands and configurations are left out; the run file has all.",
        );
    }
    if view.is_condensed() {
        intro.push_str(" Of each case that is shown the first targets stand here.");
    }
    Body { intro, groups: groups.collect() }.render().unwrap_or_default()
}

fn fits(view: &View<'_>, step: (Detail, Detail)) -> bool {
    let mut sum = 0;
    view.run.records.iter().filter(|r| is_shown(view, r)).all(|record| {
        sum += evidence(view, record, step).len();
        sum <= BUDGET_BYTES
    })
}

fn is_shown(view: &View<'_>, record: &CaseRecord) -> bool {
    record.outcome.kind() != OutcomeKind::Pass
        || matches!(record.judgement, Judgement::Fixed { .. })
        || is_flaky(view, record)
}

fn case(view: &View<'_>, case: &PlannedCase, step: (Detail, Detail)) -> Case {
    let header = &view.run.header;
    let records: Vec<(&str, &CaseRecord)> = header
        .targets
        .iter()
        .filter_map(|t| view.record(case.id.as_str(), &t.label).map(|r| (t.label.as_str(), r)))
        .collect();
    let passes: Vec<String> = records
        .iter()
        .filter(|(_, r)| r.outcome.kind() == OutcomeKind::Pass)
        .map(|(label, r)| format!("{} {}", one_line(label), duration(r.duration_ms)))
        .collect();
    let passes = match (view.is_condensed(), passes.len()) {
        (_, 0) => String::new(),
        (true, n) => format!("on {n} of {} targets", records.len()),
        (false, _) => passes.join(" · "),
    };
    let most = if view.is_condensed() { CONDENSED_TARGETS } else { usize::MAX };
    // The glyph of a row is that of its gravest outcome.
    let worst = records.iter().map(|(_, r)| r.outcome.kind()).max_by_key(|kind| kind.gravity());
    let link = |id: &String| {
        let known = view.requirement(id).is_some();
        Link { id: one_line(id), href: if known { fragment("r-", id) } else { String::new() } }
    };
    Case {
        id: case.id.to_string(),
        name: case.id.name().to_owned(),
        class: worst.map_or("", letter),
        glyph: worst.map_or(' ', OutcomeKind::glyph),
        summary: shorten(&one_line(&case.summary), 400),
        level: severity_word(case.severity),
        covers: case.covers.iter().take(30).map(link).collect(),
        since: case.since.to_string(),
        source: format!("{}:{}", one_line(&case.file), case.line),
        passes,
        evidence: records
            .iter()
            .filter(|(_, r)| is_shown(view, r))
            .take(most)
            .map(|(_, r)| evidence(view, r, step))
            .collect(),
    }
}

fn evidence(view: &View<'_>, record: &CaseRecord, step: (Detail, Detail)) -> String {
    let header = &view.run.header;
    let urgent = matches!(record.judgement, Judgement::Bad | Judgement::Trouble | Judgement::Warned);
    let kind = record.outcome.kind();
    // How a capability or a lack was found out is said in words; the commands before it tell nothing more.
    let telling = matches!(kind, OutcomeKind::Fail | OutcomeKind::Warn | OutcomeKind::Error);
    let detail = match (telling, urgent) {
        (false, _) => Detail::Line,
        (true, true) => step.0,
        (true, false) => step.1,
    };
    let attempts = 1 + view.superseded(record.case.as_str(), &record.target).len() as u32;
    let target = header.targets.iter().find(|t| t.label == record.target);
    let mut timing = duration(record.duration_ms);
    if attempts > 1 {
        timing = format!("attempt {} of {} · {timing}", record.attempt, attempts.max(record.attempt));
    }
    let config = record.config.as_ref().filter(|_| detail == Detail::Full);
    let config = config.map(|c| serde_json::to_string_pretty(c).unwrap_or_default());
    let planned = view.planned(record.case.as_str());
    let violations = record.outcome.violations().iter().take(8);
    Evidence {
        class: letter(kind),
        id: cell_id(record.case.as_str(), &record.target),
        glyph: kind.glyph(),
        word: kind.word(),
        target: target.map_or_else(|| one_line(&record.target), target_name),
        timing,
        violations: violations.map(|v| clause(view, v, planned)).collect(),
        message: message(&record.outcome),
        note: note(view, record),
        commands: if detail >= Detail::Commands { commands(record) } else { vec![] },
        config: config.map(|c| cap(&clean(&c), 6 * 1024)).unwrap_or_default(),
        rerun: reproduce(header, record),
    }
    .render()
    .unwrap_or_default()
}

fn message(outcome: &Outcome) -> String {
    let text = match outcome {
        Outcome::Pass | Outcome::Fail { .. } | Outcome::Warn { .. } => String::new(),
        Outcome::Error { trouble } if trouble.hint.is_empty() => trouble.what.clone(),
        Outcome::Error { trouble } => {
            format!("{}. Hint: {}.", trouble.what.trim_end_matches('.'), trouble.hint.trim_end_matches('.'))
        }
        other => other.message(),
    };
    shorten(&one_line(&text), 1_000)
}

fn note(view: &View<'_>, record: &CaseRecord) -> String {
    let mut notes = Vec::new();
    match &record.judgement {
        Judgement::Known { issue, reason } => {
            notes.push(format!("Known failure: {} ({}).", one_line(reason), one_line(issue)));
        }
        Judgement::Fixed { issue } => {
            notes.push(format!(
                "Known as failing ({}), passes now: the entry is out of date.",
                one_line(issue)
            ));
        }
        Judgement::Trouble => notes.push("This says nothing about the target.".to_owned()),
        _ => {}
    }
    if is_flaky(view, record) {
        let tries = view.superseded(record.case.as_str(), &record.target);
        let words: Vec<&str> = tries.iter().map(|t| t.outcome.kind().word()).collect();
        notes.push(format!("Flaky: earlier attempts ended as {}.", words.join(", ")));
    }
    shorten(&notes.join(" "), 1_000)
}

fn clause(view: &View<'_>, violation: &Violation, planned: Option<&PlannedCase>) -> Clause {
    let primary = planned.and_then(|c| c.covers.first());
    let id = if violation.requirement.is_empty() {
        primary.map_or("", String::as_str)
    } else {
        &violation.requirement
    };
    let requirement = view.requirement(id);
    let severity = planned.map_or("MUST", |c| severity_word(c.severity));
    Clause {
        level: requirement.map_or(severity, |r| r.level.word()),
        requirement: one_line(id),
        href: requirement.map_or(String::new(), |r| fragment("r-", &r.id)),
        address: requirement.map_or(String::new(), |r| one_line(&r.clause())),
        url: requirement.and_then(|r| clause_url(&r.file, &r.anchor)).unwrap_or_default(),
        text: requirement.map_or(String::new(), |r| shorten(&one_line(&r.text), 600)),
        expected: shorten(&one_line(&violation.expected), 1_000),
        actual: shorten(&one_line(&violation.actual), 1_000),
    }
}

/// The clause of the OCI runtime-spec on the web, at the release that the catalogue was read from.
fn clause_url(file: &str, anchor: &str) -> Option<String> {
    let known = crate::coverage::OCI_FILES.contains(&file);
    let safe = anchor.bytes().all(|b| b.is_ascii_alphanumeric() || b"#-_.".contains(&b));
    (known && safe)
        .then(|| format!("https://github.com/opencontainers/runtime-spec/blob/v1.3.0/{file}{anchor}"))
}

fn commands(record: &CaseRecord) -> Vec<String> {
    let skipped = record.commands.len().saturating_sub(12);
    let mut lines = Vec::new();
    if skipped > 0 {
        lines.push(format!("({skipped} earlier commands are in the run file)"));
    }
    for command in record.commands.iter().skip(skipped) {
        let argv: Vec<String> = command_words(command).iter().map(|a| shell(&one_line(a))).collect();
        let line = shorten(&argv.join(" "), 400);
        lines.push(format!("$ {line}\n  → {} ({})", one_line(&command.status), duration(command.ms)));
        for (name, text) in [("stdout", &command.stdout), ("stderr", &command.stderr)] {
            if !text.trim().is_empty() {
                let text = cap(clean(text).trim_end(), 1_500);
                lines.push(format!("  {name}: {}", text.replace('\n', "\n          ")));
            }
        }
    }
    lines
}
