//! A run, read back from its file.

use crate::case::CaseId;
use crate::event::{CaseRecord, Event, Footer, Header, RUN_FORMAT};
use crate::outcome::OutcomeKind;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;

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
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Io(std::io::Error),
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

/// What the id of a run that answers a certifier's challenge begins with: eight hexadecimal digits. Names of containers
/// carry the run's id, so that who watches the run sees that it was made for this challenge.
pub fn challenge_mark(challenge: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(challenge.as_bytes());
    format!("{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
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
        Self::read(text.as_bytes())
    }

    /// Reads a run file as [`Run::parse`] does, line by line: its text is never in memory as a whole.
    pub fn read(mut from: impl BufRead) -> Result<Self, RunError> {
        let mut run: Option<Self> = None;
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let length = from.read_until(b'\n', &mut line).map_err(RunError::Io)?;
            if length == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event = match Event::from_line(&line) {
                Ok(event) => event,
                // Without its end it is the last line.
                Err(_) if !line.ends_with(b"\n") => break,
                Err(e) => return Err(RunError::Line { line: number, why: e.to_string() }),
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
        let place: HashMap<&str, usize> =
            self.header.plan.iter().enumerate().map(|(i, c)| (c.id.as_str(), i)).collect();
        let column: HashMap<&str, usize> =
            self.header.targets.iter().enumerate().map(|(i, t)| (t.label.as_str(), i)).collect();
        let mut seen = HashSet::new();
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
        // The records of a large run are never there twice.
        self.records.sort_by_cached_key(|r| (place[r.case.as_str()], column[r.target.as_str()]));
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
        let mut events = Vec::new();
        let result: Result<(), std::convert::Infallible> = self.for_each_event(&mut |event| {
            events.push(event.clone());
            Ok(())
        });
        match result {
            Ok(()) => events,
        }
    }

    /// Gives the event stream to `take`, one event at a time.
    pub fn for_each_event<E>(&self, take: &mut dyn FnMut(&Event) -> Result<(), E>) -> Result<(), E> {
        take(&Event::Header(Box::new(self.header.clone())))?;
        for text in &self.notes {
            take(&Event::Note { text: text.clone() })?;
        }
        for record in self.superseded.iter().chain(&self.records) {
            take(&Event::CaseFinished(Box::new(record.clone())))?;
        }
        for (name, result) in &self.benches {
            take(&Event::Bench { name: name.clone(), result: result.clone() })?;
        }
        if let Some(footer) = &self.footer {
            take(&Event::Footer(footer.clone()))?;
        }
        Ok(())
    }
}
