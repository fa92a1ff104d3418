//! Why a case ends early.

use plimsoll_model::{Trouble, TroubleKind, Violation};

/// What a case's body returns.
pub type Verdict = Result<(), Stop>;

/// The four ways in which a case can end without having passed.
#[derive(Debug, Clone)]
pub enum Stop {
    /// A requirement is not met. Made by checks and by `must_*` only.
    Violation(Violation),
    /// The harness, the host or the set-up failed.
    Trouble(Trouble),
    /// This host cannot show it.
    Skip {
        /// Short stable word.
        lack: String,
        /// How that was found out.
        reason: String,
    },
    /// The target declares that it lacks an optional thing.
    NotApplicable {
        /// The capability.
        capability: String,
        /// How the target says so.
        reason: String,
    },
}

impl Stop {
    /// A violation of the case's primary requirement.
    pub fn violation(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self::Violation(Violation::new(expected, actual))
    }

    /// Trouble in the set-up of the case.
    pub fn setup(what: impl Into<String>) -> Self {
        Self::Trouble(Trouble::new(TroubleKind::Setup, what))
    }

    /// Trouble of the harness or the host, with the step that failed.
    pub fn host(step: &str, error: impl std::fmt::Display) -> Self {
        Self::Trouble(Trouble::new(TroubleKind::Host, format!("{step}: {error}")))
    }

    /// Attributes a violation to `requirement`; other stops stay as they are.
    #[must_use]
    pub fn of(self, requirement: &str) -> Self {
        match self {
            Self::Violation(v) => Self::Violation(v.of(requirement)),
            other => other,
        }
    }
}

/// Input and output errors of the harness's own files are trouble, never a verdict.
impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Trouble(Trouble::new(
            TroubleKind::Harness,
            format!("the harness's own input or output failed: {error}"),
        ))
    }
}

impl From<nix::Error> for Stop {
    fn from(error: nix::Error) -> Self {
        Self::Trouble(Trouble::new(
            TroubleKind::Harness,
            format!("a system call of the harness failed: {error}"),
        ))
    }
}

impl From<rustix::io::Errno> for Stop {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Trouble(Trouble::new(
            TroubleKind::Harness,
            format!("a system call of the harness failed: {error}"),
        ))
    }
}

/// Attributes a result's violation to a requirement other than the case's primary one.
pub trait Attributed {
    /// See [`Stop::of`].
    #[must_use]
    fn of(self, requirement: &str) -> Self;
}

impl<T> Attributed for Result<T, Stop> {
    fn of(self, requirement: &str) -> Self {
        self.map_err(|stop| stop.of(requirement))
    }
}
