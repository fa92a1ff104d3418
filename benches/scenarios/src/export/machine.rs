//! For machines: CSV, Bencher's metric format, github-action-benchmark, `OpenMetrics`.

use crate::metric::Unit;
use crate::result::{BenchRun, Curve, Series};
use plimsoll_bench_stats::gate::Direction;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// All raw samples, one per line: `scenario,target,metric,unit,block,value`; failed lifecycles have no
/// line. Curves follow with their x in place of the block.
pub fn csv(run: &BenchRun) -> String {
    let mut out = String::from("scenario,target,metric,unit,block,value\n");
    for scenario in &run.scenarios {
        for arm in &scenario.arms {
            for series in &arm.series {
                for (block, value) in series.samples.iter().enumerate().filter_map(|(b, v)| Some((b, (*v)?)))
                {
                    let head = [&scenario.name, &arm.target, &series.metric].map(|f| field(f)).join(",");
                    let _ = writeln!(out, "{head},{},{block},{value}", unit_name(series.unit));
                }
            }
        }
        for curve in &scenario.curves {
            for (x, y) in &curve.points {
                let head = [&scenario.name, &curve.target, &curve.name, &curve.y].map(|f| field(f)).join(",");
                let _ = writeln!(out, "{head},{x},{y}");
            }
        }
    }
    out
}

/// A CSV field by RFC 4180. A leading sign that a spreadsheet would run as a formula gets an apostrophe.
pub(super) fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::Count => "count",
        Unit::Kibibytes => "KiB",
        Unit::PerSecond => "1/s",
        Unit::MegabytesPerSecond => "MB/s",
        Unit::Times => "x",
    }
}

/// The best throughput of a curve that has rates, if it is one.
fn best_rate(curve: &Curve) -> Option<f64> {
    (curve.name == "throughput.closed").then(|| curve.points.iter().map(|p| p.1).fold(0.0, f64::max))
}

/// Bencher Metric Format: benchmark name to measures with the median and its interval.
pub fn bencher(run: &BenchRun) -> Value {
    let mut out: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for scenario in &run.scenarios {
        let name = |target: &str| format!("{}/{target}", scenario.name);
        for arm in &scenario.arms {
            for series in &arm.series {
                let Some(m) = &series.summary else { continue };
                let mut measure = Map::new();
                measure.insert("value".into(), json!(m.p50));
                for (key, end) in [("lower_value", m.p50_interval.low), ("upper_value", m.p50_interval.high)]
                {
                    if let Some(end) = end {
                        measure.insert(key.into(), json!(end));
                    }
                }
                out.entry(name(&arm.target))
                    .or_default()
                    .insert(series.metric.clone(), Value::Object(measure));
            }
        }
        for curve in &scenario.curves {
            if let Some(rate) = best_rate(curve) {
                out.entry(name(&curve.target))
                    .or_default()
                    .insert(curve.name.clone(), json!({ "value": rate }));
            }
        }
    }
    json!(out)
}

/// The two files of github-action-benchmark: it knows only one direction per file.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionFiles {
    /// For `tool: customSmallerIsBetter`.
    pub smaller_is_better: Value,
    /// For `tool: customBiggerIsBetter`.
    pub bigger_is_better: Value,
}

/// Medians with half the width of their interval, split by direction.
pub fn github_action(run: &BenchRun) -> ActionFiles {
    let mut smaller = Vec::new();
    let mut bigger = Vec::new();
    for scenario in &run.scenarios {
        for arm in &scenario.arms {
            for series in &arm.series {
                let Some(entry) = action_entry(&scenario.name, &arm.target, series) else { continue };
                match series.direction {
                    Direction::SmallerIsBetter => smaller.push(entry),
                    Direction::LargerIsBetter => bigger.push(entry),
                }
            }
        }
        for curve in &scenario.curves {
            if let Some(rate) = best_rate(curve) {
                let name = format!("{} / {} / {}", scenario.name, curve.target, curve.name);
                bigger.push(json!({ "name": name, "unit": "1/s", "value": rate, "extra": curve.says }));
            }
        }
    }
    ActionFiles { smaller_is_better: json!(smaller), bigger_is_better: json!(bigger) }
}

fn action_entry(scenario: &str, target: &str, series: &Series) -> Option<Value> {
    let m = series.summary.as_ref()?;
    let mut entry = json!({
        "name": format!("{scenario} / {target} / {}", series.metric),
        "unit": unit_name(series.unit),
        "value": m.p50,
        "extra": format!("n={} p90={} max={}", m.n, m.p90, m.max),
    });
    if let (Some(low), Some(high)) = (m.p50_interval.low, m.p50_interval.high) {
        entry["range"] = json!(format!("± {:.3}", (high - low) / 2.0));
    }
    Some(entry)
}

/// `OpenMetrics` text: summaries in base units (seconds, bytes), ended by `# EOF`.
pub fn open_metrics(run: &BenchRun) -> String {
    let mut families: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
    for scenario in &run.scenarios {
        for arm in &scenario.arms {
            let labels = format!("scenario=\"{}\",target=\"{}\"", label(&scenario.name), label(&arm.target));
            for series in &arm.series {
                let Some(m) = &series.summary else { continue };
                let (unit, factor) = match series.unit {
                    Unit::Milliseconds => ("seconds", 1e-3),
                    Unit::Microseconds => ("seconds", 1e-6),
                    Unit::Kibibytes => ("bytes", 1024.0),
                    Unit::Times => ("ratio", 1.0),
                    Unit::MegabytesPerSecond => ("bytes_per_second", 1e6),
                    Unit::Count | Unit::PerSecond => ("", 1.0),
                };
                let name = family(&series.metric, unit);
                let sum = m.mean * m.n as f64 * factor;
                let lines = families.entry((name.clone(), unit)).or_default();
                for (q, value) in [("0.5", m.p50), ("0.9", m.p90), ("0.99", m.p99)] {
                    lines.push(format!("{name}{{{labels},quantile=\"{q}\"}} {}", value * factor));
                }
                lines.push(format!("{name}_count{{{labels}}} {}", m.n));
                // A sum of signed values is not a counter, and the format demands one.
                if m.min >= 0.0 {
                    lines.push(format!("{name}_sum{{{labels}}} {sum}"));
                }
            }
            let name = "plimsoll_bench_failures".to_owned();
            families
                .entry((name.clone(), ""))
                .or_default()
                .push(format!("{name}{{{labels}}} {}", arm.failed));
        }
    }
    let mut out = String::new();
    for ((name, unit), lines) in families {
        let kind = if name == "plimsoll_bench_failures" { "gauge" } else { "summary" };
        let _ = writeln!(out, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
    }
    out.push_str("# EOF\n");
    out
}

fn family(metric: &str, unit: &str) -> String {
    let plain: String = metric.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if unit.is_empty() { format!("plimsoll_bench_{plain}") } else { format!("plimsoll_bench_{plain}_{unit}") }
}

/// A label value with its three special characters escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
