//! The detection score as data. Pure: what ran goes in, the document comes out; everything that is printed is made
//! from the document.

use plimsoll_faults::Fault;
use plimsoll_model::requirement::Level;
use plimsoll_model::{CaseRecord, Outcome, PlannedCase, Severity};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Name and version of the document's format.
pub const SCHEMA: &str = "plimsoll-selftest/1";

/// What came of one fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The fault's id.
    pub id: String,
    /// Where it acts.
    pub layer: String,
    /// What is broken.
    pub title: String,
    /// The requirements that it breaks, comma-separated, the intended one first.
    pub requirement: String,
    /// The strongest level among them: `MUST`, `SHOULD`, another word of the catalogue, or empty.
    pub level: String,
    /// `found`, `missed`, `not-applicable` (nothing here can show it) or `error` (it breaks even a plain container).
    pub outcome: String,
    /// Whether a case that covers what is broken turned red, or a violation names it.
    pub right_reason: bool,
    /// Cases that turned red.
    pub red: Vec<String>,
    /// Cases that cover what is broken and stayed green.
    #[serde(default)]
    pub green: Vec<String>,
    /// For all but found ones: why, and what would find it.
    pub why: String,
}

/// A case that no fault turned red.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// The case.
    pub case: String,
    /// Why that is so; empty when nobody has said.
    pub why: String,
}

/// A case that is red without a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The case.
    pub case: String,
    /// The target.
    pub target: String,
    /// `fail`, `warn` or `error`.
    pub outcome: String,
}

/// The numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Faults that were tried.
    pub injected: usize,
    /// Of these, such as a case that passes without a fault claims to find.
    pub applicable: usize,
    /// Of these, found.
    pub found: usize,
    /// Of the found ones, by a case that covers what is broken.
    pub right_reason: usize,
    /// Applicable ones that break a MUST, a MUST NOT or a REQUIRED.
    pub must_applicable: usize,
    /// Of these, found.
    pub must_found: usize,
    /// Faults under which even a plain container does not work.
    pub invalid: usize,
    /// Faults that nothing here can show.
    pub not_applicable: usize,
}

/// The result of a self-test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The target as given.
    pub target: String,
    /// What it says of its version.
    #[serde(default)]
    pub version: String,
    /// Seed of the draw.
    pub seed: u64,
    /// Whether every fault for this kind of target was tried.
    #[serde(default)]
    pub whole: bool,
    /// Cases that pass without a fault.
    #[serde(default)]
    pub passing: usize,
    /// The numbers.
    #[serde(default)]
    pub summary: Summary,
    /// All faults that were tried.
    pub faults: Vec<Found>,
    /// Cases that no fault turned red; only when every fault was tried.
    pub unproven: Vec<Unproven>,
    /// Cases that are red without a fault.
    pub false_alarms: Vec<Alarm>,
}

/// Joins results of the same target, such as those of slices: of a fault that occurs in several the last counts.
pub fn join(documents: Vec<Document>) -> Vec<Document> {
    let mut all: Vec<Document> = Vec::new();
    for document in documents {
        match all.iter_mut().find(|d| d.target == document.target) {
            Some(first) => first.take_in(document),
            None => all.push(document),
        }
    }
    all
}

impl Document {
    fn take_in(&mut self, later: Self) {
        for fault in later.faults {
            match self.faults.iter_mut().find(|f| f.id == fault.id) {
                Some(place) => *place = fault,
                None => self.faults.push(fault),
            }
        }
        let red: BTreeSet<&str> = self.faults.iter().flat_map(|f| &f.red).map(String::as_str).collect();
        self.unproven.retain(|u| !red.contains(u.case.as_str()));
        for alarm in later.false_alarms {
            if !self.false_alarms.contains(&alarm) {
                self.false_alarms.push(alarm);
            }
        }
        self.version = later.version;
        self.summary = Summary::of(&self.faults);
    }
}

impl Summary {
    /// Counts.
    pub fn of(faults: &[Found]) -> Self {
        let count = |outcome: &str| faults.iter().filter(|f| f.outcome == outcome).count();
        let must = |outcomes: &[&str]| {
            let is = |f: &&Found| f.level == "MUST" && outcomes.contains(&f.outcome.as_str());
            faults.iter().filter(is).count()
        };
        Self {
            injected: faults.len(),
            applicable: count("found") + count("missed"),
            found: count("found"),
            right_reason: faults.iter().filter(|f| f.outcome == "found" && f.right_reason).count(),
            must_applicable: must(&["found", "missed"]),
            must_found: must(&["found"]),
            invalid: count("error"),
            not_applicable: count("not-applicable"),
        }
    }
}

/// A share in percent, rounded down so that only all of them is 100.
pub fn percent(part: usize, whole: usize) -> String {
    let permille = (part * 1000).checked_div(whole);
    permille.map_or_else(|| "-".to_owned(), |p| format!("{}.{} %", p / 10, p % 10))
}

/// What is known of the target without a fault.
#[derive(Debug, Default)]
pub struct Control {
    /// Cases that pass.
    pub passing: Vec<PlannedCase>,
    /// Cases that do not, with their outcome.
    pub others: Vec<(PlannedCase, Outcome)>,
    /// The levels of the requirements, and what a violation of them amounts to.
    pub levels: BTreeMap<String, (Level, Severity)>,
}

impl Control {
    /// The strongest level among a fault's requirements, as one word.
    pub fn level(&self, fault: &Fault) -> &'static str {
        let levels = || fault.requirements.iter().filter_map(|r| self.levels.get(r)).map(|(level, _)| level);
        if levels().any(|l| l.is_must()) {
            return "MUST";
        }
        if levels().any(|l| l.is_should()) {
            return "SHOULD";
        }
        levels().next().map_or("", |l| l.word())
    }

    /// A result for a fault, of which nothing is known yet.
    pub fn blank(&self, fault: &Fault) -> Found {
        Found {
            id: fault.id.clone(),
            layer: fault.layer.clone(),
            title: fault.title.clone(),
            requirement: fault.requirements.join(", "),
            level: self.level(fault).to_owned(),
            ..Found::default()
        }
    }

    /// Whether all that a fault breaks is permission: what a runtime does is recorded then, never judged.
    fn permitted(&self, fault: &Fault) -> bool {
        let mut known = fault.requirements.iter().filter_map(|r| self.levels.get(r)).peekable();
        known.peek().is_some() && known.all(|(_, severity)| *severity == Severity::Record)
    }

    /// The cases that pass here and claim what a fault breaks.
    pub fn claiming(&self, fault: &Fault) -> Vec<&PlannedCase> {
        let claims = |c: &&PlannedCase| c.covers.iter().any(|r| fault.requirements.contains(r));
        self.passing.iter().filter(claims).collect()
    }

    /// A fault that no passing case claims, with the reason.
    pub fn not_applicable(&self, fault: &Fault) -> Found {
        let claimed =
            |(case, _): &&(PlannedCase, Outcome)| case.covers.iter().any(|r| fault.requirements.contains(r));
        let why = match self.others.iter().find(claimed) {
            _ if fault.requirements.is_empty() => {
                "it breaks no requirement; it is there to try the harness itself".to_owned()
            }

            Some((case, outcome)) => {
                format!("{} does not pass here without a fault: {}", case.id, what(outcome))
            }
            None => "no case claims what it breaks".to_owned(),
        };
        Found { outcome: "not-applicable".into(), why, ..self.blank(fault) }
    }

    /// Judges the attempts that were made under a fault.
    pub fn judge(&self, fault: &Fault, records: &[CaseRecord]) -> Found {
        let mut found = self.blank(fault);
        let claiming: BTreeSet<&str> = self.claiming(fault).iter().map(|c| c.id.as_str()).collect();
        let mut errors = Vec::new();
        for record in records.iter().filter(|r| !r.superseded) {
            let case = record.case.as_str();
            match &record.outcome {
                Outcome::Fail { violations } | Outcome::Warn { violations } => {
                    let named = violations.iter().any(|v| fault.requirements.contains(&v.requirement));
                    found.right_reason |= claiming.contains(case) || named;
                    found.red.push(case.to_owned());
                }
                Outcome::Error { trouble } => {
                    errors.push(format!("{case} ended in trouble: {}", trouble.what));
                }
                _ if claiming.contains(case) => found.green.push(case.to_owned()),
                _ => {}
            }
        }
        found.red.sort();
        found.green.sort();
        found.outcome = if found.red.is_empty() { "missed" } else { "found" }.into();
        if found.red.is_empty() {
            let permitted = self
                .permitted(fault)
                .then(|| "what it changes is permitted: cases record it and judge nothing".to_owned());
            match permitted.or_else(|| self.lacking(fault)) {
                Some(why) => (found.outcome, found.why) = ("not-applicable".into(), why),
                None => found.why = survival(&found, &errors),
            }
        }
        found
    }

    /// That the case which would see what a fault needs does not apply here: the words of the fault's needs are those
    /// of hosts' lacks and targets' capabilities.
    fn lacking(&self, fault: &Fault) -> Option<String> {
        let needs: Vec<&str> = fault.needs.split_whitespace().collect();
        let claimed =
            |(case, _): &&(PlannedCase, Outcome)| case.covers.iter().any(|r| fault.requirements.contains(r));
        let lacking = |outcome: &Outcome| match outcome {
            Outcome::Skip { lack: word, .. } | Outcome::NotApplicable { capability: word, .. } => {
                let word = word.replace('_', "-");
                needs.iter().any(|n| word.contains(n))
            }
            _ => false,
        };
        let (case, outcome) = self.others.iter().filter(claimed).find(|(_, o)| lacking(o))?;
        Some(format!("{} does not pass here without a fault: {}", case.id, what(outcome)))
    }

    /// The passing cases that no fault turned red. `reasons` are about cases by id or glob.
    pub fn unproven(&self, faults: &[Found], reasons: &[(String, String)]) -> Vec<Unproven> {
        let red: BTreeSet<&str> = faults.iter().flat_map(|f| &f.red).map(String::as_str).collect();
        let tried: BTreeMap<&str, &Found> =
            faults.iter().flat_map(|f| f.requirement.split(", ").map(move |r| (r, f))).collect();
        let reason = |case: &PlannedCase| {
            let given = reasons.iter().find(|(g, _)| plimsoll_model::expectation::glob(g, case.id.as_str()));
            if let Some((_, why)) = given {
                return why.clone();
            }
            if case.severity == Severity::Record {
                return "it records what a runtime may do, and judges nothing".to_owned();
            }
            let kept = case.covers.iter().filter_map(|r| tried.get(r.as_str()));
            let kept: Vec<&str> = kept.filter(|f| f.outcome == "error").map(|f| f.id.as_str()).collect();
            match kept.first() {
                Some(id) => format!("what it looks for breaks even a plain container ({id})"),
                None => String::new(),
            }
        };
        let unproven = self.passing.iter().filter(|c| !red.contains(c.id.as_str()));
        unproven.map(|c| Unproven { case: c.id.to_string(), why: reason(c) }).collect()
    }
}

/// Why nothing was found, and what would.
fn survival(found: &Found, errors: &[String]) -> String {
    let shown: Vec<&str> = found.green.iter().take(3).map(String::as_str).collect();
    let more = found.green.len().saturating_sub(shown.len());
    let mut text = match shown.as_slice() {
        [] => String::new(),
        some => format!("stayed green: {}", some.join(", ")),
    };
    if more > 0 {
        text = format!("{text} and {more} more");
    }
    if let Some(first) = errors.first() {
        text = [text, format!("{} without a verdict, the first: {first}", errors.len())]
            .into_iter()
            .filter(|t| !t.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
    }
    format!("{text}. What would find it: a case of {} that notices when {}", found.requirement, found.title)
}

/// An outcome in a few words.
fn what(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Pass => "it passes".to_owned(),
        Outcome::Skip { lack, .. } => format!("the host lacks {lack}"),
        Outcome::NotApplicable { capability, .. } => format!("the target lacks {capability}"),
        Outcome::Error { trouble } => format!("trouble: {}", trouble.what),
        Outcome::NotRun { why } => format!("not run: {why}"),
        Outcome::Fail { violations } | Outcome::Warn { violations } => violations
            .first()
            .map_or_else(|| "red".to_owned(), |v| format!("expected {}, found {}", v.expected, v.actual)),
    }
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
