//! The table of cases by targets, with a roll-up per section.

use askama::Template;
use plimsoll_model::{OutcomeKind, Severity};

use super::{Cell, cell, cell_id, columns, letter};
use crate::text::plural;
use crate::view::{Section, View, is_decided};

#[derive(Template)]
#[template(path = "matrix.html")]
struct Body {
    intro: String,
    outcomes: Vec<(&'static str, String)>,
    targets: Vec<String>,
    caption: String,
    groups: Vec<Group>,
}

struct Group {
    name: String,
    cells: Vec<Cell>,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    name: String,
    level: &'static str,
    differs: bool,
    cells: Vec<Link>,
}

struct Link {
    class: &'static str,
    text: String,
    href: String,
}

pub(super) fn body(view: &View<'_>) -> String {
    if view.run.header.plan.is_empty() || view.run.header.targets.is_empty() {
        return String::new();
    }
    let groups: Vec<Group> = view.sections().iter().map(|s| group(view, s)).collect();
    let rows = || groups.iter().flat_map(|g| &g.rows);
    let differing = rows().filter(|r| r.differs).count();
    let shared = rows().filter(|r| view.fails_everywhere(&r.id)).count();
    let mut intro = String::new();
    let targets = &view.run.header.targets;
    if targets.len() > 1 {
        let both = targets.iter().any(|t| t.spec.is_oci()) && targets.iter().any(|t| t.spec.is_cri());
        intro = format!(
            "{} differ in {}; {} {} in every one of them. Each cell leads to its evidence.",
            if both { "Targets of one kind" } else { "The targets" },
            plural(differing, "case"),
            plural(shared, "case"),
            if shared == 1 { "fails" } else { "fail" }
        );
    }
    let outcomes = OutcomeKind::ALL.iter().map(|k| (letter(*k), format!("{} {}", k.glyph(), k.word())));
    if view.is_condensed() {
        intro = format!(
            "Of {} this page shows {} with an outcome to look at; the roll-ups count all, and the run file holds all.",
            plural(view.run.header.plan.len(), "case"),
            rows().count()
        );
    }
    Body {
        intro,
        outcomes: outcomes.collect(),
        targets: columns(view),
        caption: "Outcomes; the rows of a section stand under its roll-up".to_owned(),
        groups,
    }
    .render()
    .unwrap_or_default()
}

fn group(view: &View<'_>, section: &Section<'_>) -> Group {
    let targets = &view.run.header.targets;
    let kind = |case: &str, target: &str| view.record(case, target).map(|r| r.outcome.kind());
    let roll_up = |label: &str| {
        let kinds = section.cases.iter().filter_map(|c| kind(c.id.as_str(), label));
        let decided: Vec<OutcomeKind> = kinds.filter(|k| is_decided(*k)).collect();
        let passed = decided.iter().filter(|k| **k == OutcomeKind::Pass).count();
        let class = if passed == decided.len() { "p" } else { "f" };
        match decided.len() {
            0 => Cell { class: "x", text: "–".to_owned() },
            n => Cell { class, text: format!("{} {passed}/{n}", if passed == n { '✓' } else { '✗' }) },
        }
    };
    let row = |case: &plimsoll_model::PlannedCase| {
        let kinds: Vec<Option<OutcomeKind>> =
            targets.iter().map(|t| kind(case.id.as_str(), &t.label)).collect();
        let cells = targets.iter().zip(&kinds).map(|(t, k)| {
            let Cell { class, text } = cell(*k);
            let href = match k {
                Some(OutcomeKind::Pass) | None => case.id.to_string(),
                // The evidence is that of the first targets only.
                Some(_) if view.is_condensed() => case.id.to_string(),
                Some(_) => cell_id(case.id.as_str(), &t.label),
            };
            Link { class, text, href }
        });
        Row {
            id: case.id.to_string(),
            name: case.id.name().to_owned(),
            level: match case.severity {
                Severity::Fail => "m",
                Severity::Warn => "s",
                Severity::Record => "r",
            },
            differs: view.differs(case.id.as_str()),
            cells: cells.collect(),
        }
    };
    Group {
        name: format!("{}/{}", section.suite, section.name),
        cells: targets.iter().map(|t| roll_up(&t.label)).collect(),
        rows: section.cases.iter().filter(|c| view.shows(c.id.as_str())).map(|c| row(c)).collect(),
    }
}
