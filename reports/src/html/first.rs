//! The first screen below the verdict: what failed, and what to do.

use askama::Template;
use plimsoll_model::{Judgement, OutcomeKind};

use super::{cell_id, letter};
use crate::advice::{advice, urgent};
use crate::text::{one_line, shorten};
use crate::view::View;

/// Cases that the first screen names.
const SHOWN: usize = 6;

#[derive(Template)]
#[template(path = "first.html")]
struct Body {
    urgent: Vec<Line>,
    more: usize,
    differing: usize,
    steps: Vec<Vec<(bool, String)>>,
}

struct Line {
    href: String,
    glyph: char,
    class: &'static str,
    case: String,
    number: String,
    summary: String,
    targets: Vec<Link>,
}

struct Link {
    name: String,
    href: String,
}

pub(super) fn body(view: &View<'_>) -> String {
    let header = &view.run.header;
    let all = urgent(view.run);
    let several = header.targets.len() > 1;
    // A page of very many cells has a place for each case only.
    let place = |case: &str, target: &str| {
        if view.is_condensed() { case.to_owned() } else { cell_id(case, target) }
    };
    let lines = all.iter().take(SHOWN).map(|u| {
        let bad = u.records.iter().any(|r| r.judgement == Judgement::Bad);
        let kind = if bad { OutcomeKind::Fail } else { OutcomeKind::Error };
        let first = |label: &str| u.records.iter().find(|r| r.target == label).copied();
        let named = header.targets.iter().filter(|_| several).filter_map(|t| first(&t.label));
        let only = u.cases.len() == 1 && u.records.len() == 1;
        let number = if u.cases.len() > 1 { format!("{} cases", u.cases.len()) } else { String::new() };
        Line {
            href: if only { place(u.cases[0], &u.records[0].target) } else { u.cases[0].to_owned() },
            glyph: kind.glyph(),
            class: letter(kind),
            case: if u.cases.len() == 1 { u.cases[0].to_owned() } else { u.stem.clone() },
            number,
            summary: view.planned(u.cases[0]).map_or(String::new(), |c| shorten(&one_line(&c.summary), 200)),
            targets: named
                .map(|r| Link { name: one_line(&r.target), href: place(r.case.as_str(), &r.target) })
                .collect(),
        }
    });
    Body {
        urgent: lines.collect(),
        more: all.len().saturating_sub(SHOWN),
        differing: header.plan.iter().filter(|c| view.differs(c.id.as_str())).count(),
        steps: advice(view.run).iter().map(|step| code(step)).collect(),
    }
    .render()
    .unwrap_or_default()
}

/// Splits at backquotes: what stands between two of them is code.
fn code(text: &str) -> Vec<(bool, String)> {
    text.split('`').enumerate().map(|(i, part)| (i % 2 == 1, part.to_owned())).collect()
}
