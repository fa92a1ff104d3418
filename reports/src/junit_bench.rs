//! A benchmark as JUnit: a suite per scenario and candidate, a test case per deciding metric and per curve.
//!
//! A regression is a failure. "Cannot tell" is skipped with its message: it is neither a success nor a failure, and
//! readers that count skips show that something is undecided.

use junit_report::{Duration, Report, TestCase, TestResult, TestSuite};
use serde_json::Value;
use std::fmt::Write as _;

use crate::bench::{BenchRun, Comparison, MetricVerdict, Scenario};
use crate::text::{one_line, shorten};

/// Characters of a message.
const MESSAGE_CHARS: usize = 300;

/// The document; `None` when the value is no result of a known format.
pub fn render(result: &Value) -> Option<String> {
    let run = BenchRun::read(result)?;
    let mut report = Report::new();
    for scenario in &run.scenarios {
        for comparison in scenario.comparisons.iter().filter(|c| !c.sentinel) {
            report.add_testsuite(compared(scenario, comparison, run.void.as_deref()));
        }
        if !scenario.curves.is_empty() {
            report.add_testsuite(curves(scenario));
        }
    }
    let mut bytes = Vec::new();
    report.write_xml(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

fn compared(scenario: &Scenario, c: &Comparison, void: Option<&str>) -> TestSuite {
    let class = format!("bench.{}.{}", one_line(&scenario.name), one_line(&c.candidate));
    let mut suite = TestSuite::new(&class);
    for metric in &c.metrics {
        let mut case = case(c, metric, void);
        case.set_classname(&class);
        suite.add_testcase(case);
    }
    suite
}

fn case(c: &Comparison, m: &MetricVerdict, void: Option<&str>) -> TestCase {
    let name = one_line(&m.metric);
    let says = shorten(
        &one_line(&format!("{} against {}: {}", c.candidate, c.baseline, sentence(m))),
        MESSAGE_CHARS,
    );
    let skipped = |why: &str| TestCase::skipped_with_cause(&name, "cannot-tell", why);
    let mut case = match (void, m.report.verdict.as_str()) {
        (Some(why), _) => skipped(&shorten(&one_line(&format!("the run is void: {why}")), MESSAGE_CHARS)),
        (None, "fail") if c.verdict == "fail" => failure(&name, "regression", &says),
        (None, _) if m.tail_alarm => failure(&name, "regression.tail", &says),
        (None, "pass" | "warn" | "fail") => TestCase::success(&name, Duration::ZERO),
        (None, _) => skipped(&says),
    };
    case.set_system_out(&properties(m));
    case
}

fn failure(name: &str, kind: &str, says: &str) -> TestCase {
    let mut case = TestCase::failure(name, Duration::ZERO, kind, says);
    if let TestResult::Failure { cause, .. } = &mut case.result {
        *cause = Some(says.to_owned());
    }
    case
}

fn sentence(m: &MetricVerdict) -> String {
    let end = |v: Option<f64>, open: &str| v.map_or_else(|| open.to_owned(), |v| format!("{v:.3}"));
    format!(
        "{} {}, ratio {} ({} to {}) over {} pairs{}",
        m.metric,
        m.report.verdict.to_uppercase(),
        end(m.report.ratio, "unknown"),
        end(m.report.interval.low, "0"),
        end(m.report.interval.high, "infinity"),
        m.report.n,
        if m.tail_alarm { ", heavier tail" } else { "" }
    )
}

/// The numbers, one `name=value` a line.
fn properties(m: &MetricVerdict) -> String {
    let mut out = String::new();
    let r = &m.report;
    for (name, value) in [
        ("ratio", r.ratio),
        ("ratio.low", r.interval.low),
        ("ratio.high", r.interval.high),
        ("visible-change", r.visible_change),
    ] {
        if let Some(value) = value {
            let _ = writeln!(out, "{name}={value:.6}");
        }
    }
    let _ = writeln!(out, "pairs={}", r.n);
    if let Some(e) = r.slower {
        let _ = writeln!(out, "slower={} of {}", e.hits, e.trials);
    }
    out
}

fn curves(scenario: &Scenario) -> TestSuite {
    let mut suite = TestSuite::new(&format!("bench.{}.curves", one_line(&scenario.name)));
    for curve in &scenario.curves {
        let says = shorten(&one_line(&curve.says), MESSAGE_CHARS);
        let name = one_line(&curve.name);
        let mut case = if curve.alarm {
            failure(&name, "defect", &says)
        } else {
            TestCase::success(&name, Duration::ZERO)
        };
        case.set_classname(&format!("bench.{}.{}", one_line(&scenario.name), one_line(&curve.target)));
        case.set_system_out(&says);
        suite.add_testcase(case);
    }
    suite
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(verdict: &str) -> Value {
        let gate = |metric: &str, verdict: &str| {
            json!({"metric": metric, "report": {"verdict": verdict, "n": 40, "ratio": 1.2,
                "interval": {"low": 1.1, "high": 1.3}}, "tail_alarm": false})
        };
        json!({
            "schema": "plimsoll-bench/1",
            "scenarios": [{
                "name": "cold-start", "title": "Cold start",
                "comparisons": [{"baseline": "a", "candidate": "b<", "verdict": verdict, "says": "x",
                    "metrics": [gate("start.entrypoint", verdict), gate("cpu.lifecycle", "pass")]}],
                "curves": [{"target": "b<", "name": "churn.files", "says": "grows", "alarm": true}],
            }],
        })
    }

    #[test]
    fn a_regression_fails_and_doubt_is_skipped() {
        let xml = render(&run("fail")).unwrap();
        assert_eq!(xml.matches("<testcase").count(), 3);
        assert_eq!(xml.matches("<failure").count(), 2, "{xml}");
        assert!(xml.contains("ratio=1.200000") && xml.contains("pairs=40"), "{xml}");
        // A name's markup stands in character data only.
        let marked =
            xml.split("<![CDATA[").map(|part| part.split_once("]]>").map_or(part, |(_, after)| after));
        assert!(!marked.collect::<String>().contains("b<"), "{xml}");
        let xml = render(&run("inconclusive")).unwrap();
        assert!(xml.contains("<skipped") && xml.matches("<failure").count() == 1, "{xml}");
        assert!(render(&json!({"schema": "other/1"})).is_none());
    }
}
