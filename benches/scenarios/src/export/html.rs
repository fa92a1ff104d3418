//! A self-contained page: verdicts first, then charts, each with its numbers as a table.

use super::svg::{Axes, Bar, Line, bars, escape, legend, lines};
use super::text::{change, number, word};
use crate::result::{ArmResult, BenchRun, Curve, ScenarioResult};
use plimsoll_bench_stats::gate::Verdict;
use plimsoll_bench_stats::quantile::ecdf;
use std::fmt::Write;

/// The page's style: readable in light and dark, on paper and on a phone.
const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--ok:#1a7f37;--bad:#cf222e;--mid:#9a6700}\
@media(prefers-color-scheme:dark){:root{--ok:#3fb950;--bad:#ff7b72;--mid:#d29922}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;margin:.5rem 0;display:block;overflow-x:auto}\
th,td{border:1px solid var(--line);padding:.2rem .6rem;text-align:left}\
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
figure{margin:1.5rem 0;max-width:48rem}figcaption{font-weight:600}\
svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:currentColor}\
.legend svg{width:28px;height:10px}.legend span{margin-right:1rem}.grid{stroke:var(--line)}\
.PASS{color:var(--ok)}.FAIL{color:var(--bad)}.WARN,.INCONCLUSIVE{color:var(--mid)}\
.void{border:2px solid var(--bad);padding:.5rem 1rem}";

/// The whole page.
pub fn html(run: &BenchRun) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Benchmark</title><style>{STYLE}</style></head><body><h1>Benchmark</h1>"
    );
    head(&mut out, run);
    for scenario in &run.scenarios {
        let _ =
            write!(out, "<section id=\"{0}\"><h2>{1}</h2>", escape(&scenario.name), escape(&scenario.title));
        if let Some(why) = &scenario.cut_short {
            let _ = write!(out, "<p>Cut short: {}.</p>", escape(why));
        }
        verdicts(&mut out, scenario);
        ladder(&mut out, scenario);
        waterfall(&mut out, scenario);
        distribution(&mut out, scenario);
        curves(&mut out, scenario);
        series(&mut out, scenario);
        failures(&mut out, scenario);
        out.push_str("</section>");
    }
    conditions(&mut out, run);
    out.push_str("</body></html>\n");
    out
}

fn head(out: &mut String, run: &BenchRun) {
    if let Some(why) = &run.void {
        let _ = write!(out, "<p class=\"void\"><strong>This run is void:</strong> {}</p>", escape(why));
    }
    let verdict = run.verdict().map_or("nothing was compared", Verdict::word);
    let _ = write!(
        out,
        "<p>Verdict: <strong class=\"{verdict}\">{verdict}</strong>. Baseline: {}.</p>",
        run.targets.first().map_or_else(String::new, |t| escape(&t.target.name))
    );
    out.push_str(
        "<table><tr><th>target</th><th>program</th><th>version</th><th>clock of the guest</th></tr>",
    );
    for t in &run.targets {
        let clock = if t.guest_clock { "the host's" } else { "its own: arrivals at the host are used" };
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{clock}</td></tr>",
            escape(&t.target.name),
            escape(&t.target.program.display().to_string()),
            escape(&t.version)
        );
    }
    out.push_str("</table>");
}

fn verdicts(out: &mut String, scenario: &ScenarioResult) {
    if scenario.comparisons.is_empty() {
        return;
    }
    out.push_str("<table><tr><th>candidate</th><th>metric</th><th>verdict</th><th>change</th><th>pairs</th><th>evidence</th></tr>");
    for c in &scenario.comparisons {
        let verdict = c.verdict.word();
        let _ = write!(
            out,
            "<tr><th>{}</th><td>all</td><td class=\"{verdict}\"><strong>{verdict}</strong></td><td colspan=\"3\">{}</td></tr>",
            escape(&c.candidate),
            escape(&c.says)
        );
        for m in &c.metrics {
            let _ = write!(
                out,
                "<tr><td></td><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td class=\"n\">{}</td><td>E = {:.3e} of {:.0}</td></tr>",
                escape(&m.metric),
                m.report.verdict.word(),
                word(m, c.sentinel),
                change(m),
                m.report.n,
                m.report.slower.e(),
                1.0 / m.report.config.alpha
            );
        }
    }
    out.push_str("</table>");
}

fn figure(out: &mut String, caption: &str, chart: &str, legend: &str) {
    if !chart.is_empty() {
        let _ = write!(out, "<figure><figcaption>{}</figcaption>{legend}{chart}</figure>", escape(caption));
    }
}

/// Starts as multiples of the floor.
fn ladder(out: &mut String, scenario: &ScenarioResult) {
    let mut list: Vec<Bar<'_>> = scenario
        .arms
        .iter()
        .enumerate()
        .filter_map(|(i, arm)| {
            let times = arm.median("start.x-floor")?;
            let ms = arm.median("start.entrypoint")?;
            Some(Bar {
                name: &arm.target,
                parts: vec![("× floor", times, i)],
                end: format!("{times:.1} × ({ms:.2} ms)"),
            })
        })
        .collect();
    if list.is_empty() {
        return;
    }
    let floor = scenario.arms.iter().find_map(|a| a.median("start.floor")).unwrap_or(0.0);
    list.insert(
        0,
        Bar { name: "floor", parts: vec![("floor", 1.0, 6)], end: format!("1 × ({floor:.2} ms)") },
    );
    figure(
        out,
        "Start to first instruction, in multiples of a bare clone3",
        &bars("start-up ladder from the floor", &list),
        "",
    );
}

/// Where a lifecycle's time goes.
fn waterfall(out: &mut String, scenario: &ScenarioResult) {
    const PHASES: [(&str, &str); 4] = [
        ("phase.create", "create"),
        ("phase.start", "start"),
        ("phase.exit", "exit"),
        ("phase.delete", "delete"),
    ];
    let list: Vec<Bar<'_>> = scenario
        .arms
        .iter()
        .filter_map(|arm| {
            let parts = PHASES
                .iter()
                .enumerate()
                .map(|(i, (metric, name))| Some((*name, arm.median(metric)?, i)))
                .collect::<Option<Vec<_>>>()?;
            let sum: f64 = parts.iter().map(|p| p.1).sum();
            Some(Bar { name: &arm.target, parts, end: format!("{sum:.2} ms") })
        })
        .collect();
    let legend = legend(PHASES.iter().enumerate().map(|(i, (_, name))| (*name, i)));
    figure(out, "Phases of a lifecycle (medians)", &bars("phase waterfall", &list), &legend);
}

/// The distribution of the scenario's first timed metric.
fn distribution(out: &mut String, scenario: &ScenarioResult) {
    let metric = ["start.entrypoint", "run.wall", "exec.entrypoint", "stop.latency"]
        .into_iter()
        .find(|m| scenario.arms.iter().any(|a| a.series(m).is_some()));
    let Some(metric) = metric else { return };
    let list: Vec<Line<'_>> = scenario
        .arms
        .iter()
        .enumerate()
        .filter_map(|(style, arm)| {
            let values: Vec<f64> = arm.series(metric)?.samples.iter().flatten().copied().collect();
            let points = ecdf(&values, 200).ok()?.into_iter().map(|p| (p.x, p.share * 100.0)).collect();
            Some(Line { name: &arm.target, style, points })
        })
        .collect();
    let axes =
        Axes { label: "cumulative distribution", x: "ms", y: "% of lifecycles", log_x: true, marks: false };
    let legend = legend(list.iter().map(|l| (l.name, l.style)));
    figure(
        out,
        &format!("{metric}: share of lifecycles that were not slower"),
        &lines(&axes, &list),
        &legend,
    );
}

fn curves(out: &mut String, scenario: &ScenarioResult) {
    let mut names: Vec<&str> = scenario.curves.iter().map(|c| c.name.as_str()).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let group: Vec<&Curve> = scenario.curves.iter().filter(|c| c.name == name).collect();
        let style = |c: &Curve| scenario.arms.iter().position(|a| a.target == c.target).unwrap_or(0);
        let list: Vec<Line<'_>> = group
            .iter()
            .map(|c| Line { name: &c.target, style: style(c), points: c.points.clone() })
            .collect();
        let axes = Axes { label: name, x: &group[0].x, y: &group[0].y, log_x: false, marks: true };
        let legend = legend(list.iter().map(|l| (l.name, l.style)));
        figure(out, name, &lines(&axes, &list), &legend);
        out.push_str("<ul>");
        for c in &group {
            let class = if c.alarm { "FAIL" } else { "" };
            let _ = write!(out, "<li class=\"{class}\">{}: {}</li>", escape(&c.target), escape(&c.says));
        }
        out.push_str(
            "</ul><details><summary>Numbers</summary><table><tr><th>target</th><th>x</th><th>y</th></tr>",
        );
        for (c, (x, y)) in group.iter().flat_map(|c| c.points.iter().map(move |p| (c, p))) {
            let _ = write!(
                out,
                "<tr><td>{}</td><td class=\"n\">{x}</td><td class=\"n\">{y:.3}</td></tr>",
                escape(&c.target)
            );
        }
        out.push_str("</table></details>");
    }
}

/// Every metric's numbers.
fn series(out: &mut String, scenario: &ScenarioResult) {
    if scenario.arms.iter().all(|a| a.series.is_empty()) {
        return;
    }
    out.push_str("<details open><summary>All metrics</summary><table><tr><th>metric</th><th>target</th><th>p50</th><th>95 % interval</th><th>p90</th><th>p99</th><th>max</th><th>n</th><th>outliers</th></tr>");
    let first: Vec<&str> = scenario.arms.iter().flat_map(|a| &a.series).map(|s| s.metric.as_str()).collect();
    let mut seen = Vec::new();
    for metric in first {
        if seen.contains(&metric) {
            continue;
        }
        seen.push(metric);
        for arm in &scenario.arms {
            row(out, arm, metric);
        }
    }
    out.push_str("</table></details>");
}

fn row(out: &mut String, arm: &ArmResult, metric: &str) {
    let Some(s) = arm.series(metric) else { return };
    let Some(m) = &s.summary else { return };
    let n = |v: f64| number(v, s.unit);
    let interval = m
        .p50_interval
        .low
        .zip(m.p50_interval.high)
        .map_or_else(|| "-".into(), |(l, h)| format!("{} to {}", n(l), n(h)));
    let p99 = if m.p99_interval.high.is_some() { n(m.p99) } else { "n too small".into() };
    let outliers = s.outliers.map_or(0, |o| o.high_mild + o.high_severe + o.low_mild + o.low_severe);
    let _ = write!(
        out,
        "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{interval}</td><td class=\"n\">{}</td><td class=\"n\">{p99}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{outliers}</td></tr>",
        escape(metric),
        escape(&arm.target),
        n(m.p50),
        n(m.p90),
        n(m.max),
        m.n
    );
}

fn failures(out: &mut String, scenario: &ScenarioResult) {
    for arm in scenario.arms.iter().filter(|a| a.failed > 0) {
        let _ = write!(
            out,
            "<p class=\"FAIL\">{}: {} of {} lifecycles failed.</p><ul>",
            escape(&arm.target),
            arm.failed,
            arm.attempts
        );
        for (block, failure) in arm.failures.iter().take(10) {
            let _ = write!(out, "<li>block {block}: {}</li>", escape(&failure.to_string()));
        }
        out.push_str("</ul>");
    }
    for (target, what, c) in &scenario.closures {
        let word = if c.closes { "closes" } else { "does not close" };
        let _ = write!(out, "<p>{}: {}: {:.2} %, {word}.</p>", escape(target), escape(what), c.ratio * 100.0);
    }
}

fn conditions(out: &mut String, run: &BenchRun) {
    out.push_str("<h2>Conditions</h2><table>");
    for (name, value) in &run.key.fields {
        let _ = write!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    let gap = run
        .harness_gap_us()
        .map_or_else(|| "-".into(), |us| format!("{us:.0} µs inside a measured start (median)"));
    let _ = write!(
        out,
        "<tr><th>harness</th><td>{gap}</td></tr><tr><th>load</th><td>{:.2} before, {:.2} after</td></tr><tr><th>seed</th><td>{}</td></tr></table>",
        run.noise.0.load, run.noise.1.load, run.seed
    );
    if let Some(replay) = &run.replay {
        let _ = write!(out, "<p>Again: <code>{}</code></p>", escape(replay));
    }
    for note in &run.notes {
        let _ = write!(out, "<p>Note: {}</p>", escape(note));
    }
}
