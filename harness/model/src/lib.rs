//! The words of Plimsoll as types: requirements, case ids, outcomes, expectations, judgements, events, run files
//! and exit codes.
//!
//! This crate owns the vocabulary and the shape of the run file. It must not do any input or output and must not
//! read a clock: everything downstream (judging, comparing, rendering) is a pure function over these types.

pub mod case;
pub mod event;
pub mod exit;
pub mod expectation;
pub mod outcome;
pub mod requirement;
pub mod run;
pub mod target;
pub mod version;

pub use case::{CaseId, PlannedCase};
pub use event::{CaseRecord, CommandRecord, Event, Footer, Header, HostFacts, TargetInfo};
pub use exit::ExitCode;
pub use expectation::{Expectation, Expectations, Judgement};
pub use outcome::{Outcome, OutcomeKind, Trouble, TroubleKind, Violation};
pub use requirement::{Catalogue, Level, Requirement, Severity};
pub use run::{Run, RunError};
pub use target::{TargetKind, TargetSpec};
pub use version::SpecVersion;
