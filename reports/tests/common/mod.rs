//! Runs to render: a small one with every outcome, a large one, and one full of hostile text.
// Each test program uses a part of this; a helper that cannot go on ends the test.
#![allow(dead_code, clippy::unwrap_used, clippy::too_many_lines)]

use plimsoll_model::{Event, OutcomeKind, Run};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Strings that break careless writers; each marks itself, so that a test can find it again.
pub mod hostile;

/// Targets of the sample.
pub const TARGETS: [(&str, &str, &str); 3] = [
    ("runc", "oci:/usr/sbin/runc", "runc version 1.1.5+ds1"),
    ("crun", "oci:crun?cgroups=legacy", "crun version 1.8.1"),
    ("ref-oci", "ref:oci", "plimsoll-oci 0.1.0"),
];

/// A requirement as JSON.
pub fn requirement(id: &str, file: &str, anchor: &str, level: &str, text: &str) -> Value {
    json!({"id": id, "file": file, "anchor": anchor, "lines": "10", "level": level, "since": "1.0.0",
        "class": "runtime", "testable": "yes", "text": text, "how": ""})
}

/// A planned case as JSON.
pub fn case(id: &str, summary: &str, covers: &[&str], severity: &str) -> Value {
    json!({"id": id, "summary": summary, "covers": covers, "severity": severity, "since": "1.0.0",
        "file": "suites/oci-runtime/src/kill.rs", "line": 12})
}

/// A finished case as JSON.
pub fn finished(target: &str, case: &str, outcome: &Value, judgement: &Value) -> Value {
    let mut record = json!({"event": "case-finished", "target": target, "case": case, "attempt": 1,
        "outcome": outcome, "judgement": judgement, "duration_ms": 87.25});
    if outcome["kind"] != "pass" {
        record["commands"] = json!([
            {"argv": ["W/crun", "--root", "W/root", "create", "--bundle", "W/bundle", "C1"], "status": "exit 0", "ms": 31.4},
            {"argv": ["W/crun", "--root", "W/root", "kill", "C1", "TERM"], "status": "exit 0", "ms": 6.1,
             "stderr": "container \u{1b}[31mC1\u{1b}[0m <is> not running & gone\n"},
        ]);
        record["config"] = json!({"ociVersion": "1.0.2", "process": {"args": ["/probe"], "cwd": "/"}});
    }
    record
}

fn violation(expected: &str, actual: &str) -> Value {
    json!({"kind": "fail", "violations": [
        {"requirement": "runtime.kill.stopped-errors", "expected": expected, "actual": actual}]})
}

/// The header of the sample, with these targets and cases.
pub fn header(targets: &[(&str, &str, &str)], plan: &[Value], requirements: &[Value]) -> Value {
    let targets: Vec<Value> = targets
        .iter()
        .map(|(label, spec, version)| {
            let spec: plimsoll_model::TargetSpec = spec.parse().unwrap();
            json!({"label": label, "spec": spec, "version": version, "spec_version": "1.0.2",
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "features": {"hooks": ["prestart", "poststop"]}})
        })
        .collect();
    json!({"event": "header", "format": "plimsoll-run/1", "run_id": "r-1", "tool": "plimsoll 0.1.0",
        "started_at": "2026-11-24T10:00:00Z", "seed": 42, "command": ["run", "-t", "runc", "-t", "crun"],
        "profile": "full", "plan_digest": "c0ffee", "targets": targets, "plan": plan, "requirements": requirements,
        "waivers": {"runtime.operations.wip": "a statement about documents, not about runtimes"},
        "host": {"kernel": "6.18.0", "machine": "x86_64", "os": "Debian GNU/Linux 12 (bookworm)", "cgroups": "hybrid",
            "controllers": {"v1": ["cpu", "memory", "pids"], "v2": ["hugetlb"]}, "lsm": ["capability"],
            "missing_capabilities": ["CAP_SYS_RESOURCE"], "cpus": 2, "memory_kib": 25_165_824}})
}

/// Requirements of the sample.
pub fn requirements() -> Vec<Value> {
    vec![
        requirement(
            "runtime.kill.stopped-errors",
            "runtime.md",
            "#kill",
            "MUST",
            "A signal to a container that is neither created nor running is an error and has no effect.",
        ),
        requirement("runtime.state.status", "runtime.md", "#state", "MUST", "The state carries the status."),
        requirement(
            "runtime.delete.all",
            "runtime.md",
            "#delete",
            "MUST",
            "Delete removes what create made.",
        ),
        requirement(
            "runtime.operations.wip",
            "runtime.md",
            "#operations",
            "MUST",
            "A rule about the text itself.",
        ),
        requirement("config.root.open", "config.md", "#root", "MUST NOT", "Nobody tests this one yet."),
        requirement(
            "config.warn.log",
            "config.md",
            "#extensibility",
            "SHOULD",
            "Unknown properties are logged.",
        ),
        requirement(
            "config.mounts.may",
            "config.md",
            "#mounts",
            "MAY",
            "The runtime may create the mount point.",
        ),
    ]
}

/// Cases of the sample.
pub fn plan() -> Vec<Value> {
    vec![
        case(
            "oci-runtime/kill/stopped-is-error",
            "Signalling a stopped container is an error and leaves its state unchanged.",
            &["runtime.kill.stopped-errors"],
            "fail",
        ),
        case(
            "oci-runtime/kill/running-gets-signal",
            "A running container gets the signal.",
            &["runtime.kill.stopped-errors"],
            "fail",
        ),
        case(
            "oci-runtime/state/status-is-told",
            "State tells the status.",
            &["runtime.state.status"],
            "fail",
        ),
        case(
            "oci-runtime/delete/leaves-nothing",
            "Delete leaves nothing behind.",
            &["runtime.delete.all"],
            "fail",
        ),
        case(
            "oci-runtime/config/unknown-is-logged",
            "An unknown property is logged.",
            &["config.warn.log"],
            "warn",
        ),
        case(
            "oci-runtime/mounts/option-is-applied/option=noexec",
            "The option noexec is applied.",
            &["config.mounts.may"],
            "fail",
        ),
        case("oci-runtime/cgroups/memory-max", "The memory limit holds.", &["runtime.state.status"], "fail"),
    ]
}

/// Every outcome and every judgement at least once.
pub fn sample() -> Run {
    let good = json!({"kind": "good"});
    let neutral = json!({"kind": "neutral"});
    let pass = json!({"kind": "pass"});
    let plan = plan();
    let mut lines = vec![header(&TARGETS, &plan, &requirements())];
    lines.push(json!({"event": "note", "text": "left over from an earlier run: 1 cgroup, removed"}));
    for (label, _, _) in TARGETS {
        for case in &plan {
            let id = case["id"].as_str().unwrap();
            let (outcome, judgement) = match (label, id) {
                ("runc", "oci-runtime/kill/stopped-is-error") => {
                    (violation("exit status ≠ 0", "exit 0, stderr empty"), json!({"kind": "bad"}))
                }
                ("crun", "oci-runtime/kill/stopped-is-error") => (
                    violation("exit status ≠ 0", "exit 0"),
                    json!({"kind": "known", "issue": "https://example.org/issues/7", "reason": "reported upstream"}),
                ),
                ("crun", "oci-runtime/state/status-is-told") => {
                    (pass.clone(), json!({"kind": "fixed", "issue": "https://example.org/issues/8"}))
                }
                ("runc", "oci-runtime/config/unknown-is-logged") => (
                    json!({"kind": "warn", "violations": [{"requirement": "config.warn.log", "expected": "a line in the log", "actual": "none"}]}),
                    json!({"kind": "warned"}),
                ),
                ("crun", "oci-runtime/mounts/option-is-applied/option=noexec") => (
                    json!({"kind": "not-applicable", "capability": "mountOptions.noexec", "reason": "features lists no noexec"}),
                    neutral.clone(),
                ),
                (_, "oci-runtime/cgroups/memory-max") if label != "crun" => (
                    json!({"kind": "skip", "lack": "cgroup-v2", "reason": "no memory controller in cgroup v2"}),
                    neutral.clone(),
                ),
                ("crun", "oci-runtime/cgroups/memory-max") => (
                    json!({"kind": "error", "trouble": {"kind": "timeout", "what": "no answer within 10 s", "hint": "try --timeout-scale 2"}}),
                    json!({"kind": "trouble"}),
                ),
                ("crun", "oci-runtime/delete/leaves-nothing") => {
                    (json!({"kind": "not-run", "why": "--fail-fast"}), neutral.clone())
                }
                _ => (pass.clone(), good.clone()),
            };
            let mut record = finished(label, id, &outcome, &judgement);
            if id.contains("noexec") {
                record["facts"] = json!({"mount-point-created": label == "runc"});
            }
            if label == "ref-oci" && id.contains("delete") {
                let trouble =
                    json!({"kind": "error", "trouble": {"kind": "worker-died", "what": "signal 9"}});
                let mut first = finished(label, id, &trouble, &json!({"kind": "trouble"}));
                first["superseded"] = json!(true);
                lines.push(first);
                record["attempt"] = json!(2);
            }
            lines.push(record);
        }
    }
    finish(&lines, 1)
}

/// Parses the lines and adds a footer that reconciles.
pub fn finish(lines: &[Value], exit_code: u8) -> Run {
    let text: String = lines.iter().map(|l| l.to_string() + "\n").collect();
    let mut run = Run::parse(&text).unwrap();
    let counts = run.counts();
    let planned = counts.values().flat_map(BTreeMap::values).sum::<u64>();
    run.push(
        serde_json::from_value::<Event>(
            json!({"event": "footer", "status": "complete", "duration_ms": 1234.5,
            "planned": planned, "counts": counts, "exit_code": exit_code}),
        )
        .unwrap(),
    );
    run.settle().unwrap();
    run
}

/// The run as the text of its file.
pub fn to_text(run: &Run) -> String {
    run.to_events().iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect()
}

/// A run of `cases` cases on `targets` targets in which one in ten records is a failure.
pub fn large(cases: usize, targets: usize) -> Run {
    let names: Vec<(String, String)> =
        (0..targets).map(|t| (format!("runtime-{t}"), format!("oci:/usr/bin/runtime-{t}"))).collect();
    let targets: Vec<(&str, &str, &str)> =
        names.iter().map(|(label, spec)| (label.as_str(), spec.as_str(), "runtime version 1.2.3")).collect();
    let ids: Vec<String> = (0..cases)
        .map(|c| format!("oci-runtime/section-{:02}/case-number-{c:04}-does-what-it-says", c / 40))
        .collect();
    let plan: Vec<Value> = ids
        .iter()
        .map(|id| {
            case(
                id,
                "The runtime does what the clause says, and nothing else happens.",
                &["runtime.state.status"],
                "fail",
            )
        })
        .collect();
    let mut lines = vec![header(&targets, &plan, &requirements())];
    for (label, _, _) in &targets {
        for (n, id) in ids.iter().enumerate() {
            lines.push(if (n + label.len()) % 10 == 0 {
                finished(
                    label,
                    id,
                    &violation("exit status ≠ 0", "exit 0, stderr empty"),
                    &json!({"kind": "bad"}),
                )
            } else {
                finished(label, id, &json!({"kind": "pass"}), &json!({"kind": "good"}))
            });
        }
    }
    finish(&lines, 1)
}

/// How many records have this outcome.
pub fn count(run: &Run, kind: OutcomeKind) -> usize {
    run.records.iter().filter(|r| r.outcome.kind() == kind).count()
}

/// A benchmark's result: two runtimes, two scenarios, a comparison with this verdict.
pub fn bench(verdict: &str) -> Value {
    let samples = |base: f64| -> Vec<Value> {
        (0..60)
            .map(|n| if n == 7 { Value::Null } else { json!(base + f64::from((n * 37) % 23) * base / 40.0) })
            .collect()
    };
    let summary = |base: f64| {
        json!({"n": 59, "min": base, "p50": base * 1.3, "p50_interval": {"low": base * 1.2, "high": base * 1.4},
            "p90": base * 1.5, "p99": base * 1.55, "p99_interval": {"low": base * 1.5, "high": null}, "max": base * 1.6,
            "mean": base * 1.3, "cv": 0.2, "autocorrelation": 0.01})
    };
    let series = |metric: &str, base: f64| {
        json!({"metric": metric, "unit": "ms", "direction": "smaller-is-better", "samples": samples(base),
            "summary": summary(base), "outliers": null})
    };
    let arm = |target: &str, base: f64| {
        json!({"target": target, "attempts": 60, "failures": [], "failed": 1, "series": [
            series("start.floor", 1.0), series("start.entrypoint", base), series("cpu.lifecycle", base / 2.0)]})
    };
    let report = json!({"verdict": verdict, "n": 59, "n_earlier": 0, "ratio": 0.25, "hodges_lehmann": 0.26,
        "interval": {"low": 0.22, "high": 0.29}, "sigma": 0.1, "autocorrelation": 0.0, "visible_change": 0.04});
    let curve = |target: &str, scale: f64| {
        let points: Vec<(f64, f64)> =
            [1.0, 2.0, 4.0, 8.0, 16.0].iter().map(|k: &f64| (*k, scale * k / (1.0 + 0.3 * k))).collect();
        json!({"target": target, "name": "throughput.closed", "x": "workers", "y": "containers per second", "points": points,
            "usl": null, "slope": null, "says": "saturates at 8 workers", "alarm": false})
    };
    json!({"schema": "plimsoll-bench/1", "started_unix": 1, "seconds": 61.5, "seed": 7, "void": null,
        "key": {"fields": {"kernel": "6.18.0", "scheduler": "SCHED_FIFO"}}, "notes": ["governor unknown"],
        "targets": [{"name": "runc", "version": "runc version 1.1.5", "digest": "aa"}, {"name": "crun", "version": "crun 1.8.1", "digest": "bb"}],
        "scenarios": [
            {"name": "cold-start", "title": "Cold start", "blocks": 60, "arms": [arm("runc", 20.0), arm("crun", 5.0)],
                "comparisons": [
                    {"baseline": "runc", "candidate": "runc~", "sentinel": true, "metrics": [], "verdict": "fail", "says": "never counts"},
                    {"baseline": "runc", "candidate": "crun", "sentinel": false, "verdict": verdict, "says": "crun starts in a quarter of the time",
                        "metrics": [{"metric": "start.entrypoint", "report": report, "discovery": false, "tail_alarm": false}]}],
                "curves": [], "closures": [], "cut_short": null},
            {"name": "throughput", "title": "Throughput", "blocks": 5, "arms": [], "comparisons": [],
                "curves": [curve("runc", 40.0), curve("crun", 150.0)], "closures": [], "cut_short": null}]})
}

/// A detection score: found, missed and not applicable.
pub fn selftest() -> Value {
    json!({"schema": "plimsoll-selftest/1", "target": "ref:oci", "false_alarms": [], "faults": [
        {"id": "OCI-M001", "title": "kill of a stopped container succeeds", "level": "MUST", "requirement": "runtime.kill.stopped-errors",
            "outcome": "found", "right_reason": true, "red": ["oci-runtime/kill/stopped-is-error"]},
        {"id": "OCI-M002", "title": "delete leaves the state directory", "level": "MUST", "requirement": "runtime.delete.all",
            "outcome": "missed", "why": "no case looks there"},
        {"id": "OCI-M003", "title": "memory limit ignored", "level": "MUST", "requirement": "x", "outcome": "not-applicable",
            "why": "needs cgroup v2"}]})
}
