//! The exit codes of `plimsoll`: one enum, one precedence, one table for the documentation.

/// What the process exit status of `plimsoll` means. The numeric value is the status itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// At least one case or benchmark ran, and nothing unexpected was seen.
    Success = 0,
    /// The gate is closed: an unexpected `Fail`, or a known failure that now passes under a strict gate.
    GateClosed = 1,
    /// The command line, a configuration file or a filter is wrong.
    Usage = 2,
    /// The harness, the host or the target's set-up failed; worth a retry.
    Trouble = 3,
    /// Nothing ran: a verdict without evidence is not a pass.
    NothingRan = 4,
    /// A benchmark regressed beyond noise.
    Regression = 5,
    /// The expectations file has entries that match nothing or no longer hold.
    StaleExpectations = 6,
    /// The benchmark cannot tell: the evidence supports neither "same" nor "slower".
    CannotTell = 7,
    /// Interrupted by SIGINT after a clean-up.
    Interrupted = 130,
    /// Terminated by SIGTERM after a clean-up.
    Terminated = 143,
}

impl ExitCode {
    /// All codes in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::GateClosed,
        Self::Usage,
        Self::Trouble,
        Self::NothingRan,
        Self::Regression,
        Self::StaleExpectations,
        Self::CannotTell,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number handed to the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One sentence for the manual.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "something ran and nothing unexpected was seen",
            Self::GateClosed => {
                "the gate is closed: an unexpected failure, or a known failure that now passes"
            }
            Self::Usage => "the command line, a configuration file or a filter is wrong",
            Self::Trouble => "the harness, the host or the target's set-up failed; a retry may help",
            Self::NothingRan => "nothing ran, so there is no verdict",
            Self::Regression => "a benchmark regressed beyond noise",
            Self::StaleExpectations => "the expectations file is stale",
            Self::CannotTell => "the benchmark could not tell whether there is a regression",
            Self::Interrupted => "interrupted by SIGINT, after cleaning up",
            Self::Terminated => "terminated by SIGTERM, after cleaning up",
        }
    }

    /// Place in the precedence `signal > 2 > 1 > 3 > 6 > 5 > 7 > 4 > 0`; lower wins.
    fn rank(self) -> u8 {
        match self {
            Self::Interrupted | Self::Terminated => 0,
            Self::Usage => 1,
            Self::GateClosed => 2,
            Self::Trouble => 3,
            Self::StaleExpectations => 4,
            Self::Regression => 5,
            Self::CannotTell => 6,
            Self::NothingRan => 7,
            Self::Success => 8,
        }
    }

    /// The code to exit with when both apply: a real verdict is final, trouble may be retried.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn precedence_is_one_three_six_five_four() {
        let order = [
            ExitCode::GateClosed,
            ExitCode::Trouble,
            ExitCode::StaleExpectations,
            ExitCode::Regression,
            ExitCode::CannotTell,
            ExitCode::NothingRan,
            ExitCode::Success,
        ];
        for (i, winner) in order.iter().enumerate() {
            for loser in &order[i..] {
                assert_eq!(winner.and(*loser), *winner);
                assert_eq!(loser.and(*winner), *winner);
            }
        }
    }
}
