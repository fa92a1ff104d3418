//! What can go wrong with a benchmark run as a whole. A failing lifecycle is not an error: it is counted.

use std::path::PathBuf;

/// Why a run could not be done, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The plan contradicts itself or names something that does not exist.
    #[error("the benchmark plan is wrong: {0}")]
    Plan(String),
    /// A file or directory of the run.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A system call of the harness.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The target does not even do one lifecycle.
    #[error(
        "target `{target}` failed its first lifecycle: {reason}; run `plimsoll doctor -t {target}` or try the command by hand"
    )]
    Target {
        /// The target's name.
        target: String,
        /// What went wrong.
        reason: String,
    },
    /// Two runs whose numbers must not be compared.
    #[error("the earlier run cannot be compared with this one: {}", differences.join("; "))]
    NotComparable {
        /// Each differing field with both values.
        differences: Vec<String>,
    },
    /// A statistic could not be computed.
    #[error(transparent)]
    Stats(#[from] plimsoll_bench_stats::StatsError),
    /// The user asked to stop.
    #[error("interrupted; everything that the run had created was removed")]
    Interrupted,
}

impl BenchError {
    /// For `map_err` on a path operation.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// For `map_err` on a system call.
    pub fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
