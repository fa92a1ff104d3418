//! Tests of the renderings on a small made-up run.

use super::*;
use crate::environment::{Key, Noise};
use crate::judge::{Judge, conclude};
use crate::metric::{Profile, Unit};
use crate::plan::{CgroupView, LoadPlan, OciTarget, Target};
use crate::result::{ArmResult, Curve, ScenarioResult, Series, TargetInfo};
use crate::slot::{Failure, Sample};
use plimsoll_bench_stats::describe;
use plimsoll_bench_stats::gate::{Direction, Verdict};

/// Two targets, the second a third slower, one failure, one throughput curve; names that need escaping.
pub fn sample_run() -> BenchRun {
    let names = ["a|b", "c\"d,e"];
    let profile = Profile::named("release").unwrap();
    let mut judge =
        Judge::new((names[0], names[1]), false, &["cpu.lifecycle"], &profile, 1, 0, None).unwrap();
    let mut values = [Vec::new(), Vec::new()];
    for i in 0..30_u32 {
        let weather = 1.0 + f64::from(i % 7) / 10.0;
        let mut pair = [10.0 * weather, 13.0 * weather].map(|v| {
            let mut s = Sample::default();
            s.set("cpu.lifecycle", v);
            Ok(s)
        });
        if i == 3 {
            pair[1] = Err(Failure::new("create", "exit code 1: <no>"));
        }
        judge.push(&pair[0], &pair[1]);
        for (list, outcome) in values.iter_mut().zip(&pair) {
            list.push(outcome.as_ref().ok().and_then(|s| s.get("cpu.lifecycle")));
        }
    }
    let mut comparison = judge.finish().unwrap();
    conclude(&mut [&mut comparison], 0.01).unwrap();
    let arms = names.iter().zip(values).map(|(name, samples)| arm(name, samples)).collect();
    let curve = Curve {
        target: names[0].into(),
        name: "throughput.closed".into(),
        x: "workers".into(),
        y: "containers/s".into(),
        points: vec![(1.0, 100.0), (2.0, 180.0)],
        usl: None,
        slope: None,
        says: "at most 180/s".into(),
        alarm: false,
    };
    let quiet = Noise { load: 0.5, cpu_pressure: None, io_pressure: None, steal: 0 };
    BenchRun {
        schema: SCHEMA.into(),
        started_unix: 0,
        seconds: 1.5,
        seed: 7,
        replay: Some("bench --seed 7".into()),
        key: Key { fields: [("kernel".to_owned(), "6".to_owned())].into() },
        noise: (quiet.clone(), quiet),
        profile,
        load: LoadPlan::default(),
        targets: names.iter().map(|n| info(n)).collect(),
        scenarios: vec![ScenarioResult {
            name: "cold-start".into(),
            title: "Cold start".into(),
            blocks: 30,
            arms,
            comparisons: vec![comparison],
            curves: vec![curve],
            closures: vec![],
            cut_short: None,
        }],
        void: None,
        drifts: vec![],
        notes: vec![],
    }
}

fn info(name: &str) -> TargetInfo {
    TargetInfo {
        target: Target::Oci(OciTarget {
            name: name.into(),
            program: "/bin/true".into(),
            args: vec![],
            env: vec![],
            cgroups: CgroupView::Host,
        }),
        version: "1".into(),
        digest: "00".into(),
        bytes: 1,
        guest_clock: true,
    }
}

fn arm(name: &str, samples: Vec<Option<f64>>) -> ArmResult {
    let present: Vec<f64> = samples.iter().flatten().copied().collect();
    let failed = (samples.len() - present.len()) as u64;
    ArmResult {
        target: name.into(),
        attempts: samples.len() as u64,
        failures: (0..failed).map(|b| (b, Failure::new("create", "exit code 1: <no>"))).collect(),
        failed,
        series: vec![Series {
            metric: "cpu.lifecycle".into(),
            unit: Unit::Milliseconds,
            direction: Direction::SmallerIsBetter,
            summary: describe::summary(&present).ok(),
            outliers: None,
            samples,
        }],
    }
}

#[test]
fn json_comes_back_equal_and_other_formats_are_named() {
    let run = sample_run();
    let text = json(&run).unwrap();
    assert_eq!(read(text.as_bytes()).unwrap(), run);
    let other = text.replace(SCHEMA, "plimsoll-bench/9");
    assert!(matches!(read(other.as_bytes()), Err(ReadError::Schema(s)) if s == "plimsoll-bench/9"));
    assert!(matches!(read(b"{}"), Err(ReadError::Shape(_))));
    assert!(matches!(read(b"nonsense"), Err(ReadError::Shape(_))));
}

#[test]
fn the_run_fails_and_every_rendering_says_so() {
    let run = sample_run();
    assert_eq!(run.verdict(), Some(Verdict::Fail));
    let said = text(&run);
    assert!(said.contains("FAIL") && said.contains("+30.0 %") && said.contains("first failure"), "{said}");
    let said = markdown(&run);
    assert!(said.contains("**FAIL**") && said.contains("+30.0 %"), "{said}");
    assert!(said.contains("a\\|b") && said.contains("&lt;no>"), "cells are escaped: {said}");
}

#[test]
fn csv_has_a_line_per_sample_and_point_and_quotes() {
    let text = csv(&sample_run());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 30 + 29 + 2);
    assert!(lines[40].starts_with("cold-start,\"c\"\"d,e\",cpu.lifecycle,ms,"), "{}", lines[40]);
    assert!(lines.iter().skip(1).all(|l| l.rsplit(',').next().unwrap().parse::<f64>().is_ok()));
    assert_eq!(machine::field("=cmd"), "'=cmd");
}

#[test]
fn bencher_has_values_with_bounds() {
    let value = bencher(&sample_run());
    let measure = &value["cold-start/a|b"]["cpu.lifecycle"];
    let (low, mid, high) = (&measure["lower_value"], &measure["value"], &measure["upper_value"]);
    assert!(low.as_f64() <= mid.as_f64() && mid.as_f64() <= high.as_f64() && low.is_number());
    assert_eq!(value["cold-start/a|b"]["throughput.closed"]["value"], 180.0);
}

#[test]
fn action_files_are_split_by_direction() {
    let files = github_action(&sample_run());
    assert_eq!(files.smaller_is_better.as_array().unwrap().len(), 2);
    assert_eq!(files.bigger_is_better.as_array().unwrap().len(), 1);
    for entry in files.smaller_is_better.as_array().unwrap() {
        assert!(entry["name"].is_string() && entry["unit"] == "ms" && entry["value"].is_number());
    }
}

#[test]
fn open_metrics_is_grouped_in_base_units_and_ended() {
    let text = open_metrics(&sample_run());
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text.matches("# TYPE plimsoll_bench_cpu_lifecycle_seconds summary").count(), 1);
    let line = text.lines().find(|l| l.contains("a|b") && l.contains("0.5")).unwrap();
    let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((0.01..0.017).contains(&value), "{line}");
    assert!(text.contains("target=\"c\\\"d,e\""), "{text}");
    assert!(text.contains("plimsoll_bench_failures{scenario=\"cold-start\",target=\"c\\\"d,e\"} 1"));
}

#[test]
fn a_worse_ratio_than_in_an_earlier_run_is_told() {
    use crate::history::against;
    let now = sample_run();
    let drifts = against(&now, &now).unwrap();
    assert!(!drifts.is_empty() && drifts.iter().all(|d| !d.worse), "a run is no worse than itself");
    let mut then = now.clone();
    for m in &mut then.scenarios[0].comparisons[0].metrics {
        m.report.ratio = Some(0.5);
        m.report.interval.low = Some(0.45);
        m.report.interval.high = Some(0.55);
    }
    let mut now = now;
    now.drifts = against(&then, &now).unwrap();
    assert!(now.drifts[0].worse);
    assert_eq!(now.verdict(), Some(Verdict::Fail));
    assert!(text(&now).contains("WORSE than"));
    then.key.fields.insert("kernel".into(), "other".into());
    then.targets[0].digest = "11".into();
    let refused = against(&then, &now).unwrap_err().to_string();
    assert!(refused.contains("kernel") && refused.contains("baseline target"), "{refused}");
}
