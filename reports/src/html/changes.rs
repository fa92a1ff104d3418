//! What changed since the baseline.

use askama::Template;
use plimsoll_model::Run;

use super::cell_id;
use crate::diff::{Diff, Entry, change, compare};
use crate::text::{one_line, shorten};
use crate::view::View;

/// Entries of one group that the page shows.
const SHOWN: usize = 500;

#[derive(Template)]
#[template(path = "changes.html")]
struct Body {
    sentence: String,
    when: String,
    pairs: String,
    groups: Vec<Group>,
}

struct Group {
    title: &'static str,
    open: bool,
    entries: Vec<Line>,
    more: usize,
}

struct Line {
    case: String,
    href: String,
    target: String,
    change: String,
    why: String,
}

pub(super) fn body(baseline: &Run, view: &View<'_>) -> String {
    let diff = compare(baseline, view.run);
    let groups = diff.groups().into_iter().filter(|(_, list)| !list.is_empty());
    let groups = groups
        .map(|(title, list)| Group {
            title,
            open: title == "newly failing" || (title != "still failing" && list.len() <= 20),
            entries: list.iter().take(SHOWN).map(line).collect(),
            more: list.len().saturating_sub(SHOWN),
        })
        .collect();
    let when = one_line(&baseline.header.started_at);
    Body { sentence: diff.sentence(), when, pairs: pairs(&diff), groups }.render().unwrap_or_default()
}

fn pairs(diff: &Diff) -> String {
    let renamed = diff.targets.iter().filter(|(old, new)| old != new);
    let names: Vec<String> =
        renamed.map(|(old, new)| format!(" ({} against {})", one_line(new), one_line(old))).collect();
    names.concat()
}

fn line(entry: &Entry) -> Line {
    let href =
        if entry.new.is_some() { format!("#{}", cell_id(&entry.case, &entry.target)) } else { String::new() };
    Line {
        case: entry.case.clone(),
        href,
        target: one_line(&entry.target),
        change: change(entry),
        why: shorten(&entry.message, 200),
    }
}
