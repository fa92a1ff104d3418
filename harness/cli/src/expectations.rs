//! `plimsoll expectations`: keeping the file of known failures true.

use crate::args::ExpectationsVerb;
use crate::output;
use crate::report;
use crate::run::read_expectations;
use crate::usage::Failure;
use plimsoll_model::expectation::{Expectation, ExpectedKind, Subject};
use plimsoll_model::{CaseRecord, ExitCode, Expectations, Judgement, OutcomeKind, Run};
use std::path::{Path, PathBuf};

/// Longest reason that is taken over from a message, in characters.
const REASON: usize = 200;

/// What the runs say of one entry.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// It matches a case.
    matched: bool,
    /// A case that it names passes.
    fixed: bool,
    /// A case that it names still fails, or was not decided.
    needed: bool,
}

/// `plimsoll expectations`.
pub fn verb(verb: &ExpectationsVerb) -> Result<ExitCode, Failure> {
    match verb {
        ExpectationsVerb::Check { run, file } => Ok(check(&runs(run)?, &read_expectations(file)?)),
        ExpectationsVerb::Update { run, file } => update(&runs(run)?, file),
    }
}

fn runs(paths: &[PathBuf]) -> Result<Vec<Run>, Failure> {
    paths.iter().map(|p| report::read(p)).collect()
}

/// Whom a record is about; records of a read run always name a target of its header.
fn subject<'a>(run: &'a Run, record: &CaseRecord) -> Option<Subject<'a>> {
    let target = run.header.targets.iter().find(|t| t.label == record.target)?;
    Some(Subject { target, host: &run.header.host })
}

/// Judged anew by the file as it is now: the run may have been made with an older one.
fn uses(runs: &[Run], file: &Expectations) -> Vec<Use> {
    let mut uses = vec![Use::default(); file.entries.len()];
    for (run, record) in runs.iter().flat_map(|r| r.records.iter().map(move |c| (r, c))) {
        let Some(on) = subject(run, record) else { continue };
        if let Some(i) = file.find(on, &record.case) {
            let judgement = file.judge(on, &record.case, record.outcome.kind());
            let fixed = matches!(judgement, Judgement::Fixed { .. });
            uses[i].matched = true;
            uses[i].fixed |= fixed;
            uses[i].needed |= !fixed;
        }
    }
    uses
}

fn whole(runs: &[Run]) -> bool {
    runs.iter().all(|r| r.is_complete() && r.header.filters.is_empty() && r.header.partition.is_none())
}

fn check(runs: &[Run], file: &Expectations) -> ExitCode {
    if !whole(runs) {
        output::note("not a whole run: entries that match nothing are not looked for");
    }
    let mut any = false;
    for (entry, found) in file.entries.iter().zip(uses(runs, file)) {
        let word = match found {
            Use { fixed: true, needed: false, .. } => "fixed",
            Use { fixed: true, .. } => "fixed in part",
            Use { matched: false, .. } if whole(runs) => "stale",
            _ => continue,
        };
        any = true;
        let target = entry.target.as_deref().unwrap_or("**");
        output::line(&format!("{word}: {} on {target} ({})", entry.case, entry.issue));
    }
    if any { ExitCode::StaleExpectations } else { ExitCode::Success }
}

fn update(runs: &[Run], path: &Path) -> Result<ExitCode, Failure> {
    let (text, file) = if path.exists() {
        let text = std::fs::read_to_string(path).map_err(|e| crate::usage::file("read", path, &e))?;
        (text, read_expectations(path)?)
    } else {
        (String::new(), Expectations::default())
    };
    let gone: Vec<bool> = uses(runs, &file).iter().map(|u| u.fixed && !u.needed).collect();
    let mut wanted = Expectations {
        entries: file.entries.iter().zip(&gone).filter(|(_, gone)| !**gone).map(|(e, _)| e.clone()).collect(),
    };
    let kept = wanted.entries.len();
    let unexpected = runs.iter().flat_map(|r| r.records.iter().map(move |c| (r, c)));
    for (run, record) in unexpected {
        let Some(on) = subject(run, record) else { continue };
        let judgement = wanted.judge(on, &record.case, record.outcome.kind());
        if matches!(judgement, Judgement::Bad | Judgement::Warned) {
            wanted.entries.push(entry(record));
        }
    }
    let added = Expectations { entries: wanted.entries[kept..].to_vec() };
    let mut new = without(&text, &gone);
    if !added.entries.is_empty() {
        if !new.is_empty() {
            new = format!("{}\n\n", new.trim_end());
        }
        new.push_str(&written(&added)?);
    }
    // Cutting text keeps the user's comments; where the text is laid out in another way, the data count.
    if toml::from_str::<Expectations>(&new).ok().as_ref() != Some(&wanted) {
        new = written(&wanted)?;
    }
    output::file(path, new.as_bytes())?;
    output::line(&format!(
        "{kept} kept, {} dropped, {} added",
        file.entries.len() - kept,
        added.entries.len()
    ));
    Ok(ExitCode::Success)
}

fn written(file: &Expectations) -> Result<String, Failure> {
    toml::to_string(file).map_err(|e| Failure::trouble(e.to_string()))
}

fn entry(record: &CaseRecord) -> Expectation {
    let warn = record.outcome.kind() == OutcomeKind::Warn;
    let message = record.outcome.message();
    let reason: String = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Expectation {
        case: record.case.to_string(),
        target: Some(record.target.clone()),
        version_contains: None,
        when: serde_json::Map::new(),
        outcome: if warn { ExpectedKind::Warn } else { ExpectedKind::Fail },
        issue: "TODO".to_owned(),
        reason: reason.chars().filter(|c| !c.is_control()).take(REASON).collect(),
    }
}

/// The text without the entries that are gone. A comment right above an entry goes with it.
fn without(text: &str, gone: &[bool]) -> String {
    let mut out: Vec<&str> = Vec::new();
    let (mut index, mut dropping) = (0, false);
    for line in text.lines() {
        let comment = line.trim_start().starts_with('#');
        if line.trim_start().starts_with("[[expect]]") {
            dropping = gone.get(index).copied().unwrap_or(false);
            index += 1;
            while dropping && out.last().is_some_and(|l| l.trim_start().starts_with('#')) {
                out.pop();
            }
        }
        // Comments on lines of their own below a dropped entry may belong to the next one.
        if !dropping || comment {
            out.push(line);
        }
    }
    let mut text = out.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn cutting_keeps_the_other_entries_and_their_comments() {
        let text = "# top\n\n# first\n[[expect]]\ncase = \"a\"\n\n# second\n[[expect]]\ncase = \"b\"\n";
        assert_eq!(without(text, &[true, false]), "# top\n\n# second\n[[expect]]\ncase = \"b\"\n");
        assert_eq!(without(text, &[false, true]), "# top\n\n# first\n[[expect]]\ncase = \"a\"\n\n");
        assert_eq!(without(text, &[false, false]), text);
    }
}
