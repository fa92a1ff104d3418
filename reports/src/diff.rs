//! What changed between two runs.

use plimsoll_model::{CaseRecord, OutcomeKind, Run};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::markdown::escape;
use crate::text::{one_line, plural, printable, shorten, stable};

/// One case on one target, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Case id.
    pub case: String,
    /// Label of the target in the newer run, or in the older one where only that has it.
    pub target: String,
    /// Outcome before; absent where the older run has no such case or target.
    pub old: Option<OutcomeKind>,
    /// Outcome after; absent where the newer run has no such case or target.
    pub new: Option<OutcomeKind>,
    /// Why the newer outcome is what it is, or the older where there is no newer.
    pub message: String,
}

/// The changes, each list in plan order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Did not fail before, fails now.
    pub newly_failing: Vec<Entry>,
    /// Failed before, passes now.
    pub newly_passing: Vec<Entry>,
    /// Any other change of the outcome.
    pub changed: Vec<Entry>,
    /// Only in the newer run.
    pub added: Vec<Entry>,
    /// Only in the older run.
    pub removed: Vec<Entry>,
    /// Fails in both.
    pub still_failing: Vec<Entry>,
    /// Fails in both, but in another way; also in `still_failing`.
    pub fails_differently: Vec<Entry>,
    /// Cases and targets with the same outcome in both.
    pub unchanged: usize,
    /// Targets that were compared: label before and after.
    pub targets: Vec<(String, String)>,
}

/// Compares two runs by case and target label. Where each run has one target, these are compared whatever they are
/// called: that is how two versions of a runtime are set side by side.
pub fn compare(old: &Run, new: &Run) -> Diff {
    let pairs = pairs(old, new);
    let olds = index(old);
    let mut diff = Diff::default();
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for record in &new.records {
        let before =
            pairs.iter().find(|(_, after)| *after == record.target).map(|(before, _)| before.as_str());
        let key = before.map(|b| (record.case.as_str(), b));
        let former = key.and_then(|k| olds.get(&k).copied());
        if let (Some(key), true) = (key, former.is_some()) {
            used.insert(key);
        }
        place(&mut diff, former, Some(record));
    }
    for record in &old.records {
        let key = (record.case.as_str(), record.target.as_str());
        if !used.contains(&key) {
            place(&mut diff, Some(record), None);
        }
    }
    diff.targets = pairs;
    diff
}

fn index(run: &Run) -> BTreeMap<(&str, &str), &CaseRecord> {
    run.records.iter().map(|r| ((r.case.as_str(), r.target.as_str()), r)).collect()
}

fn pairs(old: &Run, new: &Run) -> Vec<(String, String)> {
    if let ([before], [after]) = (old.header.targets.as_slice(), new.header.targets.as_slice()) {
        return vec![(before.label.clone(), after.label.clone())];
    }
    let known: BTreeSet<&str> = old.header.targets.iter().map(|t| t.label.as_str()).collect();
    let both = new.header.targets.iter().filter(|t| known.contains(t.label.as_str()));
    both.map(|t| (t.label.clone(), t.label.clone())).collect()
}

fn place(diff: &mut Diff, old: Option<&CaseRecord>, new: Option<&CaseRecord>) {
    let Some(shown) = new.or(old) else { return };
    let kind = |r: Option<&CaseRecord>| r.map(|r| r.outcome.kind());
    let message = |r: &CaseRecord| stable(&one_line(&r.outcome.message()));
    let entry = Entry {
        case: shown.case.to_string(),
        target: shown.target.clone(),
        old: kind(old),
        new: kind(new),
        message: message(shown),
    };
    let list = match (entry.old, entry.new) {
        (None, _) => &mut diff.added,
        (_, None) => &mut diff.removed,
        (Some(OutcomeKind::Fail), Some(OutcomeKind::Fail)) => {
            if old.is_some_and(|o| message(o) != entry.message) {
                diff.fails_differently.push(entry.clone());
            }
            &mut diff.still_failing
        }
        (_, Some(OutcomeKind::Fail)) => &mut diff.newly_failing,
        (Some(OutcomeKind::Fail), Some(OutcomeKind::Pass | OutcomeKind::Warn)) => &mut diff.newly_passing,
        (a, b) if a == b => {
            diff.unchanged += 1;
            return;
        }
        _ => &mut diff.changed,
    };
    list.push(entry);
}

impl Diff {
    /// The lists with their titles, most urgent first.
    pub fn groups(&self) -> [(&'static str, &[Entry]); 7] {
        [
            ("newly failing", &self.newly_failing),
            ("newly passing", &self.newly_passing),
            ("changed", &self.changed),
            ("added", &self.added),
            ("removed", &self.removed),
            ("fails differently", &self.fails_differently),
            ("still failing", &self.still_failing),
        ]
    }

    /// Whether no outcome differs.
    pub fn is_empty(&self) -> bool {
        self.groups().iter().take(5).all(|(_, list)| list.is_empty())
    }

    /// One sentence.
    pub fn sentence(&self) -> String {
        let parts: Vec<String> = self
            .groups()
            .iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(title, list)| format!("{} {title}", list.len()))
            .collect();
        let same = format!("{} unchanged", plural(self.unchanged, "outcome"));
        if parts.is_empty() { format!("{same}.") } else { format!("{}; {same}.", parts.join(", ")) }
    }

    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}\n", self.sentence());
        for (title, list) in self.groups() {
            if !list.is_empty() {
                let _ = writeln!(out, "\n{title}:");
            }
            for e in list {
                let message = shorten(&e.message, 200);
                let _ = writeln!(out, "  {}  {}  {}  {message}", change(e), e.target, e.case);
            }
        }
        printable(&out)
    }

    /// For a comment; at most 200 entries of each list.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("**{}**\n", self.sentence());
        for (title, list) in self.groups() {
            if list.is_empty() {
                continue;
            }
            let _ = writeln!(
                out,
                "\n### {title} ({})\n\n| case | target | change | why |\n|:--|:--|:--|:--|",
                list.len()
            );
            for e in list.iter().take(200) {
                let why = escape(&shorten(&e.message, 200));
                let _ = writeln!(out, "| `{}` | {} | {} | {why} |", e.case, escape(&e.target), change(e));
            }
            if list.len() > 200 {
                let _ = writeln!(out, "\n… and {} more", list.len() - 200);
            }
        }
        out
    }

    /// The whole as JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// `pass → fail`.
pub(crate) fn change(entry: &Entry) -> String {
    let word = |kind: Option<OutcomeKind>| kind.map_or("–", OutcomeKind::word);
    format!("{} → {}", word(entry.old), word(entry.new))
}
