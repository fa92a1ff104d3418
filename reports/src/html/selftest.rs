//! The detection score: which injected faults the suites found. Read from a result named `selftest`
//! (`plimsoll-selftest/1`).

use askama::Template;
use serde::Deserialize;
use std::fmt::Write as _;

use crate::text::{one_line, plural, shorten};
use crate::verdict::percent;
use crate::view::View;

/// Faults that the page lists; missed ones come first.
const SHOWN: usize = 600;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Selftest {
    target: String,
    faults: Vec<Fault>,
    false_alarms: Vec<Alarm>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    id: String,
    title: String,
    level: String,
    requirement: String,
    /// `found`, `missed`, `not-applicable` or `error`.
    outcome: String,
    right_reason: bool,
    red: Vec<String>,
    why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Alarm {
    case: String,
    target: String,
}

#[derive(Template)]
#[template(path = "selftest.html")]
struct Body {
    sentence: String,
    alarms: Vec<String>,
    rows: Vec<Row>,
    more: usize,
}

struct Row {
    class: &'static str,
    outcome: String,
    id: String,
    title: String,
    requirement: String,
    red: String,
}

pub(super) fn body(view: &View<'_>) -> String {
    let mut all = Selftest::default();
    for (_, value) in view.run.benches.iter().filter(|(name, _)| name == "selftest") {
        if let Ok(one) = serde_json::from_value::<Selftest>(value.clone()) {
            all.target = one.target;
            all.faults.extend(one.faults);
            all.false_alarms.extend(one.false_alarms);
        }
    }
    if all.faults.is_empty() {
        return String::new();
    }
    let alarms: Vec<String> =
        all.false_alarms.iter().take(100).map(|a| one_line(&format!("{} on {}", a.case, a.target))).collect();
    let sentence = sentence(&all);
    let mut faults = all.faults;
    faults.sort_by_key(|f| match f.outcome.as_str() {
        "missed" => 0,
        "error" => 1,
        "found" => 2,
        _ => 3,
    });
    let more = faults.len().saturating_sub(SHOWN);
    let rows = faults.iter().take(SHOWN).map(row).collect();
    Body { sentence, alarms, rows, more }.render().unwrap_or_default()
}

fn sentence(all: &Selftest) -> String {
    let count = |outcome: &str| all.faults.iter().filter(|f| f.outcome == outcome).count();
    let (found, missed) = (count("found"), count("missed"));
    let right = all.faults.iter().filter(|f| f.outcome == "found" && f.right_reason).count();
    let target = if all.target.is_empty() { String::new() } else { format!(" in {}", one_line(&all.target)) };
    format!(
        "Of {} injected{target} that apply here, {found} were found ({} %), {right} for the right reason. {} not apply, {} in error. {} without a fault.",
        plural(found + missed, "fault"),
        percent(found, found + missed),
        match count("not-applicable") {
            1 => "1 does".to_owned(),
            n => format!("{n} do"),
        },
        match count("error") {
            1 => "1 ended".to_owned(),
            n => format!("{n} ended"),
        },
        plural(all.false_alarms.len(), "false alarm")
    )
}

fn row(fault: &Fault) -> Row {
    let (class, glyph) = match fault.outcome.as_str() {
        "found" => ("p", '✓'),
        "missed" => ("f", '✗'),
        "error" => ("e", '?'),
        _ => ("n", '–'),
    };
    let reason = if fault.outcome == "found" && !fault.right_reason { ", for another reason" } else { "" };
    let shown: Vec<&str> = fault.red.iter().take(5).map(String::as_str).collect();
    let mut red = shown.join(", ");
    if fault.red.len() > 5 {
        let _ = write!(red, " and {} more", fault.red.len() - 5);
    }
    if red.is_empty() {
        red.clone_from(&fault.why);
    }
    Row {
        class,
        outcome: format!("{glyph} {}{reason}", one_line(&fault.outcome)),
        id: one_line(&fault.id),
        title: shorten(&one_line(&fault.title), 200),
        requirement: one_line(&format!("{} {}", fault.level, fault.requirement)),
        red: shorten(&one_line(&red), 400),
    }
}
