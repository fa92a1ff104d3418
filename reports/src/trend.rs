//! Several runs in a row: how each target came along.

use plimsoll_model::{OutcomeKind, Run};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::diff::compare;
use crate::markdown::escape;
use crate::text::{one_line, printable};
use crate::verdict::{Tally, exit_code, tallies};

/// One target in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Start of the run, RFC 3339.
    pub started_at: String,
    /// Id of the run.
    pub run_id: String,
    /// The target's label.
    pub target: String,
    /// Its label and version.
    pub name: String,
    /// MUST-level cases decided and passed.
    pub must_decided: usize,
    /// See `must_decided`.
    pub must_passed: usize,
    /// Failures.
    pub failed: usize,
    /// Errors.
    pub errors: usize,
    /// Cases whose attempts disagree.
    pub flaky: usize,
    /// Cases that fail now and did not in the run before.
    pub newly_failing: usize,
    /// Cases that pass now and failed in the run before.
    pub newly_passing: usize,
    /// Exit code of the run.
    pub exit_code: u8,
}

/// The points of all runs, oldest first; targets in the order in which they first appear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trend {
    /// Grouped by target, oldest first.
    pub points: Vec<Point>,
}

/// Lines the runs up by their start.
pub fn trend(runs: &[Run]) -> Trend {
    let mut ordered: Vec<&Run> = runs.iter().collect();
    ordered.sort_by(|a, b| {
        (&a.header.started_at, &a.header.run_id).cmp(&(&b.header.started_at, &b.header.run_id))
    });
    let mut labels: Vec<&str> = Vec::new();
    for target in ordered.iter().flat_map(|r| &r.header.targets) {
        if !labels.contains(&target.label.as_str()) {
            labels.push(&target.label);
        }
    }
    let mut points = Vec::new();
    for label in labels {
        let mut before: Option<&Run> = None;
        for run in &ordered {
            let Some(tally) = tallies(run).into_iter().find(|t| t.label == label) else { continue };
            points.push(point(before, run, &tally));
            before = Some(run);
        }
    }
    Trend { points }
}

fn point(before: Option<&Run>, run: &Run, tally: &Tally) -> Point {
    let only = |run: &Run| {
        let mut run = run.clone();
        run.header.targets.retain(|t| t.label == tally.label);
        run.records.retain(|r| r.target == tally.label);
        run
    };
    let diff = before.map(|b| compare(&only(b), &only(run))).unwrap_or_default();
    Point {
        started_at: one_line(&run.header.started_at),
        run_id: one_line(&run.header.run_id),
        target: one_line(&tally.label),
        name: tally.name.clone(),
        must_decided: tally.must_decided,
        must_passed: tally.must_passed,
        failed: tally.count(OutcomeKind::Fail),
        errors: tally.count(OutcomeKind::Error),
        flaky: tally.flaky,
        newly_failing: diff.newly_failing.len(),
        newly_passing: diff.newly_passing.len(),
        exit_code: exit_code(run).code(),
    }
}

const COLUMNS: [&str; 9] =
    ["started", "target", "MUST pass", "fail", "error", "flaky", "newly failing", "newly passing", "exit"];

impl Trend {
    /// Renders as text.
    pub fn to_text(&self) -> String {
        let rows: Vec<[String; 9]> = self.points.iter().map(cells).collect();
        let width = |i: usize| {
            let cells = rows.iter().map(|r| r[i].chars().count());
            cells.chain([COLUMNS[i].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        let mut out = String::new();
        let mut line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    if i < 2 { format!("{c:<w$}", w = widths[i]) } else { format!("{c:>w$}", w = widths[i]) }
                })
                .collect();
            let _ = writeln!(out, "{}", padded.join("  ").trim_end());
        };
        line(&COLUMNS.map(str::to_owned));
        for row in &rows {
            line(row);
        }
        printable(&out)
    }

    /// Renders as a Markdown table.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("| {} |\n|:--|:--|{}\n", COLUMNS.join(" | "), "--:|".repeat(COLUMNS.len() - 2));
        for point in &self.points {
            let row: Vec<String> = cells(point).iter().map(|c| escape(c)).collect();
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        out
    }

    /// Renders as JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Labels that occur.
    pub fn targets(&self) -> BTreeSet<&str> {
        self.points.iter().map(|p| p.target.as_str()).collect()
    }
}

fn cells(p: &Point) -> [String; 9] {
    [
        p.started_at.clone(),
        p.name.clone(),
        format!("{}/{}", p.must_passed, p.must_decided),
        p.failed.to_string(),
        p.errors.to_string(),
        p.flaky.to_string(),
        p.newly_failing.to_string(),
        p.newly_passing.to_string(),
        p.exit_code.to_string(),
    ]
}
