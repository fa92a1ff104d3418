//! Plain text for terminals and logs: the failure block and the summary. Colours are the caller's business.

use plimsoll_model::{CaseRecord, CommandRecord, Header, Judgement, Outcome, OutcomeKind, PlannedCase, Run};
use std::fmt::Write as _;

use crate::summary::is_notable;
use crate::text::{duration, one_line, printable, shorten};
use crate::verdict::{exit_code, must_coverage, percent, sentence, tallies};
use crate::view::{View, is_flaky, reproduce, severity_word, target_name};

/// Commands in a failure block; the last ones tell most.
const COMMANDS_MAX: usize = 12;
/// Characters of one command, of one stream and of one reason.
const COMMAND_CHARS: usize = 110;
const STREAM_CHARS: usize = 400;
const TEXT_CHARS: usize = 2_000;

/// The block that explains one outcome: what was run, which clause, expected, actual, commands, how to run it again.
/// The same block is the body of a JUnit failure. `attempts` is how many attempts there were.
pub fn failure_block(record: &CaseRecord, header: &Header, attempts: u32) -> String {
    let mut out = String::new();
    let kind = record.outcome.kind();
    let planned = header.plan.iter().find(|c| c.id == record.case);
    let target = header.targets.iter().find(|t| t.label == record.target);
    let name = target.map_or_else(|| one_line(&record.target), target_name);
    let head = format!("{} {}  {}", kind.glyph(), kind.word(), record.case);
    let _ = writeln!(
        out,
        "{head:<58} {name} · attempt {}/{} · {}",
        record.attempt,
        attempts.max(record.attempt),
        duration(record.duration_ms)
    );
    if let Some(case) = planned {
        let _ = writeln!(out, "        {}", one_line(&case.summary));
    }
    explain(&mut out, record, header, planned);
    judgement_line(&mut out, &record.judgement);
    commands(&mut out, &record.commands);
    let _ = writeln!(out, "  hint: rerun with `{}`", reproduce(header, record));
    printable(&out)
}

fn explain(out: &mut String, record: &CaseRecord, header: &Header, planned: Option<&PlannedCase>) {
    let text = |t: &str| shorten(&one_line(t), TEXT_CHARS);
    match &record.outcome {
        Outcome::Pass => {}
        Outcome::Fail { violations } | Outcome::Warn { violations } => {
            for violation in violations.iter().take(8) {
                requirement(out, header, &violation.requirement, planned);
                let _ = writeln!(out, "  expected  {}", text(&violation.expected));
                let _ = writeln!(out, "  actual    {}", text(&violation.actual));
            }
            if violations.len() > 8 {
                let _ = writeln!(out, "  and {} more violations", violations.len() - 8);
            }
        }
        Outcome::Error { trouble } => {
            let kind = serde_json::to_value(trouble.kind).ok();
            let word = kind.as_ref().and_then(|v| v.as_str()).unwrap_or("trouble");
            let _ = writeln!(out, "  trouble   {word}: {}", text(&trouble.what));
            let _ = writeln!(out, "            this says nothing about the target");
            if !trouble.hint.is_empty() {
                let _ = writeln!(out, "  hint: {}", text(&trouble.hint));
            }
        }
        Outcome::NotApplicable { capability, reason } => {
            let _ = writeln!(out, "  lacks     {}: {}", text(capability), text(reason));
        }
        Outcome::Skip { lack, reason } => {
            let _ = writeln!(out, "  host      {}: {}", text(lack), text(reason));
        }
        Outcome::NotRun { why } => {
            let _ = writeln!(out, "  not run   {}", text(why));
        }
    }
}

fn requirement(out: &mut String, header: &Header, id: &str, planned: Option<&PlannedCase>) {
    let id =
        if id.is_empty() { planned.and_then(|c| c.covers.first()).map_or("", String::as_str) } else { id };
    if let Some(r) = header.requirements.iter().find(|r| r.id == id) {
        let _ = writeln!(out, "  {:<8}  {}  {} (since {})", r.level.word(), r.id, r.clause(), r.since);
        let _ = writeln!(out, "            {}", one_line(&r.text));
    } else {
        let word = planned.map_or("MUST", |c| severity_word(c.severity));
        let _ = writeln!(out, "  {word:<8}  {}", one_line(id));
    }
}

fn judgement_line(out: &mut String, judgement: &Judgement) {
    match judgement {
        Judgement::Known { issue, reason } => {
            let _ = writeln!(out, "  known     {} ({})", one_line(reason), one_line(issue));
        }
        Judgement::Fixed { issue } => {
            let issue = one_line(issue);
            let _ =
                writeln!(out, "  fixed     passes now; take the entry for {issue} out of the expectations");
        }
        _ => {}
    }
}

fn commands(out: &mut String, commands: &[CommandRecord]) {
    let skipped = commands.len().saturating_sub(COMMANDS_MAX);
    let mut lead = "  commands  ";
    if skipped > 0 {
        let _ = writeln!(out, "{lead}({skipped} earlier ones left out)");
        lead = "            ";
    }
    for command in commands.iter().skip(skipped) {
        let line = shorten(&one_line(&command_words(command).join(" ")), COMMAND_CHARS);
        let _ = writeln!(out, "{lead}{line}  → {} ({})", one_line(&command.status), duration(command.ms));
        lead = "            ";
    }
    // What the last call said is most often the reason.
    if let Some(last) = commands.last() {
        for (name, text) in [("stdout", &last.stdout), ("stderr", &last.stderr)] {
            if !text.trim().is_empty() {
                let _ = writeln!(out, "  {name}    {}", shorten(&one_line(text), STREAM_CHARS));
            }
        }
    }
}

/// The arguments of a call, the program by its name alone: where it lies stands in the header.
pub(crate) fn command_words(command: &CommandRecord) -> Vec<&str> {
    let name = |path: &'_ str| path.rfind('/').map_or(0, |at| at + 1);
    let words = command.argv.iter().enumerate();
    words.map(|(i, word)| if i == 0 { &word[name(word)..] } else { word.as_str() }).collect()
}

/// The end of a run on a terminal: a table of targets and outcomes, what to look at, the verdict sentence.
pub fn summary(run: &Run) -> String {
    let mut out = String::new();
    let rows = tallies(run);
    let width = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(6);
    let _ = write!(out, "{:<width$}", "target");
    let _ = write!(out, "  {:>11}", "MUST pass");
    for kind in OutcomeKind::ALL {
        let _ = write!(out, "  {:>7}", kind.word());
    }
    out.push('\n');
    for row in &rows {
        let _ = write!(out, "{:<width$}", printable(&row.name));
        let _ = write!(out, "  {:>11}", format!("{}/{}", row.must_passed, row.must_decided));
        for kind in OutcomeKind::ALL {
            let _ = write!(out, "  {:>7}", row.count(kind));
        }
        out.push('\n');
    }
    let view = View::new(run);
    let notable: Vec<&CaseRecord> = run.records.iter().filter(|r| is_notable(&view, r)).collect();
    for (listed, record) in notable.iter().enumerate() {
        if listed == 0 {
            out.push('\n');
        }
        if listed == 30 {
            let _ = writeln!(out, "… and {} more; the reports list all", notable.len() - listed);
            break;
        }
        let kind = record.outcome.kind();
        let note = note_of(&view, record);
        let message = shorten(&one_line(&record.outcome.message()), 160);
        let _ = writeln!(
            out,
            "{} {:<5} {}  {}{note}  {message}",
            kind.glyph(),
            kind.word(),
            record.target,
            record.case
        );
    }
    let coverage = must_coverage(run);
    out.push('\n');
    let _ = writeln!(out, "{}", sentence(run));
    if coverage.total > coverage.tested {
        let open = coverage.total - coverage.tested;
        let share = percent(open, coverage.total);
        let _ =
            writeln!(out, "{open} MUST requirements ({share} %) are open: `plimsoll coverage` lists them.");
    }
    let _ = writeln!(out, "exit code {}: {}", exit_code(run).code(), exit_code(run).meaning());
    printable(&out)
}

fn note_of(view: &View<'_>, record: &CaseRecord) -> &'static str {
    match record.judgement {
        Judgement::Fixed { .. } => " (fixed)",
        _ if is_flaky(view, record) => " (flaky)",
        _ => "",
    }
}
