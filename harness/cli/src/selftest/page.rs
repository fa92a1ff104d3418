//! The detection score for people: lines for a terminal, and the Markdown of `harness/docs/DETECTION.md`.

use super::score::{Document, Found, percent};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Lines of unproven cases and of invalid faults that a terminal shows.
const SHOWN: usize = 40;

fn of<'a>(document: &'a Document, outcome: &str) -> Vec<&'a Found> {
    document.faults.iter().filter(|f| f.outcome == outcome).collect()
}

/// For a terminal.
pub fn text(document: &Document) -> String {
    let s = &document.summary;
    let mut text = format!(
        "detection score of {}: {} of {} applicable faults found ({}), {} for the right reason ({}); of {} that break a MUST, {} found\n",
        document.target,
        s.found,
        s.applicable,
        percent(s.found, s.applicable),
        s.right_reason,
        percent(s.right_reason, s.found),
        s.must_applicable,
        s.must_found
    );
    for f in of(document, "missed") {
        let _ =
            writeln!(text, "  survived  {:<44} {} [{}]\n            {}", f.id, f.title, f.requirement, f.why);
    }
    for f in of(document, "found").iter().filter(|f| !f.right_reason) {
        let by = f.red.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let _ =
            writeln!(text, "  elsewhere {:<44} found by {by}, which does not cover {}", f.id, f.requirement);
    }
    let invalid = of(document, "error");
    for f in invalid.iter().take(SHOWN) {
        let _ = writeln!(text, "  invalid   {:<44} {}", f.id, f.why);
    }
    more(&mut text, invalid.len());
    for (why, faults) in reasons(document) {
        let _ = writeln!(text, "  not here  {:<44} {why}", plural(faults.len(), "fault"));
    }
    if document.whole {
        let open: Vec<_> = document.unproven.iter().filter(|u| u.why.is_empty()).collect();
        let _ = writeln!(
            text,
            "{} of {} passing cases turned red by no fault, {} of them without a reason",
            document.unproven.len(),
            document.passing,
            open.len()
        );
        for u in open.iter().take(SHOWN) {
            let _ = writeln!(text, "  unproven  {}", u.case);
        }
        more(&mut text, open.len());
    }
    let _ = writeln!(
        text,
        "without a fault: {} of {} cases red",
        document.false_alarms.len(),
        document.passing + document.false_alarms.len()
    );
    for a in &document.false_alarms {
        let _ = writeln!(text, "  alarm     {} ({})", a.case, a.outcome);
    }
    text
}

fn more(text: &mut String, all: usize) {
    if all > SHOWN {
        let _ = writeln!(text, "            and {} more", all - SHOWN);
    }
}

fn plural(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Faults that cannot be shown, by reason.
fn reasons(document: &Document) -> BTreeMap<&str, Vec<&Found>> {
    let mut all: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for f in of(document, "not-applicable") {
        // Of a reason that names a case the part behind it is what faults share.
        let shared = f.why.split_once("without a fault: ").map_or(f.why.as_str(), |(_, rest)| rest);
        all.entry(shared).or_default().push(f);
    }
    all
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The page over several results.
pub fn markdown(documents: &[Document]) -> String {
    let mut text = String::from(
        "| target | faults | applicable | found | for the right reason | of a MUST | invalid | not here | red without a fault |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for d in documents {
        let s = &d.summary;
        let _ = writeln!(
            text,
            "| `{}` {} | {} | {} | {} ({}) | {} ({}) | {} of {} | {} | {} | {} |",
            cell(&d.target),
            cell(&d.version),
            s.injected,
            s.applicable,
            s.found,
            percent(s.found, s.applicable),
            s.right_reason,
            percent(s.right_reason, s.found),
            s.must_found,
            s.must_applicable,
            s.invalid,
            s.not_applicable,
            d.false_alarms.len()
        );
    }
    for d in documents {
        let _ = writeln!(text, "\n## {}\n\n{}", cell(&d.target), by_layer(d));
        section(
            &mut text,
            "Survivors",
            "fault | what it breaks | why it was missed",
            &of(d, "missed"),
            |f| format!("`{}` | {} | {}", f.id, cell(&f.title), cell(&f.why)),
        );
        let elsewhere: Vec<&Found> = of(d, "found").into_iter().filter(|f| !f.right_reason).collect();
        section(
            &mut text,
            "Found for another reason",
            "fault | what it breaks | found by",
            &elsewhere,
            |f| {
                format!(
                    "`{}` | {} | `{}`",
                    f.id,
                    cell(&f.requirement),
                    f.red.first().map_or("", String::as_str)
                )
            },
        );
        section(
            &mut text,
            "Invalid: even a plain container breaks",
            "fault | what it breaks",
            &of(d, "error"),
            |f| format!("`{}` | {}", f.id, cell(&f.title)),
        );
        not_here(&mut text, d);
        unproven(&mut text, d);
        let alarms: Vec<_> = d.false_alarms.iter().collect();
        section(&mut text, "Red without a fault", "case | outcome", &alarms, |a| {
            format!("`{}` | {}", a.case, a.outcome)
        });
    }
    text
}

fn by_layer(document: &Document) -> String {
    let mut layers: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for f in document.faults.iter().filter(|f| matches!(f.outcome.as_str(), "found" | "missed")) {
        let layer = layers.entry(f.layer.as_str()).or_default();
        layer.1 += 1;
        layer.0 += usize::from(f.outcome == "found");
    }
    let parts: Vec<String> = layers.iter().map(|(l, (found, all))| format!("{l} {found}/{all}")).collect();
    format!("Found by layer: {}.", parts.join(", "))
}

fn section<T>(text: &mut String, title: &str, header: &str, rows: &[&T], line: impl Fn(&T) -> String) {
    if rows.is_empty() {
        return;
    }
    let columns = header.split('|').count();
    let _ = writeln!(text, "\n### {title}\n\n| {header} |\n|{}", "---|".repeat(columns));
    for row in rows {
        let _ = writeln!(text, "| {} |", line(row));
    }
}

fn not_here(text: &mut String, document: &Document) {
    let all = reasons(document);
    if all.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n### Not to be shown here\n\n| why | faults |\n|---|---|");
    for (why, faults) in all {
        let ids: Vec<String> = faults.iter().map(|f| format!("`{}`", f.id)).collect();
        let _ = writeln!(text, "| {} | {} |", cell(why), ids.join(", "));
    }
}

fn unproven(text: &mut String, document: &Document) {
    if !document.whole {
        return;
    }
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for u in &document.unproven {
        by_reason.entry(u.why.as_str()).or_default().push(&u.case);
    }
    let _ = writeln!(
        text,
        "\n### Cases that no fault turns red: {} of {}\n\n| why | cases |\n|---|---|",
        document.unproven.len(),
        document.passing
    );
    for (why, cases) in by_reason {
        let why = if why.is_empty() { "**no reason**" } else { why };
        let names: Vec<String> = cases.iter().map(|c| format!("`{c}`")).collect();
        let _ = writeln!(text, "| {} ({}) | {} |", cell(why), cases.len(), names.join(", "));
    }
}
