//! `-v` and `-vv`: what a run does, case by case.

use plimsoll_model::{CommandRecord, Event};

/// The lines that an event is worth at this level. What a runtime printed is cleaned: it could move the cursor.
pub fn lines(event: &Event, level: u8) -> Vec<String> {
    match event {
        Event::CaseStarted { target, case, attempt } if level > 1 => {
            vec![format!("begins: {target} {case}, attempt {attempt}")]
        }
        Event::CaseFinished(record) if level > 0 => {
            let kind = record.outcome.kind();
            let mut lines = vec![format!(
                "{} {} {} {}, {:.0} ms",
                kind.glyph(),
                kind.word(),
                record.target,
                record.case,
                record.duration_ms
            )];
            lines.extend(record.commands.iter().flat_map(|c| command(c, level)));
            lines
        }
        _ => Vec::new(),
    }
}

fn command(call: &CommandRecord, level: u8) -> Vec<String> {
    let mut lines =
        vec![format!("    $ {}  ({}, {:.0} ms)", clean(&call.argv.join(" ")), clean(&call.status), call.ms)];
    if level > 1 {
        for (name, text) in [("stdout", &call.stdout), ("stderr", &call.stderr)] {
            lines.extend(text.lines().map(|line| format!("      {name}: {}", clean(line))));
        }
    }
    lines
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::lines;
    use plimsoll_model::Event;
    use serde_json::json;

    #[test]
    fn each_level_tells_more() {
        let event: Event = serde_json::from_value(json!({"event": "case-finished", "target": "runc",
            "case": "oci-runtime/kill/a-case", "attempt": 1, "duration_ms": 52.4, "judgement": {"kind": "bad"},
            "outcome": {"kind": "error", "trouble": {"kind": "setup", "what": "no", "hint": ""}},
            "commands": [{"argv": ["runc", "kill", "C1"], "status": "exit 1", "ms": 9.6, "stderr": "a\nb\u{1b}[2J"}]}))
        .unwrap();
        assert!(lines(&event, 0).is_empty());
        let one = lines(&event, 1);
        assert!(one[0].ends_with(" runc oci-runtime/kill/a-case, 52 ms"), "{one:?}");
        assert_eq!(one[1..], ["    $ runc kill C1  (exit 1, 10 ms)"]);
        assert_eq!(lines(&event, 2)[2..], ["      stderr: a", "      stderr: b [2J"]);
        let begins: Event = serde_json::from_value(
            json!({"event": "case-started", "target": "runc", "case": "oci-runtime/kill/a-case", "attempt": 2}),
        )
        .unwrap();
        assert!(lines(&begins, 1).is_empty());
        assert_eq!(lines(&begins, 2), ["begins: runc oci-runtime/kill/a-case, attempt 2"]);
    }
}
