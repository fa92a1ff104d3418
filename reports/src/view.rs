//! What several reports need to look up in a run, prepared once.

use plimsoll_model::{CaseRecord, Header, OutcomeKind, PlannedCase, Requirement, Run, Severity, TargetInfo};
use std::collections::{HashMap, HashSet};

use crate::text::{one_line, shell};

/// Indexes over a run; looking things up in the run itself is linear.
pub(crate) struct View<'a> {
    pub run: &'a Run,
    cells: HashMap<&'a str, HashMap<&'a str, &'a CaseRecord>>,
    tries: HashMap<&'a str, HashMap<&'a str, Vec<&'a CaseRecord>>>,
    requirements: HashMap<&'a str, &'a Requirement>,
    plan: HashMap<&'a str, &'a PlannedCase>,
    /// Of a run with very many cells: the cases that a page shows.
    shown: Option<HashSet<&'a str>>,
}

/// Cases times targets beyond which a page shows the cases that are not well, and counts the rest: browsers lay out so
/// many cells in a second or two.
const MOST_CELLS: usize = 60_000;

/// The cases of one section of a suite.
pub(crate) struct Section<'a> {
    pub suite: &'a str,
    pub name: &'a str,
    pub cases: Vec<&'a PlannedCase>,
}

impl<'a> View<'a> {
    pub fn new(run: &'a Run) -> Self {
        let mut cells: HashMap<&str, HashMap<&str, _>> = HashMap::new();
        for record in &run.records {
            cells.entry(record.case.as_str()).or_default().insert(record.target.as_str(), record);
        }
        let mut tries: HashMap<&str, HashMap<&str, Vec<_>>> = HashMap::new();
        for record in &run.superseded {
            tries.entry(record.case.as_str()).or_default().entry(&record.target).or_default().push(record);
        }
        let shown = not_well(run, &cells);
        Self {
            run,
            cells,
            tries,
            shown,
            plan: run.header.plan.iter().map(|c| (c.id.as_str(), c)).collect(),
            requirements: run.header.requirements.iter().map(|r| (r.id.as_str(), r)).collect(),
        }
    }

    /// Whether a page shows only the cases that are not well.
    pub fn is_condensed(&self) -> bool {
        self.shown.is_some()
    }

    /// Whether a page shows a case.
    pub fn shows(&self, case: &str) -> bool {
        self.shown.as_ref().is_none_or(|shown| shown.contains(case))
    }

    pub fn record(&self, case: &str, target: &str) -> Option<&'a CaseRecord> {
        self.cells.get(case)?.get(target).copied()
    }

    /// Whether targets of one kind differ in a case: a runtime and an endpoint are not asked the same questions.
    pub fn differs(&self, case: &str) -> bool {
        self.by_kind(case).iter().any(|kinds| kinds.windows(2).any(|w| w[0] != w[1]))
    }

    /// Whether a case fails on every target of a kind, of which there are several.
    pub fn fails_everywhere(&self, case: &str) -> bool {
        let fails = |kind: &Option<OutcomeKind>| *kind == Some(OutcomeKind::Fail);
        self.by_kind(case).iter().any(|kinds| kinds.len() > 1 && kinds.iter().all(fails))
    }

    /// The outcomes of a case on OCI runtimes and on CRI endpoints.
    fn by_kind(&self, case: &str) -> [Vec<Option<OutcomeKind>>; 2] {
        let of = |oci: bool| {
            let targets = self.run.header.targets.iter().filter(|t| t.spec.is_oci() == oci);
            targets.map(|t| self.record(case, &t.label).map(|r| r.outcome.kind())).collect()
        };
        [of(true), of(false)]
    }

    pub fn superseded(&self, case: &str, target: &str) -> &[&'a CaseRecord] {
        self.tries.get(case).and_then(|t| t.get(target)).map_or(&[], Vec::as_slice)
    }

    pub fn requirement(&self, id: &str) -> Option<&'a Requirement> {
        self.requirements.get(id).copied()
    }

    pub fn planned(&self, id: &str) -> Option<&'a PlannedCase> {
        self.plan.get(id).copied()
    }

    /// Sections in the order in which the plan names them first.
    pub fn sections(&self) -> Vec<Section<'a>> {
        let mut sections: Vec<Section<'a>> = Vec::new();
        let mut place: HashMap<(&str, &str), usize> = HashMap::new();
        for case in &self.run.header.plan {
            let key = (case.id.suite(), case.id.section());
            let at = *place.entry(key).or_insert_with(|| {
                sections.push(Section { suite: key.0, name: key.1, cases: vec![] });
                sections.len() - 1
            });
            sections[at].cases.push(case);
        }
        sections
    }
}

/// The cases with an outcome that someone has to look at, failures first, as many as a page takes; `None` when it takes
/// all.
fn not_well<'a>(run: &'a Run, cells: &HashMap<&str, HashMap<&str, &CaseRecord>>) -> Option<HashSet<&'a str>> {
    let (plan, targets) = (&run.header.plan, run.header.targets.len());
    if plan.len() * targets <= MOST_CELLS {
        return None;
    }
    let grave = |case: &PlannedCase| {
        let records = cells.get(case.id.as_str());
        let missing = records.map_or(0, HashMap::len) < targets;
        let of = |record: &&CaseRecord| match record.outcome.kind() {
            OutcomeKind::Fail => 4,
            OutcomeKind::Error => 3,
            OutcomeKind::Warn => 2,
            OutcomeKind::NotRun => 1,
            OutcomeKind::Pass | OutcomeKind::Skip | OutcomeKind::NotApplicable => 0,
        };
        records.into_iter().flat_map(HashMap::values).map(of).max().unwrap_or(0).max(u8::from(missing))
    };
    let mut order: Vec<(u8, &str)> = plan.iter().map(|c| (grave(c), c.id.as_str())).collect();
    order.retain(|(grave, _)| *grave > 0);
    // Stable: among equals those that come first in the plan.
    order.sort_by_key(|(grave, _)| std::cmp::Reverse(*grave));
    Some(order.into_iter().take(MOST_CELLS / targets.max(1)).map(|(_, id)| id).collect())
}

/// Passed in the end, after an attempt that did not: the same input gave two outcomes.
pub(crate) fn is_flaky(view: &View<'_>, record: &CaseRecord) -> bool {
    let tries = view.superseded(record.case.as_str(), &record.target);
    tries.iter().any(|t| t.outcome.kind() != record.outcome.kind())
}

/// Whether the outcome tells anything about the target.
pub(crate) fn is_decided(kind: OutcomeKind) -> bool {
    matches!(kind, OutcomeKind::Pass | OutcomeKind::Warn | OutcomeKind::Fail)
}

/// The word for the strongest level that a case may violate.
pub(crate) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Fail => "MUST",
        Severity::Warn => "SHOULD",
        Severity::Record => "MAY",
    }
}

/// The label with the version number that the target reports: `crun 1.26`.
pub(crate) fn target_name(target: &TargetInfo) -> String {
    let label = one_line(&target.label);
    match version_number(&target.version) {
        Some(number) if !label.contains(&number) => format!("{label} {number}"),
        _ => label,
    }
}

/// The first word that begins with a digit, without a leading `v`.
fn version_number(text: &str) -> Option<String> {
    let line = one_line(text);
    let word = line.split([' ', ',', ':']).map(|w| w.strip_prefix('v').unwrap_or(w));
    word.into_iter()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()) && w.contains('.'))
        .map(|w| w.chars().take(32).collect())
}

/// The command that runs one case again on one target.
pub(crate) fn reproduce(header: &Header, record: &CaseRecord) -> String {
    let target = header.targets.iter().find(|t| t.label == record.target);
    let spec = target.map_or_else(|| record.target.clone(), |t| t.spec.to_string());
    format!("plimsoll run -t {} --case {} --keep", shell(&one_line(&spec)), shell(record.case.as_str()))
}
