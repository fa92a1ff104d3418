//! Which node, kernel and runtime version came to what, of a run that was merged over nodes.

use crate::text::one_line;
use crate::verdict::{Tally, tallies};
use plimsoll_model::{OutcomeKind, Run, TargetInfo};
use std::fmt::Write as _;

/// One target on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The node's name.
    pub node: String,
    /// Kernel release.
    pub kernel: String,
    /// Name and version of the operating system.
    pub os: String,
    /// `v1`, `hybrid` or `v2`.
    pub cgroups: String,
    /// The target's label, without the node.
    pub target: String,
    /// What the runtime says of its version.
    pub version: String,
    /// MUST-level cases that passed, of those that were decided.
    pub must: (usize, usize),
    /// Unexpected failures.
    pub bad: usize,
    /// Errors, and cases that did not run or have no record.
    pub undecided: usize,
}

/// The rows, in the order of the columns; empty when the run was not merged over nodes.
pub fn rows(run: &Run) -> Vec<Row> {
    let targets = run.header.targets.iter().zip(tallies(run));
    targets.filter_map(|(target, tally)| row(target, &tally)).collect()
}

fn row(target: &TargetInfo, tally: &Tally) -> Option<Row> {
    let fact = |key: &str| target.facts.get(key).and_then(|v| v.as_str()).map(one_line);
    let node = fact("node")?;
    let label = target.label.strip_suffix(&format!("@{node}")).unwrap_or(&target.label);
    Some(Row {
        kernel: fact("kernel").unwrap_or_default(),
        os: fact("os").unwrap_or_default(),
        cgroups: fact("cgroups").unwrap_or_default(),
        target: one_line(label),
        version: one_line(&target.version),
        must: (tally.must_passed, tally.must_decided),
        bad: tally.bad,
        undecided: tally.count(OutcomeKind::Error) + tally.count(OutcomeKind::NotRun) + tally.missing,
        node,
    })
}

/// As lines of text; empty when the run was not merged over nodes.
pub fn table(run: &Run) -> String {
    let rows = rows(run);
    if rows.is_empty() {
        return String::new();
    }
    let mut cells = vec![
        ["node", "kernel", "cgroups", "target", "version", "MUST", "unexpected", "undecided"]
            .map(str::to_owned),
    ];
    cells.extend(rows.into_iter().map(|r| {
        let must = format!("{}/{}", r.must.0, r.must.1);
        [r.node, r.kernel, r.cgroups, r.target, r.version, must, r.bad.to_string(), r.undecided.to_string()]
    }));
    let mut widths = [0; 8];
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &cells {
        for (width, cell) in widths.iter().zip(line) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
