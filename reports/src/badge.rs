//! The JSON that badge services read from an endpoint.

use plimsoll_model::{ExitCode, Run};

use crate::text::one_line;
use crate::verdict::{exit_code, tallies};

/// One badge for the run; with one target it carries its numbers.
pub fn render(run: &Run) -> String {
    let rows = tallies(run);
    let numbers = match rows.as_slice() {
        [one] => format!("{}/{} MUST", one.must_passed, one.must_decided),
        many => format!(
            "{} of {} targets conform",
            many.iter().filter(|t| t.bad == 0 && t.decided() > 0).count(),
            many.len()
        ),
    };
    let (message, color) = match exit_code(run) {
        ExitCode::Success => (numbers, "blue"),
        ExitCode::GateClosed => (numbers, "orange"),
        _ => ("no verdict".to_owned(), "lightgrey"),
    };
    let label = match rows.as_slice() {
        [one] => one_line(&one.name),
        _ => "plimsoll".to_owned(),
    };
    let badge = serde_json::json!({"schemaVersion": 1, "label": label, "message": message, "color": color});
    format!("{badge}\n")
}
