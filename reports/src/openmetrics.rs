//! OpenMetrics text for a textfile collector or a push gateway.

use plimsoll_model::{OutcomeKind, Run};
use std::fmt::Write as _;

use crate::bench::BenchRun;
use crate::text::one_line;
use crate::verdict::{exit_code, must_coverage, tallies};

/// Quantiles of every series and the outcomes of every target; ends with `# EOF`.
pub fn render(run: &Run) -> String {
    let mut out = String::new();
    family(&mut out, "plimsoll_build", "info", "The harness that made the run.");
    let _ = writeln!(out, "plimsoll_build_info{{tool=\"{}\"}} 1", label(&run.header.tool));
    family(&mut out, "plimsoll_case_outcomes", "gauge", "Cases by target and outcome.");
    let rows = tallies(run);
    for row in &rows {
        for kind in OutcomeKind::ALL {
            let word = kind.word().replace(' ', "-");
            let target = label(&row.label);
            let _ = writeln!(
                out,
                "plimsoll_case_outcomes{{target=\"{target}\",outcome=\"{word}\"}} {}",
                row.count(kind)
            );
        }
    }
    for (name, help, value) in [
        ("plimsoll_unexpected_failures", "Failures that close the gate.", "bad"),
        ("plimsoll_flaky_cases", "Cases whose attempts disagree.", "flaky"),
    ] {
        family(&mut out, name, "gauge", help);
        for row in &rows {
            let n = if value == "bad" { row.bad } else { row.flaky };
            let _ = writeln!(out, "{name}{{target=\"{}\"}} {n}", label(&row.label));
        }
    }
    family(&mut out, "plimsoll_exit_code", "gauge", "The exit code of the run.");
    let _ = writeln!(out, "plimsoll_exit_code {}", exit_code(run).code());
    let coverage = must_coverage(run);
    family(
        &mut out,
        "plimsoll_must_requirements",
        "gauge",
        "MUST-level requirements, and how many a case covers.",
    );
    let _ = writeln!(out, "plimsoll_must_requirements{{state=\"tested\"}} {}", coverage.tested);
    let _ = writeln!(out, "plimsoll_must_requirements{{state=\"all\"}} {}", coverage.total);
    if let Some(footer) = &run.footer {
        let _ = writeln!(
            out,
            "# TYPE plimsoll_run_duration_seconds gauge\n# UNIT plimsoll_run_duration_seconds seconds"
        );
        let _ = writeln!(out, "# HELP plimsoll_run_duration_seconds Wall time of the run.");
        let _ = writeln!(out, "plimsoll_run_duration_seconds {:.3}", footer.duration_ms / 1000.0);
    }
    benches(&mut out, run);
    out.push_str("# EOF\n");
    out
}

fn benches(out: &mut String, run: &Run) {
    let all: Vec<BenchRun> = run.benches.iter().filter_map(|(_, result)| BenchRun::read(result)).collect();
    if all.is_empty() {
        return;
    }
    family(out, "plimsoll_bench", "gauge", "Quantiles of a benchmark's series, in the unit of its label.");
    let mut seen = std::collections::BTreeSet::new();
    for scenario in all.iter().flat_map(|b| &b.scenarios) {
        for arm in &scenario.arms {
            for series in &arm.series {
                let Some(summary) = &series.summary else { continue };
                let labels = format!(
                    "scenario=\"{}\",target=\"{}\",metric=\"{}\",unit=\"{}\"",
                    label(&scenario.name),
                    label(&arm.target),
                    label(&series.metric),
                    label(&series.unit)
                );
                if !seen.insert(labels.clone()) {
                    continue;
                }
                for (quantile, value) in [("0.5", summary.p50), ("0.9", summary.p90), ("0.99", summary.p99)] {
                    let _ = writeln!(out, "plimsoll_bench{{{labels},quantile=\"{quantile}\"}} {value}");
                }
            }
        }
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {help}");
}

/// A label's value: backslash, quote and line end are escaped.
fn label(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('"', "\\\"")
}
