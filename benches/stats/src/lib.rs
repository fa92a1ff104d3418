//! The statistics of the benchmark: pure functions and state machines, without I/O and without a clock.
//!
//! The centre is the [`gate`]: interleaved pairs of lifecycles, one log ratio each, a sequential sign
//! test by e-values that may be looked at after every pair and continued in a later run. Around it are
//! quantiles with order-statistic intervals, tails by paired exceedance, e-BH over many metrics, slopes
//! for leaks and density, the scalability fit, and what an open-loop load generator needs.
//!
//! Units: times are nanoseconds or milliseconds as the caller likes, always the same on both arms;
//! ratios are B ÷ A (candidate ÷ baseline) and log ratios are natural logarithms.

pub mod binomial;
pub mod bootstrap;
pub mod closure;
pub mod confseq;
pub mod describe;
pub mod ebh;
pub mod evalue;
pub mod gate;
pub mod openloop;
pub mod order;
pub mod outlier;
pub mod pairs;
pub mod plan;
pub mod quantile;
pub mod rng;
pub mod slope;
pub mod special;
pub mod tail;
pub mod usl;

pub use evalue::EProcess;
pub use gate::{Direction, Gate, GateConfig, GateCounts, GateReport, Verdict};
pub use order::BlockOrder;
pub use quantile::{median, quantile};
pub use rng::Rng;

use serde::{Deserialize, Serialize};

/// A two-sided interval; an end is absent where the data cannot bound it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end, or `None` for "no bound".
    pub low: Option<f64>,
    /// Upper end, or `None` for "no bound".
    pub high: Option<f64>,
}

impl Interval {
    /// An interval with both ends known.
    pub const fn closed(low: f64, high: f64) -> Self {
        Self { low: Some(low), high: Some(high) }
    }

    /// The interval that says nothing.
    pub const fn unbounded() -> Self {
        Self { low: None, high: None }
    }

    /// Whether `x` lies inside; an absent end excludes nothing.
    pub fn contains(&self, x: f64) -> bool {
        self.low.is_none_or(|low| low <= x) && self.high.is_none_or(|high| x <= high)
    }

    /// Both ends through a monotone increasing function.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { low: self.low.map(&f), high: self.high.map(&f) }
    }
}

/// Why a statistic could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// Fewer observations than the method needs.
    #[error("{what} needs at least {need} observations, got {got}: take more samples")]
    TooFew {
        /// The method.
        what: &'static str,
        /// Smallest usable count.
        need: usize,
        /// Count given.
        got: usize,
    },
    /// A value is not finite or outside the domain.
    #[error("{what}: the value {value} is outside its domain ({domain})")]
    Domain {
        /// Which parameter or series.
        what: &'static str,
        /// The offending value.
        value: f64,
        /// What would be accepted.
        domain: &'static str,
    },
    /// Two series that must have the same length do not.
    #[error("{what}: the series have {left} and {right} values; they must be equally long")]
    LengthMismatch {
        /// Which series.
        what: &'static str,
        /// Length of the first.
        left: usize,
        /// Length of the second.
        right: usize,
    },
    /// The data carry no information about the parameter.
    #[error("{what}: {why}")]
    Degenerate {
        /// The method.
        what: &'static str,
        /// Why no answer exists.
        why: &'static str,
    },
}

/// Rejects a value outside `(low, high)`.
pub(crate) fn open_interval(
    what: &'static str,
    value: f64,
    low: f64,
    high: f64,
    domain: &'static str,
) -> Result<(), StatsError> {
    if value > low && value < high { Ok(()) } else { Err(StatsError::Domain { what, value, domain }) }
}
