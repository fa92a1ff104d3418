//! The catalogue: what is tested, what each target meets.

use askama::Template;
use plimsoll_model::{CaseRecord, Level, OutcomeKind, PlannedCase, Requirement};
use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, cell, columns, fragment, letter};
use crate::coverage::{Coverage, coverage};
use crate::text::{one_line, shorten};
use crate::verdict::percent;
use crate::view::View;

#[derive(Template)]
#[template(path = "coverage.html")]
struct Body {
    sentence: String,
    targets: Vec<String>,
    heads: Vec<String>,
    files: Vec<File>,
    mistakes: Vec<String>,
}

struct File {
    id: String,
    name: String,
    statements: usize,
    tested: usize,
    waived: usize,
    open: usize,
    percent: usize,
    violated: usize,
    met: Vec<Cell>,
    sections: Vec<Clauses>,
}

/// The requirements under one anchor.
struct Clauses {
    name: String,
    note: String,
    rows: Vec<Row>,
}

struct Row {
    anchor: String,
    id: String,
    level: &'static str,
    text: String,
    why: String,
    cases: Vec<Link>,
    cells: Vec<Cell>,
    kinds: Vec<Option<OutcomeKind>>,
    is_waived: bool,
}

struct Link {
    name: String,
    href: String,
}

pub(super) fn body(view: &View<'_>) -> String {
    let header = &view.run.header;
    if header.requirements.is_empty() {
        return String::new();
    }
    let counted = coverage(&header.requirements, &header.plan, &header.waivers);
    let mut covering: BTreeMap<&str, Vec<&PlannedCase>> = BTreeMap::new();
    for case in &header.plan {
        for id in case.covers.iter().collect::<BTreeSet<_>>() {
            covering.entry(id).or_default().push(case);
        }
    }
    let accused = accused(view);
    let waived: BTreeMap<&str, &str> =
        counted.waived.iter().map(|w| (w.id.as_str(), w.reason.as_str())).collect();
    let mut files: Vec<(&str, Vec<Clauses>)> = Vec::new();
    for requirement in &header.requirements {
        let cases = covering.get(requirement.id.as_str()).map_or(&[][..], Vec::as_slice);
        let row = row(view, requirement, cases, &accused, waived.get(requirement.id.as_str()).copied());
        let at = files.iter().position(|(f, _)| *f == requirement.file).unwrap_or_else(|| {
            files.push((&requirement.file, Vec::new()));
            files.len() - 1
        });
        let name = if requirement.anchor.is_empty() {
            "(no anchor)".to_owned()
        } else {
            one_line(&requirement.anchor)
        };
        let sections = &mut files[at].1;
        match sections.iter_mut().find(|s| s.name == name) {
            Some(section) => section.rows.push(row),
            None => sections.push(Clauses { name, note: String::new(), rows: vec![row] }),
        }
    }
    let targets = columns(view);
    let heads = if is_condensed(view) { CONDENSED.map(str::to_owned).to_vec() } else { targets.clone() };
    Body {
        sentence: counted.sentence(),
        heads,
        files: files.into_iter().map(|(name, sections)| file(name, sections, targets.len())).collect(),
        targets,
        mistakes: mistakes(&counted),
    }
    .render()
    .unwrap_or_default()
}

/// Requirements times targets beyond which a requirement's row counts the targets instead of showing each.
const MOST_CELLS: usize = 20_000;
/// Columns of a row that counts.
const CONDENSED: [&str; 3] = ["Met on", "Not met on", "Undecided on"];
/// Targets that such a row names.
const NAMED: usize = 3;

fn is_condensed(view: &View<'_>) -> bool {
    let header = &view.run.header;
    header.targets.len() > CONDENSED.len() && header.requirements.len() * header.targets.len() > MOST_CELLS
}

/// Of many targets, how many meet a requirement, and the names of the first that do not.
fn counts(view: &View<'_>, kinds: &[Option<OutcomeKind>]) -> Vec<Cell> {
    let of = |wanted: fn(OutcomeKind) -> bool| {
        let all = view.run.header.targets.iter().zip(kinds);
        all.filter(move |(_, kind)| kind.is_some_and(wanted)).map(|(target, _)| one_line(&target.label))
    };
    let met = of(|kind| kind == OutcomeKind::Pass).count();
    let failing: Vec<String> = of(is_not_met).collect();
    let mut named = failing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if failing.len() > NAMED {
        named.push_str(", …");
    }
    let class = if of(|kind| kind == OutcomeKind::Fail).count() > 0 { "f" } else { "w" };
    let rest = kinds.len() - met - failing.len();
    let cell = |n: usize, class, text: String| match n {
        0 => Cell { class: "x", text: "–".to_owned() },
        _ => Cell { class, text },
    };
    vec![
        cell(met, "p", format!("✓ {met}")),
        cell(failing.len(), class, format!("✗ {}: {named}", failing.len())),
        cell(rest, "x", format!("· {rest}")),
    ]
}

fn is_not_met(kind: OutcomeKind) -> bool {
    matches!(kind, OutcomeKind::Fail | OutcomeKind::Warn)
}

fn mistakes(counted: &Coverage) -> Vec<String> {
    let unknown = counted.unknown.iter().map(|id| format!("{} is not in the catalogue", one_line(id)));
    let stale = counted.stale_waivers.iter().map(|id| format!("{} is waived, but tested", one_line(id)));
    unknown.chain(stale).take(100).collect()
}

/// Violations by the requirement that they name and the target, wherever they were seen: a leak shows in any case.
type Accused<'a> = BTreeMap<(&'a str, &'a str), OutcomeKind>;

fn accused<'a>(view: &View<'a>) -> Accused<'a> {
    let mut accused = Accused::new();
    for record in &view.run.records {
        let kind = record.outcome.kind();
        for violation in record.outcome.violations().iter().filter(|v| !v.requirement.is_empty()) {
            let worst = accused.entry((&violation.requirement, &record.target)).or_insert(kind);
            if kind == OutcomeKind::Fail {
                *worst = kind;
            }
        }
    }
    accused
}

fn row(
    view: &View<'_>,
    requirement: &Requirement,
    cases: &[&PlannedCase],
    accused: &Accused<'_>,
    waiver: Option<&str>,
) -> Row {
    let targets = &view.run.header.targets;
    let kind = |target: &str| {
        let named = accused.get(&(requirement.id.as_str(), target)).copied();
        named.or_else(|| state(view, requirement, cases, target))
    };
    let kinds: Vec<Option<OutcomeKind>> = targets.iter().map(|t| kind(&t.label)).collect();
    let blank = || Cell { class: "x", text: String::new() };
    let shown = cases.iter().take(8);
    let mut links: Vec<Link> =
        shown.map(|c| Link { name: c.id.name().to_owned(), href: address(view, c) }).collect();
    if cases.len() > 8 {
        links.push(Link { name: format!("{} more", cases.len() - 8), href: address(view, cases[8]) });
    }
    Row {
        anchor: fragment("r-", &requirement.id),
        id: one_line(&requirement.id),
        level: requirement.level.word(),
        text: shorten(&one_line(&requirement.text), 600),
        why: waiver
            .map_or_else(|| why_open(requirement), |w| format!("waived: {}", shorten(&one_line(w), 300))),
        is_waived: waiver.is_some(),
        cells: if is_condensed(view) {
            counts(view, &kinds)
        } else {
            let one = |k: &Option<OutcomeKind>| {
                if cases.is_empty() && k.is_none() { blank() } else { state_cell(*k) }
            };
            kinds.iter().map(one).collect()
        },
        kinds,
        cases: links,
    }
}

fn why_open(requirement: &Requirement) -> String {
    let kind = match requirement.level {
        Level::May | Level::MayNot | Level::Optional => "not tested (a permission)",
        _ => "open: not tested yet",
    };
    kind.to_owned()
}

fn state_cell(kind: Option<OutcomeKind>) -> Cell {
    match kind {
        Some(OutcomeKind::Pass) => Cell { class: "p", text: "✓ met".to_owned() },
        Some(OutcomeKind::Fail) => Cell { class: "f", text: "✗ not met".to_owned() },
        Some(OutcomeKind::Warn) => Cell { class: "w", text: "! not met".to_owned() },
        None => Cell { class: "x", text: "· undecided".to_owned() },
        other => cell(other),
    }
}

/// The fragment of a case; empty when the page does not show it.
fn address(view: &View<'_>, case: &PlannedCase) -> String {
    if view.shows(case.id.as_str()) { case.id.to_string() } else { String::new() }
}

/// What the covering cases say about one requirement on one target. A violation counts for the requirement that it
/// names; a case that failed for another one leaves this one undecided.
fn state(
    view: &View<'_>,
    requirement: &Requirement,
    cases: &[&PlannedCase],
    target: &str,
) -> Option<OutcomeKind> {
    let records = cases.iter().filter_map(|c| view.record(c.id.as_str(), target).map(|r| (*c, r)));
    records.filter_map(|(case, record)| says(requirement, case, record)).max_by_key(|kind| match kind {
        OutcomeKind::Fail => 6,
        OutcomeKind::Warn => 5,
        OutcomeKind::Error => 4,
        OutcomeKind::Pass => 3,
        OutcomeKind::Skip => 2,
        OutcomeKind::NotApplicable => 1,
        OutcomeKind::NotRun => 0,
    })
}

fn says(requirement: &Requirement, case: &PlannedCase, record: &CaseRecord) -> Option<OutcomeKind> {
    let kind = record.outcome.kind();
    if !matches!(kind, OutcomeKind::Fail | OutcomeKind::Warn) {
        return Some(kind);
    }
    let primary = case.covers.first() == Some(&requirement.id);
    let named = record
        .outcome
        .violations()
        .iter()
        .any(|v| v.requirement == requirement.id || (primary && v.requirement.is_empty()));
    named.then_some(kind)
}

fn file(name: &str, mut sections: Vec<Clauses>, targets: usize) -> File {
    for section in &mut sections {
        let tested = section.rows.iter().filter(|r| !r.cases.is_empty()).count();
        section.note = format!("{tested} of {} tested", section.rows.len());
    }
    let rows = || sections.iter().flat_map(|s| &s.rows);
    let statements = rows().count();
    let tested = rows().filter(|r| !r.cases.is_empty()).count();
    let waived = rows().filter(|r| r.is_waived).count();
    let not_met = |k: &Option<OutcomeKind>| k.is_some_and(is_not_met);
    let met = |t: usize| {
        let pass = rows().filter(|r| r.kinds[t] == Some(OutcomeKind::Pass)).count();
        let bad = rows().filter(|r| not_met(&r.kinds[t])).count();
        let class = if bad > 0 { "f" } else { letter(OutcomeKind::Pass) };
        if pass + bad == 0 {
            return Cell { class: "x", text: "–".to_owned() };
        }
        let glyph = if bad > 0 { '✗' } else { '✓' };
        Cell { class, text: format!("{glyph} {pass}/{}", pass + bad) }
    };
    File {
        id: fragment("f-", name),
        name: one_line(name),
        statements,
        tested,
        waived,
        open: statements - tested - waived,
        percent: percent(tested, statements),
        violated: rows().filter(|r| r.kinds.iter().any(not_met)).count(),
        met: (0..targets).map(met).collect(),
        sections,
    }
}
