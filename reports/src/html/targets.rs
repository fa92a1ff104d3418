//! One card per target, and the host.

use askama::Template;
use plimsoll_model::{HostFacts, OutcomeKind, TargetInfo};
use serde_json::Value;

use super::letter;
use crate::text::{cap, clean, one_line, shorten};
use crate::verdict::{Tally, tallies};
use crate::view::View;

#[derive(Template)]
#[template(path = "targets.html")]
struct Body {
    targets: Vec<Card>,
    host: Vec<(String, String)>,
    notes: Vec<String>,
}

struct Card {
    name: String,
    spec: String,
    unfit: Option<String>,
    passed: usize,
    decided: usize,
    bar_label: String,
    bar: Vec<Rect>,
    counts: Vec<Count>,
    facts: Vec<(String, String)>,
    features: String,
}

struct Rect {
    class: &'static str,
    x: usize,
    width: usize,
}

struct Count {
    class: &'static str,
    glyph: char,
    n: usize,
    word: &'static str,
}

pub(super) fn body(view: &View<'_>) -> String {
    let header = &view.run.header;
    let targets = header.targets.iter().zip(tallies(view.run)).map(|(t, tally)| card(t, &tally)).collect();
    let notes: Vec<String> = view.run.notes.iter().take(50).map(|n| shorten(&one_line(n), 500)).collect();
    Body { targets, host: host(&header.host), notes }.render().unwrap_or_default()
}

fn card(target: &TargetInfo, tally: &Tally) -> Card {
    let kinds = OutcomeKind::ALL.into_iter().map(|kind| (kind, tally.count(kind))).filter(|(_, n)| *n > 0);
    let counts: Vec<Count> = kinds
        .map(|(kind, n)| Count { class: letter(kind), glyph: kind.glyph(), n, word: kind.word() })
        .collect();
    let words: Vec<String> = counts.iter().map(|c| format!("{} {}", c.n, c.word)).collect();
    let mut facts = vec![("version".to_owned(), one_line(&target.version))];
    if let Some(version) = &target.spec_version {
        facts.push(("specification".to_owned(), version.to_string()));
    }
    if let Some(digest) = &target.sha256 {
        facts.push(("sha256".to_owned(), one_line(digest)));
    }
    facts.extend(target.facts.iter().take(20).map(|(k, v)| (one_line(k), plain(v))));
    for (n, word) in [(tally.known, "known failures"), (tally.fixed, "fixed"), (tally.flaky, "flaky")] {
        if n > 0 {
            facts.push((word.to_owned(), n.to_string()));
        }
    }
    let features = target.features.as_ref().map(|f| serde_json::to_string_pretty(f).unwrap_or_default());
    Card {
        name: tally.name.clone(),
        spec: one_line(&target.spec.to_string()),
        unfit: target.unfit.as_deref().map(one_line),
        passed: tally.must_passed,
        decided: tally.must_decided,
        bar_label: if words.is_empty() { "no outcomes".to_owned() } else { words.join(", ") },
        bar: bar(tally),
        counts,
        facts,
        features: features.map(|f| cap(&clean(&f), 16 * 1024)).unwrap_or_default(),
    }
}

/// Outcomes as shares of 1000; what is not decided is one grey rest.
fn bar(tally: &Tally) -> Vec<Rect> {
    let total: usize = tally.outcomes.values().sum::<usize>() + tally.missing;
    let mut rects = Vec::new();
    let mut done = 0;
    let mut part = |class, n: usize| {
        if n > 0 && total > 0 {
            let x = done * 1000 / total;
            done += n;
            rects.push(Rect { class, x, width: (done * 1000 / total - x).max(3) });
        }
    };
    part("fp", tally.count(OutcomeKind::Pass));
    part("fw", tally.count(OutcomeKind::Warn));
    part("ff", tally.count(OutcomeKind::Fail));
    part("fe", tally.count(OutcomeKind::Error));
    let rest = [OutcomeKind::NotApplicable, OutcomeKind::Skip, OutcomeKind::NotRun];
    part("fn", rest.into_iter().map(|k| tally.count(k)).sum::<usize>() + tally.missing);
    rects
}

fn host(host: &HostFacts) -> Vec<(String, String)> {
    let list = |items: &[String]| {
        if items.is_empty() { "none".to_owned() } else { one_line(&items.join(", ")) }
    };
    let mut rows = vec![
        ("system".to_owned(), one_line(&host.os)),
        ("kernel".to_owned(), one_line(&format!("{} {}", host.kernel, host.machine))),
        ("processors".to_owned(), host.cpus.to_string()),
        ("memory".to_owned(), format!("{} MiB", host.memory_kib / 1024)),
        ("cgroups".to_owned(), one_line(&host.cgroups)),
    ];
    for (hierarchy, controllers) in &host.controllers {
        rows.push((format!("controllers {}", one_line(hierarchy)), list(controllers)));
    }
    rows.push(("security modules".to_owned(), list(&host.lsm)));
    rows.push(("missing capabilities".to_owned(), list(&host.missing_capabilities)));
    rows.extend(host.facts.iter().take(50).map(|(k, v)| (one_line(k), plain(v))));
    rows
}

/// A JSON value without the quotes of a plain string; many answers of yes or no as what is there and what is not.
pub(super) fn plain(value: &Value) -> String {
    let text =
        value.as_str().map(str::to_owned).or_else(|| answers(value)).unwrap_or_else(|| value.to_string());
    shorten(&one_line(&text), 600)
}

fn answers(value: &Value) -> Option<String> {
    let all = value.as_object().filter(|all| !all.is_empty() && all.values().all(Value::is_boolean))?;
    let named = |there: bool| {
        let names = all.iter().filter(|(_, v)| v.as_bool() == Some(there)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let parts = [("there", named(true)), ("not there", named(false))];
    let said =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(word, names)| format!("{word}: {names}"));
    Some(said.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::plain;
    use serde_json::json;

    #[test]
    fn answers_are_read_as_words() {
        let rpcs = json!({"Update": false, "Events": true, "Stats": true});
        assert_eq!(plain(&rpcs), "there: Events, Stats; not there: Update");
        assert_eq!(plain(&json!({"a": true})), "there: a");
        assert_eq!(plain(&json!({"a": true, "b": 1})), "{\"a\":true,\"b\":1}");
        assert_eq!(plain(&json!("text")), "text");
        assert_eq!(plain(&json!({})), "{}");
    }
}
