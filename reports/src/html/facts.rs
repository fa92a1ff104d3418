//! What the specification leaves open, as each target does it.

use askama::Template;
use std::collections::BTreeSet;

use super::columns;
use super::targets::plain;
use crate::text::{one_line, shorten};
use crate::view::View;

/// Rows that the page shows; those in which targets differ come first in line for it.
const SHOWN: usize = 400;

#[derive(Template)]
#[template(path = "facts.html")]
struct Body {
    targets: Vec<String>,
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    case: String,
    href: String,
    fact: String,
    differs: bool,
    values: Vec<String>,
}

pub(super) fn body(view: &View<'_>) -> String {
    let header = &view.run.header;
    let mut rows = Vec::new();
    for case in &header.plan {
        let records = || header.targets.iter().map(|t| view.record(case.id.as_str(), &t.label));
        // What the harness measures of itself is no choice of a target; see the method.
        let keys: BTreeSet<&String> =
            records().flatten().flat_map(|r| r.facts.keys()).filter(|k| !k.starts_with("harness.")).collect();
        for key in keys {
            let values: Vec<String> =
                records().map(|r| r.and_then(|r| r.facts.get(key)).map_or("–".to_owned(), plain)).collect();
            let distinct: BTreeSet<&String> = values.iter().filter(|v| *v != "–").collect();
            rows.push(Row {
                case: case.id.to_string(),
                href: if view.shows(case.id.as_str()) { case.id.to_string() } else { String::new() },
                fact: shorten(&one_line(key), 200),
                differs: distinct.len() > 1,
                values,
            });
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let more = rows.len().saturating_sub(SHOWN);
    if more > 0 {
        rows.sort_by_key(|r| !r.differs);
        rows.truncate(SHOWN);
    }
    Body { targets: columns(view), rows, more }.render().unwrap_or_default()
}
