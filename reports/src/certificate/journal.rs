//! The run as a chain: each line names the hash of the line before, so that nothing can be cut out or moved.

use plimsoll_model::Run;

use super::sha256_hex;

/// What the first line follows.
const GENESIS: &[u8] = b"plimsoll-journal/1\n";

/// Writes the chain; gives its text and the hash of its last line.
pub(super) fn write(run: &Run) -> Result<(String, String), serde_json::Error> {
    let mut text = String::new();
    let mut head = sha256_hex(GENESIS);
    for (seq, event) in run.to_events().iter().enumerate() {
        let line =
            format!("{{\"seq\":{seq},\"prev\":\"{head}\",\"event\":{}}}\n", serde_json::to_string(event)?);
        head = sha256_hex(line.as_bytes());
        text.push_str(&line);
    }
    Ok((text, head))
}

/// Checks the chain and reads the run out of it; gives the run and the hash of the last line. The form of a line is
/// fixed to the byte, so that there is one reading only.
pub(super) fn read(text: &str) -> Result<(Run, String), String> {
    let mut head = sha256_hex(GENESIS);
    let mut events = String::with_capacity(text.len());
    for (seq, line) in text.split_inclusive('\n').enumerate() {
        let start = format!("{{\"seq\":{seq},\"prev\":\"{head}\",\"event\":");
        let event = line.strip_prefix(&start).and_then(|rest| rest.strip_suffix("}\n"));
        let event = event.ok_or_else(|| format!("line {} does not follow the line before it", seq + 1))?;
        events.push_str(event);
        events.push('\n');
        head = sha256_hex(line.as_bytes());
    }
    let run = Run::parse(&events).map_err(|e| format!("the events are no run: {e}"))?;
    Ok((run, head))
}
