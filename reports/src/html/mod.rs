//! The HTML comparison: one file that reads without style sheet and script, with both inlined or beside it.
//!
//! Everything that came out of a runtime goes through [`crate::text::clean`] and askama's escaping. A content security
//! policy in the page allows only the style and the script that were rendered with it, by their hashes.

mod bench;
mod bench_page;
mod cases;
mod changes;
mod chart;
mod cover;
mod facts;
mod first;
mod matrix;
mod method;
mod nodes;
mod selftest;
mod targets;

pub use bench_page::bench_page;

use askama::Template;
use base64::Engine as _;
use plimsoll_model::{ExitCode, OutcomeKind, Run};
use sha2::{Digest as _, Sha256};

use crate::text::{clean, one_line};
use crate::verdict::{exit_code, gate_sentence, must_coverage, percent, tallies, target_sentence};
use crate::view::{View, target_name};

/// Where style and script live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Assets {
    /// In the page.
    #[default]
    Inline,
    /// In `report.css` and `report.js` beside the page (see [`assets`]): for Jenkins, whose default policy for
    /// artifacts allows no inline style.
    External,
}

/// How to render.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Where style and script live.
    pub assets: Assets,
    /// An earlier run to compare with.
    pub baseline: Option<&'a Run>,
}

const CSS: &str = include_str!("../../assets/report.css");
const JS: &str = include_str!("../../assets/report.js");

/// The files that a page with [`Assets::External`] needs beside it: name and content.
pub fn assets() -> [(&'static str, &'static str); 2] {
    [("report.css", CSS), ("report.js", JS)]
}

/// A section of the page: fragment, heading, rendered body.
struct Section {
    id: &'static str,
    title: &'static str,
    body: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    csp: String,
    title: String,
    css: Option<&'static str>,
    js: Option<&'static str>,
    subtitle: String,
    gate_class: &'static str,
    gate_glyph: char,
    headline: String,
    verdicts: Vec<(Cell, String)>,
    verdict_lines: Vec<String>,
    first: String,
    sections: Vec<Section>,
    footer: String,
    data: String,
}

/// A cell of a table: class and text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    class: &'static str,
    text: String,
}

/// The page.
pub fn render(run: &Run, opts: &Options<'_>) -> String {
    let view = View::new(run);
    let inline = opts.assets == Assets::Inline;
    let (gate_class, gate_glyph, headline) = headline(run);
    let title =
        format!("{headline}: {}", tallies(run).iter().map(target_sentence).collect::<Vec<_>>().join("; "));
    let header = &run.header;
    let page = Page {
        csp: policy(inline),
        title: crate::text::shorten(&title, 300),
        css: inline.then_some(CSS),
        js: inline.then_some(JS),
        subtitle: clean(&format!("{} · {} · profile {}", header.started_at, header.host.os, header.profile)),
        gate_class,
        gate_glyph,
        headline,
        verdicts: verdicts(run),
        verdict_lines: verdict_lines(run),
        first: first::body(&view),
        sections: sections(&view, opts),
        footer: clean(&format!("Made by {} from run {}.", one_line(&header.tool), one_line(&header.run_id))),
        data: data(&view),
    };
    page.render().unwrap_or_default()
}

fn sections(view: &View<'_>, opts: &Options<'_>) -> Vec<Section> {
    let made = [
        ("nodes", "Nodes", nodes::body(view)),
        ("targets", "Targets and host", targets::body(view)),
        (
            "changes",
            "Changes since the baseline",
            opts.baseline.map_or(String::new(), |b| changes::body(b, view)),
        ),
        ("coverage", "Requirement coverage", cover::body(view)),
        ("matrix", "Cases by target", matrix::body(view)),
        ("cases", "Every case with its evidence", cases::body(view)),
        ("facts", "Recorded choices", facts::body(view)),
        ("benchmarks", "Benchmarks", bench::body(view)),
        ("detection", "Detection score", selftest::body(view)),
        ("method", "Method and limits", method::body(view)),
    ];
    let all = made.into_iter().map(|(id, title, body)| Section { id, title, body });
    all.filter(|s| !s.body.is_empty()).collect()
}

fn headline(run: &Run) -> (&'static str, char, String) {
    match exit_code(run) {
        ExitCode::Success => ("open", '✓', "Gate open".to_owned()),
        ExitCode::GateClosed => ("closed", '✗', "Gate closed".to_owned()),
        code => ("none", '?', format!("No verdict: {}", code.meaning())),
    }
}

/// Each target in a sentence, with the glyph of what it comes to.
fn verdicts(run: &Run) -> Vec<(Cell, String)> {
    let mark = |t: &crate::verdict::Tally| {
        let undecided = t.count(OutcomeKind::Error) + t.count(OutcomeKind::NotRun) + t.missing > 0;
        if t.bad > 0 {
            OutcomeKind::Fail
        } else if undecided || t.unfit.is_some() {
            OutcomeKind::Error
        } else if t.must_decided == 0 {
            OutcomeKind::NotRun
        } else {
            OutcomeKind::Pass
        }
    };
    let line = |t: &crate::verdict::Tally| {
        let kind = mark(t);
        let cell = Cell { class: letter(kind), text: kind.glyph().to_string() };
        (cell, format!("{}.", target_sentence(t)))
    };
    tallies(run).iter().map(line).collect()
}

fn verdict_lines(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    let coverage = must_coverage(run);
    if coverage.total > 0 {
        lines.push(format!(
            "{} cases cover {} of {} MUST requirements ({} %).",
            run.header.plan.len(),
            coverage.tested,
            coverage.total,
            percent(coverage.tested, coverage.total)
        ));
    }
    if !run.is_complete() {
        lines.push(format!("The run is incomplete; {}.", gate_sentence(run)));
    }
    if !run.header.filters.is_empty() {
        lines.push("Filters were active: this is a part of the suite.".to_owned());
    }
    lines
}

/// The policy lets through what this program wrote, and nothing that a runtime printed.
fn policy(inline: bool) -> String {
    let (style, script) = if inline {
        let hash = |text: &str| {
            let digest = Sha256::digest(text.as_bytes());
            format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(digest))
        };
        (hash(CSS), hash(JS))
    } else {
        ("'self'".to_owned(), "'self'".to_owned())
    };
    format!("default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'")
}

/// Outcomes as JSON for programs that read the page: one letter per target and case.
fn data(view: &View<'_>) -> String {
    let header = &view.run.header;
    let mut cases = serde_json::Map::new();
    for case in &header.plan {
        let letter = |label: &str| {
            let kind = view.record(case.id.as_str(), label).map(|r| r.outcome.kind());
            kind.map_or('?', |k| letter(k).chars().next().unwrap_or('?'))
        };
        let letters: String = header.targets.iter().map(|t| letter(&t.label)).collect();
        cases.insert(case.id.to_string(), letters.into());
    }
    let labels: Vec<String> = header.targets.iter().map(|t| clean(&t.label)).collect();
    let json = serde_json::json!({
        "run": clean(&header.run_id), "plan_digest": clean(&header.plan_digest), "targets": labels, "cases": cases,
    });
    script_safe(&json.to_string())
}

/// `<` would let the text end its own element.
fn script_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The class of an outcome: one letter, because large reports hold thousands.
fn letter(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Pass => "p",
        OutcomeKind::Warn => "w",
        OutcomeKind::Fail => "f",
        OutcomeKind::NotApplicable => "n",
        OutcomeKind::Skip => "s",
        OutcomeKind::Error => "e",
        OutcomeKind::NotRun => "x",
    }
}

/// Glyph and word: colour alone carries no meaning.
fn cell(kind: Option<OutcomeKind>) -> Cell {
    match kind {
        Some(kind) => Cell { class: letter(kind), text: format!("{} {}", kind.glyph(), kind.word()) },
        None => Cell { class: "x", text: "· none".to_owned() },
    }
}

/// A fragment for a text that may hold anything.
fn fragment(prefix: &str, text: &str) -> String {
    let safe = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if safe && !text.is_empty() {
        format!("{prefix}{text}")
    } else {
        format!("{prefix}{}", crate::text::slug(text))
    }
}

/// The fragment of a case on a target. Case ids are safe as they are.
fn cell_id(case: &str, target: &str) -> String {
    format!("{case}@{}", crate::text::slug(target))
}

/// Names of the columns.
fn columns(view: &View<'_>) -> Vec<String> {
    view.run.header.targets.iter().map(target_name).collect()
}
