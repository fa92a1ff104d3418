//! How much of a catalogue the cases of a plan test: per specification, file and level.

use plimsoll_model::{Level, PlannedCase, Requirement};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::text::{clean, one_line};
use crate::verdict::percent;

/// Counts of requirements. `statements = tested + waived + open`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requirements in the catalogue.
    pub statements: usize,
    /// Covered by at least one case of the plan.
    pub tested: usize,
    /// Covered by none on purpose: waived, or the catalogue says that it cannot be tested from outside.
    pub waived: usize,
    /// Neither.
    pub open: usize,
}

/// One row: a level in a file of a specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Name of the specification.
    pub spec: String,
    /// File of the specification.
    pub file: String,
    /// Key word.
    pub level: Level,
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A requirement that no case covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Uncovered {
    /// Requirement id.
    pub id: String,
    /// Key word.
    pub level: Level,
    /// `file#anchor`.
    pub clause: String,
    /// What it says.
    pub text: String,
    /// Why it is waived; empty when it is open.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The coverage of a catalogue by a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// All levels and files together.
    pub total: Counts,
    /// MUST, MUST NOT and REQUIRED alone.
    pub must: Counts,
    /// Rows in the order of the catalogue, levels strongest first.
    pub rows: Vec<Row>,
    /// What is open, in the order of the catalogue.
    pub open: Vec<Uncovered>,
    /// What is waived, in the order of the catalogue.
    pub waived: Vec<Uncovered>,
    /// Ids that cases cover or waivers name, but the catalogue does not know: a mistake.
    pub unknown: Vec<String>,
    /// Waived ids that a case covers all the same: the waiver is out of date.
    pub stale_waivers: Vec<String>,
}

/// Counts what the plan covers.
pub fn coverage(
    requirements: &[Requirement],
    plan: &[PlannedCase],
    waivers: &BTreeMap<String, String>,
) -> Coverage {
    let covered: BTreeSet<&str> = plan.iter().flat_map(|c| c.covers.iter().map(String::as_str)).collect();
    let known: BTreeSet<&str> = requirements.iter().map(|r| r.id.as_str()).collect();
    let suites = suites_by_file(requirements, plan);
    let mut out = Coverage::default();
    let mut order: Vec<(String, String)> = Vec::new();
    let mut cells: BTreeMap<(usize, usize), Counts> = BTreeMap::new();
    for requirement in requirements {
        let spec = spec_of(requirement, &suites);
        let key = (spec, requirement.file.clone());
        let place = order.iter().position(|k| *k == key).unwrap_or_else(|| {
            order.push(key);
            order.len() - 1
        });
        let level = Level::ALL.iter().position(|l| *l == requirement.level).unwrap_or_default();
        let tested = covered.contains(requirement.id.as_str());
        let reason = reason(requirement, waivers).filter(|_| !tested);
        let cell = cells.entry((place, level)).or_default();
        for counts in [Some(&mut out.total), requirement.level.is_must().then_some(&mut out.must), Some(cell)]
            .into_iter()
            .flatten()
        {
            counts.statements += 1;
            counts.tested += usize::from(tested);
            counts.waived += usize::from(reason.is_some());
            counts.open += usize::from(!tested && reason.is_none());
        }
        match reason {
            Some(reason) => out.waived.push(uncovered(requirement, reason)),
            None if !tested => out.open.push(uncovered(requirement, String::new())),
            None => {}
        }
    }
    for ((place, level), counts) in cells {
        let (spec, file) = order[place].clone();
        out.rows.push(Row { spec, file, level: Level::ALL[level], counts });
    }
    let named = covered.iter().copied().chain(waivers.keys().map(String::as_str));
    let unknown: BTreeSet<&str> = named.filter(|id| !known.contains(id)).collect();
    out.unknown = unknown.into_iter().map(str::to_owned).collect();
    out.stale_waivers = waivers.keys().filter(|id| covered.contains(id.as_str())).cloned().collect();
    out
}

fn reason(requirement: &Requirement, waivers: &BTreeMap<String, String>) -> Option<String> {
    waivers.get(&requirement.id).cloned().or_else(|| {
        let why = requirement.testable.strip_prefix("no")?;
        let why = why.trim_start_matches(':').trim();
        Some(if why.is_empty() { "not testable from outside".to_owned() } else { why.to_owned() })
    })
}

fn uncovered(requirement: &Requirement, reason: String) -> Uncovered {
    Uncovered {
        id: requirement.id.clone(),
        level: requirement.level,
        clause: requirement.clause(),
        text: requirement.text.clone(),
        reason,
    }
}

/// The suite whose cases cover most of a file's requirements: it names the specification of files that no other
/// rule names.
fn suites_by_file(requirements: &[Requirement], plan: &[PlannedCase]) -> BTreeMap<String, String> {
    let files: BTreeMap<&str, &str> = requirements.iter().map(|r| (r.id.as_str(), r.file.as_str())).collect();
    let mut votes: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for case in plan {
        for file in case.covers.iter().filter_map(|id| files.get(id.as_str())) {
            *votes.entry(file).or_default().entry(case.id.suite()).or_default() += 1;
        }
    }
    let winner = |suites: BTreeMap<&str, usize>| {
        suites.into_iter().rev().max_by_key(|(_, n)| *n).map_or(String::new(), |(suite, _)| suite.to_owned())
    };
    votes.into_iter().map(|(file, suites)| (file.to_owned(), winner(suites))).collect()
}

/// Files of the OCI runtime-spec.
pub(crate) const OCI_FILES: &[&str] = &[
    "spec.md",
    "glossary.md",
    "bundle.md",
    "runtime.md",
    "runtime-linux.md",
    "config.md",
    "config-linux.md",
    "features.md",
    "features-linux.md",
];

fn spec_of(requirement: &Requirement, suites: &BTreeMap<String, String>) -> String {
    if OCI_FILES.contains(&requirement.file.as_str()) {
        return "oci-runtime".to_owned();
    }
    match suites.get(&requirement.file) {
        Some(suite) if !suite.is_empty() => suite.clone(),
        _ => requirement.file.split(['/', '.']).next().unwrap_or_default().to_owned(),
    }
}

impl Coverage {
    /// Sums per specification, in the order of the catalogue.
    pub fn specs(&self) -> Vec<(String, Counts)> {
        let mut specs: Vec<(String, Counts)> = Vec::new();
        for row in &self.rows {
            let at = specs.iter().position(|(spec, _)| *spec == row.spec).unwrap_or_else(|| {
                specs.push((row.spec.clone(), Counts::default()));
                specs.len() - 1
            });
            let sum = &mut specs[at].1;
            sum.statements += row.counts.statements;
            sum.tested += row.counts.tested;
            sum.waived += row.counts.waived;
            sum.open += row.counts.open;
        }
        specs
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        let must = &self.must;
        format!(
            "{} of {} requirements are tested ({} %), {} waived, {} open; of {} at MUST level {} are tested, {} waived, {} open.",
            self.total.tested,
            self.total.statements,
            percent(self.total.tested, self.total.statements),
            self.total.waived,
            self.total.open,
            must.statements,
            must.tested,
            must.waived,
            must.open
        )
    }

    /// A table for a terminal, then what is open.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n\n", self.sentence());
        let width = self.rows.iter().map(|r| r.spec.len() + r.file.len() + 1).max().unwrap_or(0).max(8);
        let _ = writeln!(
            out,
            "{:<width$}  {:<15}  {:>10}  {:>6}  {:>6}  {:>6}",
            "file", "level", "statements", "tested", "waived", "open"
        );
        let mut line = |name: &str, level: &str, c: &Counts| {
            let _ = writeln!(
                out,
                "{name:<width$}  {level:<15}  {:>10}  {:>6}  {:>6}  {:>6}",
                c.statements, c.tested, c.waived, c.open
            );
        };
        for row in &self.rows {
            line(&format!("{} {}", row.spec, row.file), row.level.word(), &row.counts);
        }
        for (spec, counts) in self.specs() {
            line(&spec, "all", &counts);
        }
        for (title, list) in [("open", &self.open), ("waived", &self.waived)] {
            if !list.is_empty() {
                let _ = writeln!(out, "\n{title}:");
            }
            for item in list {
                let text = if item.reason.is_empty() { &item.text } else { &item.reason };
                let _ = writeln!(
                    out,
                    "  {:<15}  {}  {}  {}",
                    item.level.word(),
                    item.id,
                    item.clause,
                    one_line(text)
                );
            }
        }
        for (title, list) in
            [("unknown requirement", &self.unknown), ("waived, but tested", &self.stale_waivers)]
        {
            for id in list {
                let _ = writeln!(out, "{title}: {id}");
            }
        }
        clean(&out)
    }

    /// The whole as JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The tables in Markdown.
    pub fn to_markdown(&self) -> String {
        use crate::markdown::escape;
        let mut out = format!("{}\n\n", self.sentence());
        out.push_str("| specification | file | level | statements | tested | waived | open |\n|:--|:--|:--|--:|--:|--:|--:|\n");
        for row in &self.rows {
            let c = &row.counts;
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                escape(&row.spec),
                escape(&row.file),
                row.level.word(),
                c.statements,
                c.tested,
                c.waived,
                c.open
            );
        }
        for (spec, c) in self.specs() {
            let _ = writeln!(
                out,
                "| **{}** | all | all | **{}** | **{}** | **{}** | **{}** |",
                escape(&spec),
                c.statements,
                c.tested,
                c.waived,
                c.open
            );
        }
        for (title, list) in [("Open", &self.open), ("Waived", &self.waived)] {
            if list.is_empty() {
                continue;
            }
            let _ = writeln!(out, "\n### {title} ({})\n", list.len());
            for item in list {
                let text = if item.reason.is_empty() { &item.text } else { &item.reason };
                let _ = writeln!(
                    out,
                    "- {} `{}` ({}): {}",
                    item.level.word(),
                    item.id,
                    escape(&item.clause),
                    escape(text)
                );
            }
        }
        out
    }
}
