//! The benchmark's own test: known defects are injected, and each must show in its own metric and no other.
//!
//! This is mutation testing of the benchmark. A row passes when every metric that must alarm does, and
//! none alarms that neither must nor may (a CPU burn also takes time, so wall time *may* alarm with it).

use crate::error::BenchError;
use crate::inject::{INJECT, Injection, RUNTIME, SCRATCH};
use crate::metric::Profile;
use crate::plan::{BenchPlan, LoadPlan, OciTarget, Target};
use crate::result::BenchRun;
use crate::{Progress, run};
use plimsoll_bench_stats::gate::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// What to test with.
#[derive(Debug, Clone)]
pub struct SelftestPlan {
    /// A runtime that works; it is wrapped.
    pub runtime: OciTarget,
    /// The program that becomes the wrapper when [`INJECT`] is set (see [`crate::inject::wrapper_main`]).
    pub wrapper: PathBuf,
    /// The guest.
    pub guest: PathBuf,
    /// Where private directories are made.
    pub work_dir: PathBuf,
    /// Seed.
    pub seed: u64,
    /// Longest time for one row.
    pub budget: Duration,
    /// Only rows whose name contains this.
    pub only: Option<String>,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    scenario: &'static str,
    /// What the baseline carries, mostly nothing.
    baseline: Injection,
    injection: Injection,
    must: &'static [&'static str],
    may: &'static [&'static str],
    /// Pairs that are taken in any case: a tail needs more of them than a median.
    pairs: u64,
}

/// A row with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowResult {
    /// The injection and its amount.
    pub name: String,
    /// The scenario it ran in.
    pub scenario: String,
    /// What alarmed.
    pub alarms: BTreeSet<String>,
    /// What had to and did not.
    pub missed: BTreeSet<String>,
    /// What must not have and did.
    pub wrong: BTreeSet<String>,
    /// What could not be decided.
    pub undecided: BTreeSet<String>,
}

impl RowResult {
    /// Whether the row is as it must be.
    pub fn passed(&self) -> bool {
        self.missed.is_empty() && self.wrong.is_empty()
    }

    /// Whether the host was too loud: nothing alarmed wrongly, and what was missed is what the gate itself
    /// says it could not decide.
    pub fn undecided(&self) -> bool {
        !self.passed() && self.wrong.is_empty() && self.missed.is_subset(&self.undecided)
    }

    /// The row's result in words.
    pub fn word(&self) -> &'static str {
        match (self.passed(), self.undecided()) {
            (true, _) => "ok",
            (false, true) => "cannot tell",
            (false, false) => "NOT OK",
        }
    }
}

const fn row(
    name: &'static str,
    scenario: &'static str,
    injection: Injection,
    must: &'static [&'static str],
    may: &'static [&'static str],
) -> Row {
    Row { name, scenario, baseline: Injection::None, injection, must, may, pairs: 10 }
}

/// Wall metrics of a cold start that anything slowing `create` may move.
const WALL: &[&str] = &["start.entrypoint", "lifecycle.wall", "tail:start.entrypoint", "tail:lifecycle.wall"];

/// The table. Amounts are for a runtime whose `create` takes some ten milliseconds.
const ROWS: &[Row] = &[
    row("nothing, cold start", "cold-start", Injection::None, &[], &[]),
    row("nothing, throughput", "throughput", Injection::None, &[], &[]),
    row("nothing, churn", "churn", Injection::None, &[], &[]),
    row("nothing, density", "density", Injection::None, &[], &[]),
    row(
        "CPU burn in create",
        "cold-start",
        Injection::Cpu(5_000),
        &["cpu.lifecycle"],
        &[
            "start.entrypoint",
            "lifecycle.wall",
            "tail:start.entrypoint",
            "tail:lifecycle.wall",
            "tail:cpu.lifecycle",
        ],
    ),
    Row {
        // A sleep cools the caches and so costs some CPU time by itself: both arms sleep, one longer.
        baseline: Injection::Sleep(20_000),
        ..row(
            "sleep in create",
            "cold-start",
            Injection::Sleep(60_000),
            &["start.entrypoint", "lifecycle.wall"],
            WALL,
        )
    },
    row(
        "page faults in create",
        "cold-start",
        Injection::Faults(400),
        &["faults.minor"],
        &["cpu.lifecycle", "start.entrypoint", "lifecycle.wall"],
    ),
    Row {
        pairs: 250,
        ..row(
            "one slow create in twenty",
            "cold-start",
            Injection::Tail(600_000),
            &["tail:start.entrypoint"],
            &["tail:lifecycle.wall"],
        )
    },
    row(
        "slow delete",
        "cold-start",
        Injection::SlowDelete(8_000),
        &["phase.delete"],
        &["lifecycle.wall", "tail:phase.delete"],
    ),
    row("one create in five fails", "cold-start", Injection::Fail(5), &["failures"], &[]),
    row("start answers a wrong exit code", "cold-start", Injection::ExitCode, &["failures"], &[]),
    Row {
        baseline: Injection::SlowExec(20_000),
        ..row(
            "slow exec",
            "exec",
            Injection::SlowExec(60_000),
            &["exec.entrypoint"],
            &["tail:exec.entrypoint"],
        )
    },
    Row {
        baseline: Injection::SlowKill(20_000),
        ..row("slow kill", "stop", Injection::SlowKill(60_000), &["stop.latency"], &["tail:stop.latency"])
    },
    Row {
        baseline: Injection::Sleep(8_000),
        ..row("one lock for all containers", "throughput", Injection::Lock(8_000), &["throughput.k4"], &[])
    },
    row("list scans all containers", "density", Injection::Scan(300), &["density.list"], &[]),
    row("file left per cycle", "churn", Injection::LeakFile, &["churn.files"], &[]),
    row("64 KiB left per cycle", "churn", Injection::LeakBytes, &["churn.kib"], &[]),
    row("cgroup left per cycle", "churn", Injection::LeakCgroup, &["churn.cgroups"], &[]),
    row("mount left per cycle", "churn", Injection::LeakMount, &["churn.mounts"], &[]),
    row("process left per cycle", "churn", Injection::LeakProcess, &["churn.processes"], &[]),
];

/// Runs all rows.
pub fn run_all(
    plan: &SelftestPlan,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<RowResult>, BenchError> {
    let mut out = Vec::new();
    for row in ROWS.iter().filter(|r| plan.only.as_ref().is_none_or(|o| r.name.contains(o.as_str()))) {
        progress(Progress::Note(row.name.to_owned()));
        let scratch = tempfile::Builder::new()
            .prefix("plimsoll-inject-")
            .tempdir_in(&plan.work_dir)
            .map_err(BenchError::file("make a private directory in", &plan.work_dir))?;
        let target = |name: &str, injection: Injection| {
            let dir = scratch.path().join(name);
            std::fs::create_dir_all(&dir).map_err(BenchError::file("make", &dir))?;
            let mut target = plan.runtime.clone();
            target.env.extend([
                (INJECT.to_owned(), injection.text()),
                (RUNTIME.to_owned(), plan.runtime.program.display().to_string()),
                (SCRATCH.to_owned(), dir.display().to_string()),
            ]);
            let name = name.to_owned();
            Ok::<_, BenchError>(Target::Oci(OciTarget { name, program: plan.wrapper.clone(), ..target }))
        };
        let targets = vec![target("plain", row.baseline)?, target("injected", row.injection)?];
        let mut bench = BenchPlan::new(targets, vec![row.scenario.to_owned()], plan.guest.clone());
        bench.work_dir.clone_from(&plan.work_dir);
        bench.seed = plan.seed;
        bench.budget = plan.budget;
        bench.floor = false;
        bench.profile = profile(row.pairs);
        bench.load = LoadPlan {
            workers: vec![1, 4],
            level: Duration::from_secs(5),
            density: 30,
            churn: (5, 6),
            ..LoadPlan::default()
        };
        let result = run(&bench, progress)?;
        let judged = judge(row, &result);
        progress(Progress::Note(format!("{}: {}: {:?}", row.name, judged.word(), judged.alarms)));
        out.push(judged);
    }
    Ok(out)
}

/// The release profile with room for more pairs: the self-test wants decisions.
fn profile(pairs: u64) -> Profile {
    let mut profile = Profile::named("release").unwrap_or_else(|| unreachable!("a built-in profile"));
    profile.wall.n_max = 600;
    profile.cpu.n_max = 600;
    profile.wall.n_min = pairs;
    profile.cpu.n_min = pairs;
    profile
}

/// Everything that alarmed in a run with one candidate.
fn alarms(run: &BenchRun) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut alarms = BTreeSet::new();
    let mut undecided = BTreeSet::new();
    for scenario in &run.scenarios {
        for c in &scenario.comparisons {
            if c.failures.rejects(run.profile.fdr) {
                alarms.insert("failures".to_owned());
            }
            for m in &c.metrics {
                match m.report.verdict {
                    Verdict::Fail => drop(alarms.insert(m.metric.clone())),
                    Verdict::Inconclusive => drop(undecided.insert(m.metric.clone())),
                    Verdict::Pass | Verdict::Warn => {}
                }
                if m.tail_alarm {
                    alarms.insert(format!("tail:{}", m.metric));
                }
            }
        }
        alarms.extend(scenario.curves.iter().filter(|c| c.alarm).map(|c| c.name.clone()));
    }
    (alarms, undecided)
}

fn judge(row: &Row, run: &BenchRun) -> RowResult {
    let (alarms, undecided) = alarms(run);
    let must: BTreeSet<String> = row.must.iter().map(|s| (*s).to_owned()).collect();
    RowResult {
        name: row.name.to_owned(),
        scenario: row.scenario.to_owned(),
        missed: must.difference(&alarms).cloned().collect(),
        wrong: alarms
            .iter()
            .filter(|a| !must.contains(*a) && !row.may.contains(&a.as_str()))
            .cloned()
            .collect(),
        alarms,
        undecided,
    }
}

/// The table in Markdown, with the score in the last line.
pub fn markdown(rows: &[RowResult]) -> String {
    let list = |set: &BTreeSet<String>| {
        if set.is_empty() { "-".to_owned() } else { set.iter().cloned().collect::<Vec<_>>().join(", ") }
    };
    let mut out =
        String::from("| injected | scenario | alarmed | missed | wrong | row |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.name,
            row.scenario,
            list(&row.alarms),
            list(&row.missed),
            list(&row.wrong),
            row.word()
        );
    }
    let passed = rows.iter().filter(|r| r.passed()).count();
    let _ = writeln!(out, "\nScore: {passed} of {} rows as expected.", rows.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metric, scenario};

    #[test]
    fn rows_name_things_that_exist() {
        let dynamic = ["failures", "throughput.k4", "density.list", "churn."];
        for row in ROWS {
            assert!(scenario::find(row.scenario).is_some(), "{}", row.name);
            for name in row.must.iter().chain(row.may) {
                let plain = name.trim_start_matches("tail:");
                let known = metric::find(plain).is_some() || dynamic.iter().any(|d| plain.starts_with(d));
                assert!(known, "{name} in {}", row.name);
            }
        }
    }

    #[test]
    fn a_row_misses_and_errs_separately() {
        let run = crate::export::tests::sample_run();
        let cpu = row("x", "cold-start", Injection::None, &["cpu.lifecycle"], &[]);
        let judged = judge(&cpu, &run);
        assert!(judged.passed(), "{judged:?}");
        let other = row("x", "cold-start", Injection::None, &["phase.delete"], &[]);
        let judged = judge(&other, &run);
        assert_eq!(judged.word(), "NOT OK");
        assert!(judged.missed.contains("phase.delete") && judged.wrong.contains("cpu.lifecycle"));
        assert!(markdown(std::slice::from_ref(&judged)).contains("Score: 0 of 1"));
        let loud = RowResult { wrong: BTreeSet::new(), undecided: judged.missed.clone(), ..judged };
        assert_eq!(loud.word(), "cannot tell");
    }
}
