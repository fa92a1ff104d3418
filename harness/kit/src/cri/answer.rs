//! From a call's result to a verdict's parts.

use plimsoll_cri_client::{CallError, Code, Kind};

use crate::stop::Stop;

/// What a result of a call means to a case.
pub trait Answered<T> {
    /// A step that only prepares: failing is trouble.
    fn setup(self) -> Result<T, Stop>;

    /// The requirement is that the call succeeds.
    fn must_succeed(self) -> Result<T, Stop>;

    /// The requirement is that the endpoint answers with an error; gives the error.
    fn must_fail(self) -> Result<CallError, Stop>;

    /// The requirement is one of these codes.
    fn must_fail_with(self, codes: &[Code]) -> Result<CallError, Stop>;
}

/// A text without what differs from run to run: ids, addresses, numbers of more than three digits.
pub(super) fn stable(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        let core = word.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let digits = core.chars().filter(char::is_ascii_digit).count();
        let hex = core.len() >= 12 && core.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if hex || digits > 3 || (digits > 0 && core.matches('-').count() > 1) {
            out.push('…');
            out.push_str(&word[core.len()..]);
        } else {
            out.push_str(word);
        }
    }
    out
}

fn shown(error: &CallError) -> String {
    match error.kind {
        Kind::Deadline => "no answer before the deadline".to_owned(),
        Kind::Transport => format!("the connection broke: {}", stable(&error.message)),
        _ => format!("{:?}: {}", error.code, stable(&error.message)),
    }
}

impl<T> Answered<T> for Result<T, CallError> {
    fn setup(self) -> Result<T, Stop> {
        self.map_err(|error| Stop::setup(error.to_string()))
    }

    fn must_succeed(self) -> Result<T, Stop> {
        self.map_err(|error| Stop::violation(format!("{} succeeds", error.rpc), shown(&error)))
    }

    fn must_fail(self) -> Result<CallError, Stop> {
        match self {
            Ok(_) => Err(Stop::violation("the call is refused with an error", "it succeeded")),
            Err(error) if error.is_answer() => Ok(error),
            Err(error) => {
                Err(Stop::violation(format!("{} is refused with an error", error.rpc), shown(&error)))
            }
        }
    }

    fn must_fail_with(self, codes: &[Code]) -> Result<CallError, Stop> {
        let error = self.must_fail()?;
        if codes.contains(&error.code) {
            return Ok(error);
        }
        Err(Stop::violation(format!("{} is refused with {codes:?}", error.rpc), shown(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::stable;

    #[test]
    fn what_differs_between_runs_is_taken_out() {
        let text = "container \"0123456789abcdef\" of pod-x1-2 at 127.0.0.1:38471 not found, code 404";
        assert_eq!(stable(text), "container \"…\" of … at 127.0.0.1:… not found, code 404");
        assert_eq!(stable("not implemented yet"), "not implemented yet");
    }
}
