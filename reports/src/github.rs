//! Annotations for GitHub Actions: workflow commands on standard output.

use plimsoll_model::{CaseRecord, Judgement, Run};

use crate::text::{one_line, shorten};
use crate::view::View;

/// GitHub shows ten annotations of each level per step; the last place is for the count of the rest.
const SHOWN: usize = 9;

/// One workflow command per line: errors for what closes the gate, warnings for the rest that needs a look.
pub fn annotations(run: &Run) -> Vec<String> {
    let view = View::new(run);
    let error = |j: &Judgement| matches!(j, Judgement::Bad | Judgement::Trouble);
    let warning = |j: &Judgement| matches!(j, Judgement::Warned | Judgement::Fixed { .. });
    let mut lines = level(&view, "error", error);
    lines.extend(level(&view, "warning", warning));
    lines
}

fn level(view: &View<'_>, command: &str, pick: fn(&Judgement) -> bool) -> Vec<String> {
    let records: Vec<&CaseRecord> = view.run.records.iter().filter(|r| pick(&r.judgement)).collect();
    let mut lines: Vec<String> = records.iter().take(SHOWN).map(|r| annotation(view, command, r)).collect();
    if records.len() > SHOWN {
        let more = records.len() - SHOWN;
        lines.push(format!(
            "::{command} title=Plimsoll::and {more} more; the job summary and the report list all"
        ));
    }
    lines
}

fn annotation(view: &View<'_>, command: &str, record: &CaseRecord) -> String {
    let title = format!("{} {} on {}", record.outcome.kind().word(), record.case, one_line(&record.target));
    let message = match &record.judgement {
        Judgement::Fixed { issue } => format!("passes now; take the entry for {} out", one_line(issue)),
        _ => shorten(&one_line(&record.outcome.message()), 500),
    };
    // No file: the runtime's sources are in another repository, and a wrong place is worse than none.
    let summary = view.planned(record.case.as_str()).map_or(String::new(), |c| one_line(&c.summary));
    format!("::{command} title={}::{}", property(&title), data(&format!("{summary}\n{message}")))
}

/// Escapes what ends the message of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes what ends a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
