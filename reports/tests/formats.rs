//! The formats for other programs, and what is done with several runs.

// Helpers of tests end the test where they cannot go on.
#![allow(clippy::unwrap_used)]

mod common;

use plimsoll_model::{OutcomeKind, Run};
use plimsoll_reports::merge::{MergeError, NodeHeader, merge, merge_nodes};
use plimsoll_reports::{
    badge, ctrf, diff, github, html, junit, markdown, openmetrics, tap, terminal, trend, verdict,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn annotations_stay_within_what_is_shown() {
    let lines = github::annotations(&common::sample());
    assert_eq!(
        lines[0].split("::").nth(1).unwrap(),
        "error title=fail oci-runtime/kill/stopped-is-error on runc"
    );
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("::warning title=pass oci-runtime/state/status-is-told on crun::"))
    );
    let many = github::annotations(&common::large(200, 2));
    assert_eq!(many.len(), 10);
    assert!(many[9].contains("and 31 more"), "{}", many[9]);
    for line in github::annotations(&common::hostile::run()) {
        assert!(!line.contains('\n') && !line.contains('\r'));
        assert!(line.starts_with("::error title=") || line.starts_with("::warning title="));
    }
}

#[test]
fn ctrf_counts_and_knows_no_other_keys() {
    for run in [common::sample(), common::hostile::run()] {
        let document: Value = serde_json::from_str(&ctrf::render(&run, None)).unwrap();
        assert_eq!(document["reportFormat"], "CTRF");
        let summary = &document["results"]["summary"];
        let sum: u64 = ["passed", "failed", "skipped", "pending", "other"]
            .map(|k| summary[k].as_u64().unwrap())
            .iter()
            .sum();
        assert_eq!(summary["tests"].as_u64().unwrap(), sum);
        assert_eq!(sum as usize, run.records.len());
        let allowed = [
            "name",
            "status",
            "rawStatus",
            "duration",
            "suite",
            "type",
            "filePath",
            "tags",
            "message",
            "trace",
            "retries",
            "flaky",
            "extra",
        ];
        for test in document["results"]["tests"].as_array().unwrap() {
            assert!(test.as_object().unwrap().keys().all(|k| allowed.contains(&k.as_str())), "{test}");
            assert!(test["duration"].is_u64() && !test["suite"].as_array().unwrap().is_empty());
        }
    }
    let one: Value = serde_json::from_str(&ctrf::render(&common::sample(), Some("crun"))).unwrap();
    assert_eq!(
        one["results"]["summary"],
        json!({"tests": 7, "passed": 3, "failed": 0, "skipped": 2, "pending": 1, "other": 1,
        "start": 1_795_514_400_000_u64, "stop": 1_795_514_401_234_u64})
    );
}

#[test]
fn openmetrics_is_well_formed() {
    for mut run in [common::sample(), common::hostile::run()] {
        run.benches.push(("bench".into(), common::bench("pass")));
        let text = openmetrics::render(&run);
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF\n").count() == 1);
        for line in text.lines() {
            let sample = || {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                value.parse::<f64>().is_ok() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            };
            assert!(line.starts_with("# ") || sample(), "{line}");
        }
        assert!(text.contains("plimsoll_bench{scenario=\"cold-start\",target=\"crun\",metric=\"start.entrypoint\",unit=\"ms\",quantile=\"0.5\"} 6.5"));
    }
}

#[test]
fn a_badge_is_small() {
    let badge: Value = serde_json::from_str(&badge::render(&common::sample())).unwrap();
    assert_eq!(
        badge,
        json!({"schemaVersion": 1, "label": "plimsoll", "message": "2 of 3 targets conform", "color": "orange"})
    );
}

/// The sample with one record's outcome replaced.
fn with(run: &Run, case: &str, target: &str, outcome: &Value) -> Run {
    let mut run = run.clone();
    let record = run.records.iter_mut().find(|r| r.case.as_str() == case && r.target == target).unwrap();
    record.outcome = serde_json::from_value(outcome.clone()).unwrap();
    run
}

#[test]
fn a_diff_names_each_change_once() {
    let old = common::sample();
    let fail = json!({"kind": "fail", "violations": [{"expected": "a", "actual": "b"}]});
    let mut new = with(&old, "oci-runtime/state/status-is-told", "runc", &fail);
    new = with(&new, "oci-runtime/kill/stopped-is-error", "crun", &json!({"kind": "pass"}));
    new = with(&new, "oci-runtime/cgroups/memory-max", "runc", &json!({"kind": "pass"}));
    new = with(&new, "oci-runtime/kill/stopped-is-error", "runc", &fail);
    let gone = new.header.plan.remove(1);
    new.records.retain(|r| r.case != gone.id);
    let diff = diff::compare(&old, &new);
    let names =
        |list: &[diff::Entry]| list.iter().map(|e| format!("{} {}", e.target, e.case)).collect::<Vec<_>>();
    assert_eq!(names(&diff.newly_failing), ["runc oci-runtime/state/status-is-told"]);
    assert_eq!(names(&diff.newly_passing), ["crun oci-runtime/kill/stopped-is-error"]);
    assert_eq!(names(&diff.changed), ["runc oci-runtime/cgroups/memory-max"]);
    assert_eq!(names(&diff.still_failing), ["runc oci-runtime/kill/stopped-is-error"]);
    assert_eq!(names(&diff.fails_differently), ["runc oci-runtime/kill/stopped-is-error"]);
    assert_eq!((diff.added.len(), diff.removed.len(), diff.unchanged), (0, 3, 14));
    assert!(diff.to_text().contains("pass → fail  runc  oci-runtime/state/status-is-told"));
    assert!(diff.to_markdown().contains("### newly failing (1)"));
    assert_eq!(serde_json::from_str::<Value>(&diff.to_json()).unwrap()["newly_failing"][0]["new"], "fail");
    assert!(diff::compare(&old, &old).is_empty());
    let back = diff::compare(&new, &old);
    assert_eq!((back.added.len(), back.removed.len()), (3, 0));
}

#[test]
fn one_target_each_is_compared_whatever_its_name() {
    let only = |label: &str, name: &str| {
        let mut run = common::sample();
        run.header.targets.retain(|t| t.label == label);
        run.records.retain(|r| r.target == label);
        run.header.targets[0].label = name.to_owned();
        run.records.iter_mut().for_each(|r| r.target = name.to_owned());
        run
    };
    let diff = diff::compare(&only("runc", "runc-1.1"), &only("ref-oci", "runc-1.2"));
    assert_eq!(diff.newly_passing.len(), 1);
    assert_eq!(diff.targets, [("runc-1.1".to_owned(), "runc-1.2".to_owned())]);
}

/// Cuts a run into shards by the position of its cases.
fn shards(run: &Run, kind: &str, assign: &[usize], of: usize) -> Vec<Run> {
    let shard = |index: usize| {
        let mut part = run.clone();
        let mine: Vec<_> = part
            .header
            .plan
            .iter()
            .zip(assign)
            .filter(|(_, a)| **a == index)
            .map(|(c, _)| c.clone())
            .collect();
        let keep = |r: &plimsoll_model::CaseRecord| mine.iter().any(|c| c.id == r.case);
        part.records.retain(keep);
        part.superseded.retain(keep);
        part.header.plan = mine;
        let name = format!("{kind}:{}/{of}", index + 1);
        part.header.command.extend(["--partition".to_owned(), name.clone()]);
        part.header.partition = Some(name);
        let counts = part.counts();
        let footer = part.footer.as_mut().unwrap();
        footer.planned = part.records.len() as u64;
        footer.counts = counts;
        part
    };
    (0..of).map(shard).collect()
}

/// The digest of a run's plan.
fn digest(run: &Run) -> String {
    use sha2::Digest as _;
    let ids: Vec<&str> = run.header.plan.iter().map(|c| c.id.as_str()).collect();
    sha2::Sha256::digest(ids.join("\n").as_bytes())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

/// A run in the canonical order: the plan sorted by case id.
fn canonical(mut run: Run) -> Run {
    run.header.plan.sort_by(|a, b| a.id.cmp(&b.id));
    run.settle().unwrap();
    run
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_shards_are_the_unsharded_run(of in 1_usize..6, seed in prop::collection::vec(0_usize..1000, 60), large in any::<bool>(),
        turn in 0_usize..6) {
        let whole = canonical(if large { common::large(60, 2) } else { common::sample() });
        let assign: Vec<usize> = seed.iter().map(|s| s % of).collect();
        let mut parts = shards(&whole, "hash", &assign, of);
        parts.rotate_left(turn % of);
        let merged = merge(parts).unwrap();
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(common::to_text(&merged), common::to_text(&whole));
    }

    #[test]
    fn merged_slices_keep_the_order_of_the_plan(of in 1_usize..6, cases in 1_usize..40, turn in 0_usize..6) {
        let mut whole = common::large(cases, 2);
        whole.header.plan.reverse();
        whole.header.plan_digest = digest(&whole);
        whole.settle().unwrap();
        let assign: Vec<usize> = (0..cases).map(|n| n % of).collect();
        let mut parts = shards(&whole, "slice", &assign, of);
        parts.rotate_left(turn % of);
        prop_assert_eq!(merge(parts).unwrap(), whole);
    }

    /// Whatever the cut: shards that name the places of their cases give back the plan, in its order.
    #[test]
    fn merged_shards_keep_the_order_of_the_plan(of in 1_usize..6, seed in prop::collection::vec(0_usize..1000, 40),
        order in any::<u64>()) {
        let mut whole = common::large(40, 2);
        // Any order but that of the ids.
        whole.header.plan.sort_by_key(|c| {
            c.id.as_str().bytes().fold(order, |sum, b| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(b))
        });
        whole.header.plan_digest = digest(&whole);
        whole.settle().unwrap();
        let assign: Vec<usize> = seed.iter().map(|s| s % of).collect();
        let mut parts = shards(&whole, "balanced-ab", &assign, of);
        for (index, part) in parts.iter_mut().enumerate() {
            part.header.places = (0..40).filter(|i| assign[*i as usize] == index).collect();
        }
        prop_assert_eq!(merge(parts).unwrap(), whole);
    }

    #[test]
    fn what_is_read_back_renders_the_same(seed in 0_usize..4) {
        let live = match seed {
            0 => common::sample(),
            1 => common::large(30, 3),
            2 => { let mut r = common::sample(); r.footer = None; r }
            _ => { let mut r = common::sample(); r.benches.push(("bench".into(), common::bench("pass"))); r }
        };
        let again = Run::parse(&common::to_text(&live)).unwrap();
        prop_assert_eq!(tap::render(&live), tap::render(&again));
        prop_assert_eq!(markdown::summary(&live), markdown::summary(&again));
        prop_assert_eq!(terminal::summary(&live), terminal::summary(&again));
        prop_assert_eq!(ctrf::render(&live, None), ctrf::render(&again, None));
        prop_assert_eq!(openmetrics::render(&live), openmetrics::render(&again));
        prop_assert_eq!(junit::render(&live, &junit::Options::default()), junit::render(&again, &junit::Options::default()));
        prop_assert_eq!(html::render(&live, &html::Options::default()), html::render(&again, &html::Options::default()));
    }
}

#[test]
fn a_merge_refuses_what_does_not_belong_together() {
    let whole = canonical(common::sample());
    let assign = [0, 1, 2, 0, 1, 2, 0];
    let parts = shards(&whole, "slice", &assign, 3);
    let refused = |runs: Vec<Run>| merge(runs).unwrap_err();
    assert_eq!(refused(vec![]), MergeError::Nothing);
    assert_eq!(refused(parts[..2].to_vec()), MergeError::MissingShard("slice:3/3".into()));
    let mut twice = parts.clone();
    twice.push(parts[1].clone());
    assert_eq!(refused(twice), MergeError::DoubleShard("slice:2/3".into()));
    let mut overlap = parts.clone();
    overlap[1].records.push(parts[0].records[0].clone());
    assert!(matches!(refused(overlap), MergeError::Overlap { .. }));
    let mut cut = parts.clone();
    cut[2].footer = None;
    assert!(matches!(refused(cut), MergeError::Incomplete { run: 3, .. }));
    let mut other = parts.clone();
    other[1].header.plan_digest = "else".into();
    assert!(matches!(refused(other), MergeError::OtherPlan { run: 2, .. }));
    let mut mixed = parts.clone();
    mixed[1].header.partition = Some("hash:2/3".into());
    assert!(matches!(refused(mixed), MergeError::OtherPartition { run: 2, .. }));
    let mut program = parts.clone();
    program[1].header.targets[0].sha256 = Some("else".into());
    assert!(matches!(refused(program), MergeError::OtherTarget { .. }));
    let whole_and_part = vec![whole, parts[0].clone()];
    assert!(matches!(refused(whole_and_part), MergeError::OtherPartition { run: 2, .. }));
}

#[test]
fn nodes_stand_side_by_side() {
    let node = |name: &str| {
        let mut run = canonical(common::sample());
        run.header.host.facts.insert("hostname".into(), name.into());
        run
    };
    let merged = merge(vec![node("a"), node("b")]).unwrap();
    let labels: Vec<&str> = merged.header.targets.iter().map(|t| t.label.as_str()).collect();
    assert_eq!(labels, ["runc@a", "crun@a", "ref-oci@a", "runc@b", "crun@b", "ref-oci@b"]);
    assert_eq!(merged.records.len(), 42);
    assert_eq!(common::count(&merged, OutcomeKind::Fail), 4);
    // The merged run is a run file like any other.
    assert_eq!(Run::parse(&common::to_text(&merged)).unwrap(), merged);
    let assign = [0, 1, 0, 1, 0, 1, 0];
    let mut parts = shards(&node("a"), "slice", &assign, 2);
    parts.extend(shards(&node("b"), "slice", &assign, 2));
    assert_eq!(merge(parts).unwrap(), merged);
    // Read one at a time it is the same run.
    let nodes = [node("a"), node("b")];
    let headers: Vec<_> = nodes
        .iter()
        .map(|n| {
            let line = common::to_text(n).lines().next().unwrap().to_owned();
            NodeHeader::read(line.as_bytes()).unwrap()
        })
        .collect();
    assert_eq!(headers[1].node.as_deref(), Some("b"));
    assert!(NodeHeader::read(b"{\"event\":\"footer\"}").is_err());
    let streamed: Result<Run, MergeError> = merge_nodes(&headers, |i| Ok(nodes[i].clone()));
    assert_eq!(streamed.unwrap(), merged);
    let table = plimsoll_reports::nodes::table(&merged);
    assert_eq!(table.lines().count(), 7, "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with("a  "), "{table}");
    assert!(html::render(&merged, &html::Options::default()).contains("id=\"nodes\""));
    assert!(plimsoll_reports::nodes::rows(&common::sample()).is_empty());
    // Shards of one plan on two machines are one run.
    let mut parts = shards(&node("a"), "slice", &assign, 2);
    parts[1].header.host.facts.insert("hostname".into(), "b".into());
    assert_eq!(merge(parts).unwrap().header.targets.len(), 3);
}

#[test]
fn a_trend_lines_runs_up() {
    let old = common::sample();
    let fail = json!({"kind": "fail", "violations": [{"expected": "a", "actual": "b"}]});
    let mut new = with(&old, "oci-runtime/state/status-is-told", "ref-oci", &fail);
    new.header.started_at = "2026-11-25T10:00:00Z".into();
    let trend = trend::trend(&[new, old]);
    let last = trend.points.last().unwrap();
    assert_eq!((last.target.as_str(), last.must_passed, last.newly_failing), ("ref-oci", 4, 1));
    assert_eq!(trend.points.len(), 6);
    assert!(trend.to_text().lines().nth(1).unwrap().starts_with("2026-11-24T10:00:00Z  runc 1.1.5+ds1"));
    assert_eq!(trend.to_markdown().lines().count(), 8);
}

#[test]
fn the_gate_reads_benchmarks() {
    use plimsoll_model::ExitCode;
    for (verdict, code) in [
        ("pass", ExitCode::Success),
        ("warn", ExitCode::Success),
        ("fail", ExitCode::Regression),
        ("inconclusive", ExitCode::CannotTell),
    ] {
        let mut run = common::sample();
        run.records.clear();
        run.header.plan.clear();
        run.benches.push(("bench".into(), common::bench(verdict)));
        assert_eq!(verdict::gate(&run, false, &[]), code, "{verdict}");
    }
}
