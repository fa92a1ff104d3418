//! For people: a terminal summary and Markdown.

use crate::metric::Unit;
use crate::result::{ArmResult, BenchRun, Comparison, MetricVerdict, ScenarioResult};
use plimsoll_bench_stats::gate::Verdict;
use std::fmt::Write;

/// A number with as many digits as help, and its unit.
pub(super) fn number(value: f64, unit: Unit) -> String {
    let digits = match value.abs() {
        v if v >= 1_000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$} {}", unit.symbol()).trim_end().to_owned()
}

fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

/// The change with its interval: `+3.1 % (+1.0 to +5.2)`.
pub(super) fn change(m: &MetricVerdict) -> String {
    let Some(ratio) = m.report.ratio else { return "no pairs".into() };
    match (m.report.interval.low, m.report.interval.high) {
        (Some(low), Some(high)) => format!("{} ({} to {})", percent(ratio), percent(low), percent(high)),
        _ => format!("{} (too few pairs for an interval)", percent(ratio)),
    }
}

/// The word a reader acts on; a FAIL that is short of proof among so many questions is marked.
pub(super) fn word(m: &MetricVerdict, sentinel: bool) -> &'static str {
    match m.report.verdict {
        Verdict::Fail if !m.discovery && !sentinel => "FAIL?",
        verdict => verdict.word(),
    }
}

/// A summary for a terminal.
pub fn text(run: &BenchRun) -> String {
    let mut out = String::new();
    for scenario in &run.scenarios {
        let _ = writeln!(out, "{}  {}", scenario.title, blocks(scenario));
        for arm in &scenario.arms {
            arm_lines(&mut out, arm);
        }
        for c in &scenario.comparisons {
            comparison_lines(&mut out, c);
        }
        for c in &scenario.curves {
            let mark = if c.alarm { "  FAIL" } else { "" };
            let _ = writeln!(out, "  {} {}: {}{mark}", c.target, c.name, c.says);
        }
        for (target, what, c) in &scenario.closures {
            let word = if c.closes { "closes" } else { "DOES NOT CLOSE" };
            let _ = writeln!(out, "  {target}: {what}: {:.4}, {word}", c.ratio);
        }
        if let Some(why) = &scenario.cut_short {
            let _ = writeln!(out, "  cut short: {why}");
        }
        out.push('\n');
    }
    footer(&mut out, run);
    out
}

fn blocks(scenario: &ScenarioResult) -> String {
    if scenario.blocks == 0 { String::new() } else { format!("({} blocks)", scenario.blocks) }
}

fn arm_lines(out: &mut String, arm: &ArmResult) {
    let _ = writeln!(out, "  {}: {} lifecycles, {} failed", arm.target, arm.attempts, arm.failed);
    if let Some((block, failure)) = arm.failures.first() {
        let _ = writeln!(out, "    first failure, block {block}: {failure}");
    }
    for s in &arm.series {
        let Some(m) = &s.summary else { continue };
        let p99 = match m.p99_interval.high {
            Some(_) => number(m.p99, s.unit),
            None => "(n too small)".into(),
        };
        let _ = writeln!(
            out,
            "    {:20} p50 {:>12}  p90 {:>12}  p99 {:>13}  max {:>12}",
            s.metric,
            number(m.p50, s.unit),
            number(m.p90, s.unit),
            p99,
            number(m.max, s.unit)
        );
    }
}

fn comparison_lines(out: &mut String, c: &Comparison) {
    let watch = if c.sentinel { " (sentinel)" } else { "" };
    let _ =
        writeln!(out, "  {} against {}{watch}: {}: {}", c.candidate, c.baseline, c.verdict.word(), c.says);
    for m in &c.metrics {
        let r = &m.report;
        let visible = r.visible_change.map_or_else(|| "-".into(), |v| format!("{:.1} %", v * 100.0));
        let tail = if m.tail_alarm { "  TAIL" } else { "" };
        let _ = writeln!(
            out,
            "    {:20} {:12} {}  n={}  e={:.3e}  visible ≥{visible}{tail}",
            m.metric,
            word(m, c.sentinel),
            change(m),
            r.n,
            r.slower.e()
        );
    }
}

/// What the harness itself cost, how loud the host was, and how to do it again.
fn footer(out: &mut String, run: &BenchRun) {
    if let Some(gap) = run.harness_gap_us() {
        let _ = writeln!(out, "harness: {gap:.0} µs of its own inside a measured start (median)");
    }
    for d in &run.drifts {
        let ratio = |(mid, low, high): (f64, f64, f64)| format!("{mid:.3}x ({low:.3} to {high:.3})");
        let word = if d.worse { "WORSE than" } else { "no worse than" };
        let _ = writeln!(
            out,
            "{} {} {}: {} now, {word} {} in the earlier run",
            d.scenario,
            d.candidate,
            d.metric,
            ratio(d.now),
            ratio(d.then)
        );
    }
    let (a, b) = &run.noise;
    let _ =
        writeln!(out, "host: load {:.2} before, {:.2} after; {:.1} s in all", a.load, b.load, run.seconds);
    let _ = writeln!(out, "seed: {}", run.seed);
    if let Some(replay) = &run.replay {
        let _ = writeln!(out, "again: {replay}");
    }
    for note in &run.notes {
        let _ = writeln!(out, "note: {note}");
    }
    if let Some(why) = &run.void {
        let _ = writeln!(out, "VOID: {why}");
    }
}

/// Tables for a pull request or a wiki.
pub fn markdown(run: &BenchRun) -> String {
    let mut out = String::from("# Benchmark\n\n");
    if let Some(why) = &run.void {
        let _ = writeln!(out, "> **Void**: {}\n", escape(why));
    }
    for scenario in &run.scenarios {
        let _ = writeln!(out, "## {}\n", escape(&scenario.title));
        medians(&mut out, scenario);
        verdicts(&mut out, scenario);
        if !scenario.curves.is_empty() {
            out.push_str("| target | curve | result |\n|---|---|---|\n");
            for c in &scenario.curves {
                let says = if c.alarm { format!("**{}**", escape(&c.says)) } else { escape(&c.says) };
                let _ = writeln!(out, "| {} | {} | {says} |", escape(&c.target), escape(&c.name));
            }
            out.push('\n');
        }
        for arm in scenario.arms.iter().filter(|a| a.failed > 0) {
            let first = arm
                .failures
                .first()
                .map_or_else(String::new, |(_, f)| format!(": {}", escape(&f.to_string())));
            let _ =
                writeln!(out, "- {}: {} of {} failed{first}", escape(&arm.target), arm.failed, arm.attempts);
        }
    }
    let mut foot = String::new();
    footer(&mut foot, run);
    let _ = write!(out, "\n```\n{foot}```\n");
    out
}

fn medians(out: &mut String, scenario: &ScenarioResult) {
    let Some(first) = scenario.arms.first().filter(|a| !a.series.is_empty()) else { return };
    out.push_str("| median (95 % interval) |");
    for arm in &scenario.arms {
        let _ = write!(out, " {} |", escape(&arm.target));
    }
    let _ = writeln!(out, "\n|---|{}", "---:|".repeat(scenario.arms.len()));
    for series in &first.series {
        let _ = write!(out, "| {} |", series.metric);
        for arm in &scenario.arms {
            let cell = arm.series(&series.metric).and_then(|s| {
                let m = s.summary.as_ref()?;
                let interval =
                    m.p50_interval.low.zip(m.p50_interval.high).map_or_else(String::new, |(l, h)| {
                        format!(" ({} to {})", number(l, Unit::Count), number(h, Unit::Count))
                    });
                Some(format!("{}{interval}", number(m.p50, s.unit)))
            });
            let _ = write!(out, " {} |", cell.unwrap_or_else(|| "-".into()));
        }
        out.push('\n');
    }
    out.push('\n');
}

fn verdicts(out: &mut String, scenario: &ScenarioResult) {
    if scenario.comparisons.is_empty() {
        return;
    }
    out.push_str("| candidate | metric | verdict | change | pairs |\n|---|---|---|---|---:|\n");
    for c in &scenario.comparisons {
        let _ = writeln!(
            out,
            "| **{}** | all | **{}** | {} | |",
            escape(&c.candidate),
            c.verdict.word(),
            escape(&c.says)
        );
        for m in &c.metrics {
            let _ = writeln!(
                out,
                "| | {} | {} | {} | {} |",
                m.metric,
                word(m, c.sentinel),
                change(m),
                m.report.n
            );
        }
    }
    out.push('\n');
}

/// Text inside a table cell.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}
