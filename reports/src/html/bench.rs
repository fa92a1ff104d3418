//! The benchmarks: what the gates say, how the targets compare, with every number in a table.

use askama::Template;
use std::fmt::Write as _;

use super::chart::{self, Line, Rung, number};
use crate::bench::{BenchRun, Comparison, Curve, Finding, MetricVerdict, Scenario, Series};
use crate::text::{duration, one_line, shorten};
use crate::view::View;

/// Metrics with a chart, in order of interest; a scenario shows the first that it has.
const HEADLINES: [&str; 6] =
    ["start.entrypoint", "start.warm", "exec.entrypoint", "stop.latency", "lifecycle.wall", "run.wall"];

#[derive(Template)]
#[template(path = "bench.html")]
struct Body {
    runs: Vec<Bench>,
}

struct Bench {
    name: String,
    sentence: String,
    class: &'static str,
    facts: Vec<(String, String)>,
    notes: Vec<String>,
    scenarios: Vec<Shown>,
}

struct Shown {
    title: String,
    note: String,
    says: Vec<Says>,
    figures: Vec<Figure>,
    targets: Vec<String>,
    rows: Vec<Row>,
    verdicts: Vec<Gate>,
}

struct Says {
    class: &'static str,
    text: String,
}

struct Figure {
    caption: String,
    svg: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

struct Row {
    metric: String,
    cells: Vec<String>,
}

struct Gate {
    candidate: String,
    metric: String,
    class: &'static str,
    verdict: String,
    ratio: String,
    interval: String,
    n: u64,
    visible: String,
}

pub(super) fn body(view: &View<'_>) -> String {
    let read =
        view.run.benches.iter().filter_map(|(name, value)| Some((name.as_str(), BenchRun::read(value)?)));
    all(&read.take(20).collect::<Vec<_>>())
}

/// The same for results that belong to no run.
pub(super) fn all(runs: &[(&str, BenchRun)]) -> String {
    let runs: Vec<Bench> = runs.iter().map(|(name, run)| bench(name, run)).collect();
    if runs.is_empty() { String::new() } else { Body { runs }.render().unwrap_or_default() }
}

/// Class of the finding and its sentence.
pub(super) fn sentence(run: &BenchRun) -> (&'static str, &'static str) {
    match run.finding() {
        Finding::Fine => ("p", "✓ No regression was shown."),
        Finding::CannotTell => ("e", "? The benchmark cannot tell."),
        Finding::Regression if run.compares_products() => {
            ("f", "✗ A target does worse than the baseline, which is another product.")
        }
        Finding::Regression => ("f", "✗ A regression or a defect was shown."),
    }
}

fn bench(name: &str, run: &BenchRun) -> Bench {
    let (class, verdict) = sentence(run);
    let void =
        run.void.as_ref().map(|why| format!(" The run is void: {}.", one_line(why))).unwrap_or_default();
    let mut facts = vec![
        ("duration".to_owned(), duration(run.seconds * 1000.0)),
        ("seed".to_owned(), run.seed.to_string()),
    ];
    for target in &run.targets {
        facts.push((
            one_line(&target.name),
            one_line(&format!("{} sha256 {}", target.version, target.digest)),
        ));
    }
    facts.extend(run.key.fields.iter().take(40).map(|(k, v)| (one_line(k), shorten(&one_line(v), 300))));
    Bench {
        name: one_line(name),
        sentence: format!("{verdict}{void}"),
        class,
        facts,
        notes: run.notes.iter().take(50).map(|n| shorten(&one_line(n), 500)).collect(),
        scenarios: run.scenarios.iter().take(50).map(|s| scenario(run, s)).collect(),
    }
}

fn scenario(run: &BenchRun, s: &Scenario) -> Shown {
    let compared = s.comparisons.iter().filter(|c| !c.sentinel);
    let mut note = format!("{} blocks, targets interleaved at random in each", s.blocks);
    let failed: u64 = s.arms.iter().map(|a| a.failed).sum();
    if failed > 0 {
        let _ = write!(note, "; {failed} runs failed and enter no number");
    }
    if let Some(why) = &s.cut_short {
        let _ = write!(note, "; cut short: {}", one_line(why));
    }
    let mut says: Vec<Says> = compared.clone().map(|c| comparison_says(run, c)).collect();
    says.extend(s.curves.iter().filter(|c| !c.says.is_empty()).map(curve_says));
    let mut figures: Vec<Figure> = start_figures(s);
    figures.extend(waterfall(s));
    figures.extend(curve_figures(&s.curves));
    Shown {
        title: one_line(if s.title.is_empty() { &s.name } else { &s.title }),
        note,
        says,
        figures,
        targets: s.arms.iter().map(|a| one_line(&a.target)).collect(),
        rows: rows(s),
        verdicts: compared.flat_map(|c| gates(run, c)).collect(),
    }
}

fn class_of(verdict: &str) -> &'static str {
    match verdict {
        "pass" => "p",
        "warn" => "w",
        "fail" => "f",
        _ => "e",
    }
}

fn comparison_says(run: &BenchRun, c: &Comparison) -> Says {
    let verdict = if run.are_other_products(c) {
        let faster = !c.metrics.is_empty() && c.metrics.iter().all(is_faster);
        let slower = c.metrics.iter().any(|m| m.report.verdict == "fail");
        between_products(&c.verdict, faster, slower).to_owned()
    } else {
        c.verdict.to_uppercase()
    };
    let text = format!("{} against {}: {verdict}: {}", c.candidate, c.baseline, c.says);
    Says { class: class_of(&c.verdict), text: shorten(&one_line(&text), 600) }
}

/// Of different products none passes or fails: one is slower or faster than the other, or neither is.
fn between_products(verdict: &str, faster: bool, slower: bool) -> &'static str {
    match verdict {
        "fail" if slower => "SLOWER",
        // By its failures or its tail.
        "fail" => "WORSE",
        "warn" => "PERHAPS SLOWER",
        "pass" if faster => "FASTER",
        "pass" => "NOT SLOWER",
        _ => "CANNOT TELL",
    }
}

/// Shown by the interval of the ratio, which is above 1 where the candidate does worse.
fn is_faster(m: &MetricVerdict) -> bool {
    m.report.interval.high.is_some_and(|high| high < 1.0)
}

fn curve_says(c: &Curve) -> Says {
    let text = format!("{}, {}: {}", c.target, c.name, c.says);
    Says { class: if c.alarm { "f" } else { "soft" }, text: shorten(&one_line(&text), 600) }
}

fn gates(run: &BenchRun, c: &Comparison) -> Vec<Gate> {
    let word = |m: &MetricVerdict| {
        if run.are_other_products(c) {
            between_products(&m.report.verdict, is_faster(m), true).to_owned()
        } else {
            one_line(&m.report.verdict.to_uppercase())
        }
    };
    let end = |v: Option<f64>, open: &str| v.map_or_else(|| open.to_owned(), |v| format!("{v:.3}"));
    c.metrics
        .iter()
        .map(|m| Gate {
            candidate: one_line(&c.candidate),
            metric: one_line(&m.metric),
            class: class_of(&m.report.verdict),
            verdict: word(m) + if m.tail_alarm { ", heavier tail" } else { "" },
            ratio: m.report.ratio.map_or_else(|| "–".to_owned(), |r| format!("{r:.3}×")),
            interval: format!("{} … {}", end(m.report.interval.low, "0"), end(m.report.interval.high, "∞")),
            n: m.report.n,
            visible: m
                .report
                .visible_change
                .map_or_else(|| "–".to_owned(), |v| format!("{:.1} %", v * 100.0)),
        })
        .collect()
}

/// One row per metric: median with interval, 99 % quantile, per target.
fn rows(s: &Scenario) -> Vec<Row> {
    let mut metrics: Vec<(&str, &str)> = Vec::new();
    for series in s.arms.iter().flat_map(|a| &a.series) {
        if !metrics.iter().any(|(m, _)| *m == series.metric) {
            metrics.push((&series.metric, &series.unit));
        }
    }
    let cell = |series: Option<&Series>| {
        let Some(summary) = series.and_then(|s| s.summary.as_ref()) else { return "–".to_owned() };
        let end = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), number);
        format!(
            "{} [{} … {}], p99 {}, n {}",
            number(summary.p50),
            end(summary.p50_interval.low),
            end(summary.p50_interval.high),
            number(summary.p99),
            summary.n
        )
    };
    let find = |metric: &str| {
        s.arms.iter().map(|a| a.series.iter().find(|x| x.metric == metric)).collect::<Vec<_>>()
    };
    let row = |(metric, unit): &(&str, &str)| Row {
        metric: one_line(&format!("{metric}, {unit}")),
        cells: find(metric).into_iter().map(cell).collect(),
    };
    metrics.iter().take(60).map(row).collect()
}

/// The ladder from the floor and the distribution of the headline metric.
fn start_figures(s: &Scenario) -> Vec<Figure> {
    let has = |metric: &&str| s.arms.iter().any(|a| a.series.iter().any(|x| x.metric == **metric));
    let Some(metric) = HEADLINES.iter().find(|m| has(m)) else { return vec![] };
    let mut rungs = Vec::new();
    let mut values = Vec::new();
    let mut unit = "ms".to_owned();
    let series = |metric: &str| {
        let found =
            s.arms.iter().filter_map(move |a| Some((a, a.series.iter().find(|x| x.metric == metric)?)));
        found.collect::<Vec<_>>()
    };
    let floor = series("start.floor").into_iter().take(1).filter(|_| metric.starts_with("start"));
    let named = floor.map(|(_, x)| ("bare kernel".to_owned(), x));
    for (name, x) in named.chain(series(metric).into_iter().map(|(a, x)| (one_line(&a.target), x))) {
        unit = one_line(&x.unit);
        values.push((name.clone(), x.samples.iter().flatten().copied().collect::<Vec<f64>>()));
        if let Some(summary) = &x.summary {
            rungs.push(Rung {
                name,
                p50: summary.p50,
                low: summary.p50_interval.low.unwrap_or(summary.p50),
                high: summary.p50_interval.high.unwrap_or(summary.p50),
                p99: summary.p99,
            });
        }
    }
    let title = format!("{}: {metric}", one_line(&s.title));
    let columns = ["target", "median", "interval", "99 %"].map(str::to_owned).to_vec();
    let table: Vec<Vec<String>> = rungs
        .iter()
        .map(|r| {
            vec![
                r.name.clone(),
                number(r.p50),
                format!("{} … {}", number(r.low), number(r.high)),
                number(r.p99),
            ]
        })
        .collect();
    let ladder = chart::ladder(&title, &unit, &rungs);
    let ecdf = chart::ecdf(&format!("{title}, distribution"), &unit, &values);
    let figure = |svg: Option<String>, caption: String, rows: &Vec<Vec<String>>| {
        Some(Figure { caption, svg: svg?, columns: columns.clone(), rows: rows.clone() })
    };
    let made = [
        figure(ladder, format!("{metric}: from the floor up"), &table),
        figure(ecdf, format!("{metric}: distribution over all runs"), &table),
    ];
    made.into_iter().flatten().collect()
}

/// The phases of a lifecycle in their order, by name in the results.
const PHASES: [&str; 7] = [
    "phase.sandbox",
    "phase.create",
    "phase.start",
    "phase.exit",
    "phase.delete",
    "phase.sandbox-stop",
    "phase.sandbox-remove",
];

/// Where the time of a lifecycle goes: the median of each phase, one bar per target.
fn waterfall(s: &Scenario) -> Option<Figure> {
    let median = |arm: &crate::bench::Arm, phase: &str| {
        let series = arm.series.iter().find(|x| x.metric == phase)?;
        Some(series.summary.as_ref()?.p50)
    };
    let shown: Vec<&str> =
        PHASES.into_iter().filter(|p| s.arms.iter().any(|a| median(a, p).is_some())).collect();
    // One phase alone is no sequence.
    if shown.len() < 3 {
        return None;
    }
    let bars: Vec<(String, Vec<f64>)> = s
        .arms
        .iter()
        .map(|a| (one_line(&a.target), shown.iter().map(|p| median(a, p).unwrap_or(0.0)).collect()))
        .collect();
    let names: Vec<String> = shown.iter().map(|p| p.trim_start_matches("phase.").to_owned()).collect();
    let title = format!("{}: phases", one_line(&s.title));
    let svg = chart::waterfall(&title, "ms, median of each phase", &names, &bars)?;
    let row = |(name, values): &(String, Vec<f64>)| {
        std::iter::once(name.clone()).chain(values.iter().map(|v| number(*v))).collect()
    };
    Some(Figure {
        caption: "Where the time goes: the phases of a lifecycle, one after the other".to_owned(),
        svg,
        rows: bars.iter().map(row).collect(),
        columns: std::iter::once("target".to_owned()).chain(names).collect(),
    })
}

/// One figure per curve name, one line per target.
fn curve_figures(curves: &[Curve]) -> Vec<Figure> {
    let mut names: Vec<&str> = Vec::new();
    for curve in curves {
        if !names.contains(&curve.name.as_str()) {
            names.push(&curve.name);
        }
    }
    names.into_iter().take(30).filter_map(|name| curve_figure(name, curves)).collect()
}

fn curve_figure(name: &str, curves: &[Curve]) -> Option<Figure> {
    let group: Vec<&Curve> = curves.iter().filter(|c| c.name == name).collect();
    let first = group.first()?;
    let line = |c: &&Curve| Line {
        name: one_line(&c.target),
        points: c.points.iter().take(2_000).copied().collect(),
    };
    let lines: Vec<Line> = group.iter().map(line).collect();
    let svg = chart::curves(name, &first.x, &first.y, &lines)?;
    let rows = group.iter().flat_map(|c| {
        let points = c.points.iter().take(200);
        points.map(|(x, y)| vec![one_line(&c.target), number(*x), number(*y)])
    });
    Some(Figure {
        caption: one_line(name),
        svg,
        columns: vec!["target".to_owned(), one_line(&first.x), one_line(&first.y)],
        rows: rows.collect(),
    })
}
