//! What to do next: every report ends its first screen with it.

use plimsoll_model::{CaseRecord, Judgement, OutcomeKind, Run};

use crate::bench::{BenchRun, Finding};
use crate::text::plural;
use crate::verdict::{Tally, tallies};

/// Steps in the order of their urgency, each one sentence or two; commands stand in backquotes. Never empty.
pub fn advice(run: &Run) -> Vec<String> {
    let rows = tallies(run);
    let mut steps = about_targets(run, &rows);
    steps.extend(about_benchmarks(run));
    let warned: usize = rows.iter().map(|t| t.warned).sum();
    if warned > 0 {
        let what = recommendations(warned);
        steps.push(format!("{what} not met: worth a look; they close the gate with `--strict`."));
    }
    let decided: usize = rows.iter().map(Tally::decided).sum();
    if decided == 0 && rows.iter().all(|t| t.unfit.is_none()) && run.benches.is_empty() {
        steps.push("Nothing was decided: the filter or the host excludes everything.".to_owned());
    }
    if steps.is_empty() {
        steps.push("Nothing needs to be done about these targets.".to_owned());
    }
    steps
}

fn about_targets(run: &Run, rows: &[Tally]) -> Vec<String> {
    let sum = |f: fn(&Tally) -> usize| rows.iter().map(f).sum::<usize>();
    let unfit = rows.iter().filter(|r| r.unfit.is_some()).count();
    // Where a target is unfit, everything else about it follows from that.
    let unless_unfit = |n: usize| if unfit > 0 { 0 } else { n };
    let replaced = run.footer.as_ref().map_or(0, |f| f.replaced.len());
    let step = |n: usize, text: &dyn Fn(usize) -> String| (n > 0).then(|| text(n));
    let steps = [
        step(unfit, &|n| {
            let what = plural(n, "target");
            format!("{what} could not be tested at all: `plimsoll doctor -t TARGET` says what is missing.")
        }),
        step(replaced, &|n| {
            format!("{} replaced while the run went on: run again on one that stays.", executables(n))
        }),
        step(sum(|t| t.bad), &|n| {
            let what = plural(n, "unexpected failure");
            format!(
                "Look at the evidence of {what}: clause, expected, seen, and the line that runs it again. What is \
                 known and tracked goes into a file of known failures: `plimsoll expectations update --run run.jsonl \
                 --file expectations.toml`."
            )
        }),
        step(unless_unfit(sum(|t| t.count(OutcomeKind::Error))), &|n| {
            let what = plural(n, "case");
            format!(
                "{what} ended in trouble, which says nothing about a target: `plimsoll run --rerun failed run.jsonl`."
            )
        }),
        step(unless_unfit(sum(|t| t.count(OutcomeKind::NotRun) + t.missing)), &|n| {
            format!("{} were not decided: run again to get a verdict.", plural(n, "planned case"))
        }),
        step(sum(|t| t.fixed), &|n| {
            let what = plural(n, "known failure");
            format!("{what} pass now: take the entries out with `plimsoll expectations update`.")
        }),
        step(sum(|t| t.flaky), &|n| {
            let what = plural(n, "case");
            format!(
                "{what} gave different outcomes: `plimsoll run --stress-count 20 --case CASE` shows how often."
            )
        }),
    ];
    steps.into_iter().flatten().collect()
}

fn about_benchmarks(run: &Run) -> Vec<String> {
    let benches = run.benches.iter().filter_map(|(_, result)| BenchRun::read(result));
    let found: Vec<(Finding, bool)> = benches.map(|b| (b.finding(), b.compares_products())).collect();
    let texts = [
        ((Finding::Regression, false), "A benchmark regressed beyond noise: see the gates in its section."),
        (
            (Finding::Regression, true),
            "A target is slower, or fails more often, than the baseline beyond noise; they are different products: see the \
             comparison in the section on benchmarks.",
        ),
        ((Finding::CannotTell, false), "A benchmark cannot tell yet: run it longer, or on a quieter host."),
    ];
    texts.iter().filter(|(f, _)| found.contains(f)).map(|(_, text)| (*text).to_owned()).collect()
}

fn executables(n: usize) -> String {
    if n == 1 {
        "The executable of 1 target was".to_owned()
    } else {
        format!("The executables of {n} targets were")
    }
}

fn recommendations(n: usize) -> String {
    if n == 1 { "1 recommendation is".to_owned() } else { format!("{n} recommendations are") }
}

/// Cases of one name, whatever their parameters, that need action.
pub(crate) struct Urgent<'a> {
    /// `suite/section/name`.
    pub stem: String,
    /// Distinct cases.
    pub cases: Vec<&'a str>,
    /// Records in the order of the plan, at least one.
    pub records: Vec<&'a CaseRecord>,
}

/// What needs action first: unexpected failures and trouble; what fails on most targets and most often comes first.
pub(crate) fn urgent(run: &Run) -> Vec<Urgent<'_>> {
    let mut found: Vec<Urgent<'_>> = Vec::new();
    let mut place = std::collections::HashMap::new();
    for record in &run.records {
        if matches!(record.judgement, Judgement::Bad | Judgement::Trouble) {
            let case = record.case.as_str();
            let stem = case.split('/').take(3).collect::<Vec<_>>().join("/");
            let at = *place.entry(stem.clone()).or_insert_with(|| {
                found.push(Urgent { stem, cases: Vec::new(), records: Vec::new() });
                found.len() - 1
            });
            if found[at].cases.last() != Some(&case) {
                found[at].cases.push(case);
            }
            found[at].records.push(record);
        }
    }
    // Stable: what weighs the same stays in the order of the plan.
    let weight = |u: &Urgent<'_>| {
        let bad = u.records.iter().filter(|r| r.judgement == Judgement::Bad).count();
        let targets: std::collections::BTreeSet<&str> = u.records.iter().map(|r| r.target.as_str()).collect();
        (bad > 0, targets.len(), bad)
    };
    found.sort_by_key(|u| std::cmp::Reverse(weight(u)));
    found
}
