//! `plimsoll doctor`: what this host and these targets can and cannot show, before anything runs.

use crate::args::Global;
use crate::output;
use crate::run::{self, TOOL};
use crate::suites;
use crate::usage::Failure;
use plimsoll_engine::doctor::{Finding, Grade};
use plimsoll_engine::{Filter, Profile, RunOptions, Selection, doctor};
use plimsoll_kit::job::Limits;
use plimsoll_model::{ExitCode, Expectations, HostFacts, TargetInfo};
use serde_json::json;
use std::fmt::Write as _;

/// `plimsoll doctor`.
pub fn verb(global: &Global, targets: &[String], json: bool) -> Result<ExitCode, Failure> {
    let (facts, findings) = doctor::examine(&global.work_dir);
    let broken = findings.iter().any(|f| f.grade == Grade::Broken);
    let specs = run::targets(targets)?;
    // Where nothing can run, a target cannot be asked either.
    let asked = if broken || specs.is_empty() { Vec::new() } else { ask(global, targets, &facts)? };
    if json {
        let document = json!({ "host": facts, "findings": findings, "targets": asked });
        output::line(&document.to_string());
    } else {
        output::data(&output::painted(&told(&facts, &findings, &asked)));
    }
    let unfit = asked.iter().any(|t| t.unfit.is_some());
    Ok(if broken || unfit { ExitCode::Trouble } else { ExitCode::Success })
}

/// Asks each target what it is, makes it run one container and refuse another: a run without any case.
fn ask(global: &Global, targets: &[String], host: &HostFacts) -> Result<Vec<TargetInfo>, Failure> {
    let nothing = Filter::Not(Box::new(Filter::All));
    let options = RunOptions {
        targets: run::targets(targets)?,
        suites: suites::ALL.to_vec(),
        selection: Selection { profile: Profile::Smoke, filters: vec![nothing], partition: None },
        filters: vec!["not all()".to_owned()],
        jobs: 1,
        limits: Limits::default(),
        seed: run::fresh_seed(),
        retries: 0,
        max_fail: 0,
        keep: None,
        work_root: global.work_dir.clone(),
        expectations: Expectations::default(),
        strict: false,
        command: vec!["doctor".to_owned()],
        challenge: None,
        tool: TOOL.to_owned(),
        between: None,
        bundled: run::bundled()?,
        host: host.clone(),
    };
    let finished = plimsoll_engine::run(&options, &mut |_| {}, &|_, _| 0)?;
    Ok(finished.run.header.targets)
}

fn told(facts: &HostFacts, findings: &[Finding], targets: &[TargetInfo]) -> String {
    let mut out = format!("{} · {} {} · {} cpus\n", facts.os, facts.kernel, facts.machine, facts.cpus);
    let mut line = |glyph: char, topic: &str, found: &str, fix: &str| {
        let _ = writeln!(out, "{glyph} {topic:<18} {found}");
        if !fix.is_empty() {
            let _ = writeln!(out, "    {fix}");
        }
    };
    for f in findings {
        let glyph = match f.grade {
            Grade::Fine => '✓',
            Grade::Limited => '!',
            Grade::Broken => '✗',
        };
        line(glyph, f.topic, &f.found, &f.fix);
    }
    for target in targets {
        let declares = match (&target.spec_version, &target.features) {
            (Some(version), Some(_)) => format!("declares {version} in its features document"),
            (Some(version), None) => format!("declares {version}, has no features document"),
            (None, _) => "declares no version of the specification".to_owned(),
        };
        let name = format!("target {}", target.label);
        match &target.unfit {
            Some(why) => line('✗', &name, why, "no case can run on it until this is mended"),
            None => line('✓', &name, &format!("{}, {declares}", target.version), ""),
        }
    }
    plimsoll_reports::text::printable(&out)
}
