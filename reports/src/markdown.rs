//! Markdown for job summaries and comments.

use plimsoll_model::{CaseRecord, Judgement, OutcomeKind, Run};
use std::fmt::Write as _;

use crate::terminal::failure_block;
use crate::text::{clean, duration, one_line, shorten};
use crate::verdict::{sentence, tallies};
use crate::view::View;

/// GitHub drops a job summary whole when it passes 1 MiB; several steps share a page, so this stays well below.
pub const BUDGET_BYTES: usize = 200 * 1024;

/// Chooses the records of a group.
type Pick = fn(&Judgement) -> bool;

/// Text in which no character means anything to Markdown or HTML, on one line.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // `@name` would notify somebody and `#1` would link something.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '(' | ')' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // A bare address becomes a link by itself.
    out.replace("://", ":&#47;/").replace("www.", "www&#46;")
}

/// A fenced block that no content can leave.
pub fn fenced(text: &str) -> String {
    let text = clean(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end())
}

/// The summary: totals first, then what needs attention, within [`BUDGET_BYTES`].
pub fn summary(run: &Run) -> String {
    let mut out = String::from("## Plimsoll\n\n");
    let _ = writeln!(out, "**{}**\n", escape(&sentence(run)));
    out.push_str(&table(run));
    let view = View::new(run);
    let groups: [(&str, Pick); 5] = [
        ("Unexpected failures", |j| matches!(j, Judgement::Bad)),
        ("Trouble: says nothing about the target", |j| matches!(j, Judgement::Trouble)),
        ("Known failures that pass now", |j| matches!(j, Judgement::Fixed { .. })),
        ("Recommendations not met", |j| matches!(j, Judgement::Warned)),
        ("Known failures", |j| matches!(j, Judgement::Known { .. })),
    ];
    for (title, pick) in groups {
        let records: Vec<&CaseRecord> = run.records.iter().filter(|r| pick(&r.judgement)).collect();
        group(&mut out, &view, title, &records);
    }
    for note in run.notes.iter().take(20) {
        let _ = writeln!(out, "> {}\n", escape(&shorten(note, 500)));
    }
    out
}

fn table(run: &Run) -> String {
    let mut out = String::from("| target | MUST pass |");
    for kind in OutcomeKind::ALL {
        let _ = write!(out, " {} {} |", kind.glyph(), kind.word());
    }
    out.push_str(" flaky |\n|:--|--:|");
    out.push_str(&"--:|".repeat(OutcomeKind::ALL.len() + 1));
    out.push('\n');
    for row in tallies(run).iter().take(200) {
        let _ = write!(
            out,
            "| {} | {}/{} |",
            escape(&shorten(&row.name, 200)),
            row.must_passed,
            row.must_decided
        );
        for kind in OutcomeKind::ALL {
            let _ = write!(out, " {} |", row.count(kind));
        }
        let _ = writeln!(out, " {} |", row.flaky);
    }
    out.push('\n');
    if let Some(footer) = &run.footer {
        let _ = writeln!(out, "{} in {}.\n", escape(&run.header.tool), duration(footer.duration_ms));
    }
    out
}

/// One group of records, each with its failure block folded away, while the budget lasts.
fn group(out: &mut String, view: &View<'_>, title: &str, records: &[&CaseRecord]) {
    if records.is_empty() || out.len() > BUDGET_BYTES - 4096 {
        return;
    }
    let _ = writeln!(out, "### {title} ({})\n", records.len());
    for (i, record) in records.iter().enumerate() {
        let attempts = 1 + view.superseded(record.case.as_str(), &record.target).len() as u32;
        let kind = record.outcome.kind();
        let item = format!(
            "<details><summary>{} {} <code>{}</code> on {}</summary>\n\n{}\n</details>\n\n",
            kind.glyph(),
            kind.word(),
            record.case,
            html(&record.target),
            fenced(&failure_block(record, &view.run.header, attempts))
        );
        if out.len() + item.len() > BUDGET_BYTES - 4096 {
            let _ = writeln!(out, "… and {} more; the HTML report lists all.\n", records.len() - i);
            return;
        }
        out.push_str(&item);
    }
}

fn html(text: &str) -> String {
    shorten(&one_line(text), 200).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
