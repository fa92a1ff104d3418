//! A run, read back from its file.

use crate::case::CaseId;
use crate::event::{CaseRecord, Event, Footer, Header, RUN_FORMAT};
use crate::outcome::OutcomeKind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A run file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A line is not an event.
    #[error("line {line} is not an event: {why}")]
    Line {
        /// 1-based.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// The first line is not a header.
    #[error("the file does not begin with a header")]
    NoHeader,
    /// Another format, or a newer one.
    #[error("the format is `{0}`, this program reads `{RUN_FORMAT}`")]
    Format(String),
    /// A case was decided twice.
    #[error("case `{case}` on `{target}` was decided twice")]
    Duplicate {
        /// The case.
        case: CaseId,
        /// The target's label.
        target: String,
    },
    /// A record names a case or target that the header did not plan.
    #[error("`{case}` on `{target}` was never planned")]
    Unplanned {
        /// The case.
        case: CaseId,
        /// The target's label.
        target: String,
    },
    /// Footer and events disagree.
    #[error("the footer counts {footer} outcomes, the events hold {events}")]
    Counts {
        /// Sum in the footer.
        footer: u64,
        /// Decided cases.
        events: u64,
    },
}

/// A run file's content.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The first line.
    pub header: Header,
    /// The deciding record of each case and target, in plan order.
    pub records: Vec<CaseRecord>,
    /// Attempts that a later one replaced, in file order.
    pub superseded: Vec<CaseRecord>,
    /// Benchmarks by name, in file order.
    pub benches: Vec<(String, Value)>,
    /// Notes in file order.
    pub notes: Vec<String>,
    /// The last line; absent when the run was cut off.
    pub footer: Option<Footer>,
}

impl Run {
    /// Reads a run file. A cut-off last line is accepted when there is no footer: that is how a killed run ends.
    pub fn parse(text: &str) -> Result<Self, RunError> {
        let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).peekable();
        let mut run: Option<Self> = None;
        while let Some((n, line)) = lines.next() {
            let event: Event = match serde_json::from_str(line) {
                Ok(event) => event,
                Err(_) if lines.peek().is_none() && !text.ends_with('\n') => break,
                Err(e) => return Err(RunError::Line { line: n + 1, why: e.to_string() }),
            };
            match (&mut run, event) {
                (None, Event::Header(header)) => run = Some(Self::begin(*header)?),
                (None, _) => return Err(RunError::NoHeader),
                (Some(run), event) => run.push(event),
            }
        }
        let mut run = run.ok_or(RunError::NoHeader)?;
        run.settle()?;
        Ok(run)
    }

    /// A run with a header and nothing else.
    pub fn begin(header: Header) -> Result<Self, RunError> {
        if header.format != RUN_FORMAT {
            return Err(RunError::Format(header.format));
        }
        let empty = Vec::new();
        Ok(Self { header, records: vec![], superseded: vec![], benches: vec![], notes: empty, footer: None })
    }

    /// Takes in one event after the header.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::CaseFinished(record) if record.superseded => self.superseded.push(*record),
            Event::CaseFinished(record) => self.records.push(*record),
            Event::Bench { name, result } => self.benches.push((name, result)),
            Event::Note { text } => self.notes.push(text),
            Event::Footer(footer) => self.footer = Some(footer),
            Event::Header(_) | Event::CaseStarted { .. } => {}
        }
    }

    /// Puts the records into plan order and checks that they reconcile with the plan and the footer.
    pub fn settle(&mut self) -> Result<(), RunError> {
        let place: BTreeMap<&str, usize> =
            self.header.plan.iter().enumerate().map(|(i, c)| (c.id.as_str(), i)).collect();
        let column: BTreeMap<&str, usize> =
            self.header.targets.iter().enumerate().map(|(i, t)| (t.label.as_str(), i)).collect();
        let mut seen = BTreeSet::new();
        for record in &self.records {
            let (case, target) = (record.case.clone(), record.target.clone());
            if !place.contains_key(case.as_str()) || !column.contains_key(target.as_str()) {
                return Err(RunError::Unplanned { case, target });
            }
            if !seen.insert((record.case.as_str(), record.target.as_str())) {
                return Err(RunError::Duplicate { case, target });
            }
        }
        let events = self.records.len() as u64;
        if let Some(footer) = &self.footer {
            let sum: u64 = footer.counts.values().flat_map(BTreeMap::values).sum();
            if sum != events || footer.planned != events {
                return Err(RunError::Counts { footer: sum, events });
            }
        }
        let key = |r: &CaseRecord| (place[r.case.as_str()], column[r.target.as_str()]);
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        order.sort_by_key(|&i| key(&self.records[i]));
        self.records = order.into_iter().map(|i| self.records[i].clone()).collect();
        Ok(())
    }

    /// The deciding record of a case on a target.
    pub fn record(&self, case: &CaseId, target: &str) -> Option<&CaseRecord> {
        self.records.iter().find(|r| &r.case == case && r.target == target)
    }

    /// Outcomes per target label.
    pub fn counts(&self) -> BTreeMap<String, BTreeMap<OutcomeKind, u64>> {
        let mut counts: BTreeMap<String, BTreeMap<OutcomeKind, u64>> = BTreeMap::new();
        for target in &self.header.targets {
            counts.entry(target.label.clone()).or_default();
        }
        for record in &self.records {
            *counts.entry(record.target.clone()).or_default().entry(record.outcome.kind()).or_default() += 1;
        }
        counts
    }

    /// Whether the footer is there and says that everything was decided.
    pub fn is_complete(&self) -> bool {
        self.footer.as_ref().is_some_and(|f| f.status == crate::event::RunStatus::Complete)
    }

    /// The event stream that the run would be written as.
    pub fn to_events(&self) -> Vec<Event> {
        let mut events = vec![Event::Header(Box::new(self.header.clone()))];
        events.extend(self.notes.iter().map(|text| Event::Note { text: text.clone() }));
        let attempts = self.superseded.iter().chain(&self.records);
        events.extend(attempts.map(|r| Event::CaseFinished(Box::new(r.clone()))));
        events.extend(
            self.benches
                .iter()
                .map(|(name, result)| Event::Bench { name: name.clone(), result: result.clone() }),
        );
        events.extend(self.footer.iter().map(|f| Event::Footer(f.clone())));
        events
    }
}
