//! What an attempt of a case observed. Never influenced by what was expected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A requirement was not met: which, what the clause demands, what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// Requirement id; empty until the worker has filled in the case's primary requirement.
    #[serde(default)]
    pub requirement: String,
    /// What the requirement demands, as a phrase.
    pub expected: String,
    /// What was seen instead, as a phrase; stable over runs (no ids, no paths, no times).
    pub actual: String,
}

impl Violation {
    /// A violation of the case's primary requirement.
    pub fn new(expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { requirement: String::new(), expected: expected.into(), actual: actual.into() }
    }

    /// The same violation, attributed to `requirement`.
    #[must_use]
    pub fn of(mut self, requirement: impl Into<String>) -> Self {
        self.requirement = requirement.into();
        self
    }
}

/// What kind of trouble kept a case from reaching a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// A defect or limit of the harness itself.
    Harness,
    /// The host refused something that the case needs.
    Host,
    /// The target failed in a step that only prepares the case.
    Setup,
    /// The case's code panicked.
    Panic,
    /// The case as a whole passed its deadline.
    Timeout,
    /// The worker process died.
    WorkerDied,
    /// The probe did not answer with this case's nonce.
    ProbeLost,
}

/// Why a case could not reach a verdict. Says nothing about the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// The kind, for grouping.
    pub kind: TroubleKind,
    /// What failed and why.
    pub what: String,
    /// What to do next; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Trouble {
    /// Trouble without a hint.
    pub fn new(kind: TroubleKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: String::new() }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// Every check held, on positive evidence.
    Pass,
    /// A SHOULD-level requirement was not met; the first violation is the primary one.
    Warn {
        /// At least one.
        violations: Vec<Violation>,
    },
    /// A MUST-level requirement was not met; the first violation is the primary one.
    Fail {
        /// At least one.
        violations: Vec<Violation>,
    },
    /// The target declares that it lacks an optional thing, or declares an older specification.
    NotApplicable {
        /// The capability that is absent.
        capability: String,
        /// How the target declares so.
        reason: String,
    },
    /// This host cannot show it.
    Skip {
        /// What the host lacks, as a short stable word such as `cgroup-v2`.
        lack: String,
        /// How that was found out.
        reason: String,
    },
    /// The harness, the host or the set-up failed.
    Error {
        /// What happened.
        trouble: Trouble,
    },
    /// Planned, but not run.
    NotRun {
        /// Why not.
        why: String,
    },
}

/// The outcome's kind alone: a copyable key for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// See [`Outcome::Pass`].
    Pass,
    /// See [`Outcome::Warn`].
    Warn,
    /// See [`Outcome::Fail`].
    Fail,
    /// See [`Outcome::NotApplicable`].
    NotApplicable,
    /// See [`Outcome::Skip`].
    Skip,
    /// See [`Outcome::Error`].
    Error,
    /// See [`Outcome::NotRun`].
    NotRun,
}

impl OutcomeKind {
    /// All kinds in the order in which reports list them.
    pub const ALL: [Self; 7] =
        [Self::Pass, Self::Warn, Self::Fail, Self::NotApplicable, Self::Skip, Self::Error, Self::NotRun];

    /// The word that every user sees.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NotApplicable => "n/a",
            Self::Skip => "skip",
            Self::Error => "error",
            Self::NotRun => "not run",
        }
    }

    /// How much an outcome wants to be looked at: of several, the one with the highest number stands for all.
    pub fn gravity(self) -> u8 {
        match self {
            Self::Fail => 6,
            Self::Error => 5,
            Self::Warn => 4,
            Self::NotRun => 3,
            Self::Pass => 2,
            Self::Skip => 1,
            Self::NotApplicable => 0,
        }
    }

    /// A glyph that carries the meaning without colour.
    pub fn glyph(self) -> char {
        match self {
            Self::Pass => '✓',
            Self::Warn => '!',
            Self::Fail => '✗',
            Self::NotApplicable => '–',
            Self::Skip => '○',
            Self::Error => '?',
            Self::NotRun => '·',
        }
    }
}

impl Outcome {
    /// The kind alone.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Pass => OutcomeKind::Pass,
            Self::Warn { .. } => OutcomeKind::Warn,
            Self::Fail { .. } => OutcomeKind::Fail,
            Self::NotApplicable { .. } => OutcomeKind::NotApplicable,
            Self::Skip { .. } => OutcomeKind::Skip,
            Self::Error { .. } => OutcomeKind::Error,
            Self::NotRun { .. } => OutcomeKind::NotRun,
        }
    }

    /// The violations of a `Warn` or `Fail`; empty otherwise.
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Warn { violations } | Self::Fail { violations } => violations,
            _ => &[],
        }
    }

    /// One line that says why the outcome is what it is; empty for a pass.
    pub fn message(&self) -> String {
        match self {
            Self::Pass => String::new(),
            Self::Warn { violations } | Self::Fail { violations } => violations
                .first()
                .map(|v| format!("{}: expected {}, got {}", v.requirement, v.expected, v.actual))
                .unwrap_or_default(),
            Self::NotApplicable { capability, reason } => format!("{capability}: {reason}"),
            Self::Skip { lack, reason } => format!("{lack}: {reason}"),
            Self::Error { trouble } => trouble.what.clone(),
            Self::NotRun { why } => why.clone(),
        }
    }
}
