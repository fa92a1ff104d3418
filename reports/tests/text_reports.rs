//! The reports that are text: TAP, Markdown, terminal, the verdict and the coverage table.

// Helpers of tests end the test where they cannot go on, and say why they skip.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use plimsoll_model::{ExitCode, Judgement, OutcomeKind, Run};
use plimsoll_reports::{coverage, embargo, html, junit, markdown, tap, terminal, verdict};

#[test]
fn the_gate_follows_the_judgements() {
    let run = common::sample();
    assert_eq!(verdict::gate(&run, false, &[]), ExitCode::GateClosed);
    let mut calm = run.clone();
    calm.records.retain(|r| r.target == "ref-oci");
    calm.header.targets.retain(|t| t.label == "ref-oci");
    assert_eq!(verdict::gate(&calm, false, &[]), ExitCode::Success);
    // The retried case is flaky, which closes only a strict gate.
    assert_eq!(verdict::gate(&calm, true, &[]), ExitCode::GateClosed);
    assert_eq!(verdict::gate(&calm, false, &["entry 3".into()]), ExitCode::StaleExpectations);
    let mut lost = calm.clone();
    lost.records.pop();
    assert_eq!(verdict::gate(&lost, false, &[]), ExitCode::Trouble);
    let mut nothing = calm.clone();
    nothing.records.retain(|r| r.outcome.kind() == OutcomeKind::Skip);
    let skipped = nothing.records.clone();
    nothing.header.plan.retain(|c| skipped.iter().any(|r| r.case == c.id));
    assert_eq!(verdict::gate(&nothing, false, &[]), ExitCode::NothingRan);
    let mut slower = calm.clone();
    slower.benches.push(("cold-start".into(), common::bench("fail")));
    assert_eq!(verdict::gate(&slower, false, &[]), ExitCode::Regression);
    let mut unfit = calm;
    unfit.header.targets[0].unfit = Some("no such file".into());
    assert_eq!(verdict::gate(&unfit, false, &[]), ExitCode::Trouble);
}

#[test]
fn the_sentence_has_the_numbers() {
    assert_eq!(
        verdict::sentence(&common::sample()),
        "runc 1.1.5+ds1: 4/5 MUST pass, 1 fail, 1 warn, 1 skip; \
         crun 1.8.1: 2/3 MUST pass, 1 fail (1 known), 1 error, 1 n/a, 1 not run, 1 fixed; \
         ref-oci 0.1.0: 5/5 MUST pass, 1 skip, 1 flaky; gate closed. \
         7 cases cover 3 of 4 MUST requirements (75 %)."
    );
}

#[test]
fn a_failure_counts_as_an_obligation_whatever_the_case_set_out_to_show() {
    let mut run = common::sample();
    for case in &mut run.header.plan {
        case.severity = plimsoll_model::Severity::Warn;
    }
    let rows = verdict::tallies(&run);
    assert_eq!((rows[0].must_passed, rows[0].must_decided), (0, 1));
}

#[test]
fn the_failure_block_reads_as_designed() {
    let run = common::sample();
    let failed = run.records.iter().find(|r| r.outcome.kind() == OutcomeKind::Fail).unwrap();
    let want = "\
✗ fail  oci-runtime/kill/stopped-is-error                  runc 1.1.5+ds1 · attempt 1/1 · 87 ms
        Signalling a stopped container is an error and leaves its state unchanged.
  MUST      runtime.kill.stopped-errors  runtime.md#kill (since 1.0.0)
            A signal to a container that is neither created nor running is an error and has no effect.
  expected  exit status ≠ 0
  actual    exit 0, stderr empty
  commands  crun --root W/root create --bundle W/bundle C1  → exit 0 (31 ms)
            crun --root W/root kill C1 TERM  → exit 0 (6.1 ms)
  stderr    container C1 <is> not running & gone
  hint: rerun with `plimsoll run -t oci:/usr/sbin/runc --case oci-runtime/kill/stopped-is-error --keep`
";
    assert_eq!(terminal::failure_block(failed, &run.header, 1), want);
}

#[test]
fn tap_counts_and_escapes() {
    let run = common::sample();
    let text = tap::render(&run);
    assert!(text.starts_with("TAP version 14\n1..21\n"), "{text}");
    let points = text.lines().filter(|l| l.starts_with("ok ") || l.starts_with("not ok ")).count();
    assert_eq!(points, 21);
    assert!(text.contains("# TODO https://example.org/issues/7"));
    assert!(text.contains("# SKIP cgroup-v2: no memory controller"));
    assert!(!text.contains("Bail out!"));
    let hostile = tap::render(&common::hostile::run());
    let n = common::hostile::strings().len() * 2;
    for (i, line) in hostile.lines().skip(1).enumerate() {
        let known = line.starts_with("ok ")
            || line.starts_with("not ok ")
            || line.starts_with("  ")
            || line.starts_with("1..");
        assert!(known, "line {i}: {line}");
    }
    let points = hostile.lines().filter(|l| l.starts_with("ok ") || l.starts_with("not ok ")).count();
    assert_eq!(points, n);
}

#[test]
fn nothing_on_a_terminal_can_move_the_cursor() {
    let run = common::hostile::run();
    let mut all = terminal::summary(&run);
    for record in &run.records {
        all.push_str(&terminal::failure_block(record, &run.header, 1));
    }
    assert!(all.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
    assert!(!all.contains('\u{202e}'));
}

#[test]
fn markdown_stays_in_its_budget_and_inert() {
    let text = markdown::summary(&common::sample());
    assert!(text.starts_with("## Plimsoll\n\n**runc 1.1.5+ds1: 4/5 MUST pass"), "{text}");
    assert!(text.contains("### Unexpected failures (1)"));
    for run in [common::large(2000, 6), common::hostile::run()] {
        let text = markdown::summary(&run);
        assert!(text.len() <= markdown::BUDGET_BYTES, "{}", text.len());
        assert!(text.contains("more; the HTML report lists all."));
    }
    let fence = markdown::fenced("a\n````\nb");
    assert!(fence.starts_with("`````text\n") && fence.ends_with("\n`````\n"));
    assert_eq!(markdown::escape("<b>|`@x"), "&lt;b&gt;\\|\\`&#64;x");
}

#[test]
fn coverage_adds_up() {
    let run = common::sample();
    let c = coverage::coverage(&run.header.requirements, &run.header.plan, &run.header.waivers);
    assert_eq!((c.total.statements, c.total.tested, c.total.waived, c.total.open), (7, 5, 1, 1));
    assert_eq!((c.must.statements, c.must.tested, c.must.waived, c.must.open), (5, 3, 1, 1));
    assert_eq!(c.rows.iter().map(|r| r.counts.statements).sum::<usize>(), 7);
    assert_eq!(c.open[0].id, "config.root.open");
    assert_eq!(c.specs(), [("oci-runtime".to_owned(), c.total)]);
    assert!(c.unknown.is_empty() && c.stale_waivers.is_empty());
    assert!(
        c.to_text().contains("MUST NOT         config.root.open  config.md#root  Nobody tests this one yet.")
    );
    assert!(c.to_markdown().contains("| oci-runtime | runtime.md | MUST | 4 | 3 | 1 | 0 |"));
    let json: serde_json::Value = serde_json::from_str(&c.to_json()).unwrap();
    assert_eq!(json["must"]["open"], 1);
}

#[test]
fn a_run_read_back_gives_the_same_bytes() {
    let live = common::sample();
    let again = Run::parse(&common::to_text(&live)).unwrap();
    assert_eq!(tap::render(&live), tap::render(&again));
    assert_eq!(markdown::summary(&live), markdown::summary(&again));
    assert_eq!(terminal::summary(&live), terminal::summary(&again));
}

/// A run with a suite under embargo says the same whatever that suite found.
#[test]
fn an_embargo_withholds_cases_requirements_and_counts() {
    let with = |kind: &str| {
        let mut run = common::sample();
        let id = "security/leaks/program-gets-no-descriptor";
        let mut header = serde_json::to_value(&run.header).unwrap();
        header["plan"].as_array_mut().unwrap().push(common::case(id, "Leaks nothing.", &["sec.fds"], "fail"));
        let row = common::requirement("sec.fds", "protections", "", "de facto", "No descriptor is leaked");
        header["requirements"].as_array_mut().unwrap().push(row);
        run.header = serde_json::from_value(header).unwrap();
        for target in common::TARGETS {
            let (outcome, judgement) = if kind == "fail" {
                let found = [
                    serde_json::json!({ "requirement": "sec.fds", "expected": "none", "actual": "the-finding-itself" }),
                ];
                (
                    serde_json::json!({ "kind": "fail", "violations": found }),
                    serde_json::json!({ "kind": "bad" }),
                )
            } else {
                (serde_json::json!({ "kind": "pass" }), serde_json::json!({ "kind": "good" }))
            };
            let event = common::finished(target.0, id, &outcome, &judgement);
            run.push(serde_json::from_value(event).unwrap());
        }
        let _ = run.settle();
        run
    };
    let published = ["pass", "fail"].map(|kind| embargo::without(&with(kind), "security", false));
    assert_eq!(published[0], published[1]);
    assert_eq!(published[0].header.plan, common::sample().header.plan);
    assert!(published[0].notes.iter().any(|n| n.starts_with("1 cases of the suite `security`")));
    let files = junit::render(&published[1], &junit::Options::default());
    let mut all: Vec<String> = files.into_iter().map(|f| f.xml).collect();
    all.push(html::render(&published[1], &html::Options { assets: html::Assets::Inline, baseline: None }));
    all.extend([markdown::summary(&published[1]), tap::render(&published[1])]);
    for text in all {
        assert!(!text.contains("the-finding-itself") && !text.contains("sec.fds"), "{text}");
    }
    let none = common::sample();
    assert_eq!(embargo::without(&none, "security", false), none);
}

#[test]
fn the_short_forms_say_what_needs_a_look() {
    let run = common::sample();
    let concise = plimsoll_reports::summary::concise(&run);
    let (lines, last) = concise.trim_end().rsplit_once('\n').unwrap();
    assert!(lines.contains("✗ fail runc oci-runtime/kill/stopped-is-error: "), "{concise}");
    assert!(last.contains("gate closed"), "{concise}");
    let text = plimsoll_reports::summary::json(&run);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["exit_code"], 1);
    let targets = document["targets"].as_array().unwrap();
    assert_eq!(targets.len(), run.header.targets.len());
    for (target, tally) in targets.iter().zip(verdict::tallies(&run)) {
        let sum: u64 = target["outcomes"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(sum as usize + tally.missing, run.header.plan.len(), "{target}");
        assert_eq!(target["unexpected"].as_u64().unwrap() as usize, tally.bad);
    }
    assert_eq!(document["notable"].as_array().unwrap().len(), lines.lines().count());
    for text in [
        plimsoll_reports::summary::concise(&common::hostile::run()),
        plimsoll_reports::summary::json(&common::hostile::run()),
    ] {
        assert!(!text.contains('\u{1b}'), "no sequence reaches a terminal");
    }
}

#[test]
fn every_report_says_what_to_do() {
    use plimsoll_reports::advice::advice;
    let run = common::sample();
    let steps = advice(&run).join("\n");
    assert!(
        steps.contains("unexpected failure") && steps.contains("plimsoll expectations update"),
        "{steps}"
    );
    let mut calm = run.clone();
    calm.superseded.clear();
    calm.records.retain(|r| r.outcome.kind() == OutcomeKind::Pass && r.judgement == Judgement::Good);
    let kept: Vec<String> =
        calm.records.iter().filter(|r| r.target == "ref-oci").map(|r| r.case.to_string()).collect();
    calm.header.targets.retain(|t| t.label == "ref-oci");
    calm.records.retain(|r| r.target == "ref-oci");
    calm.header.plan.retain(|c| kept.contains(&c.id.to_string()));
    assert_eq!(advice(&calm), ["Nothing needs to be done about these targets."]);
    calm.footer.as_mut().unwrap().replaced = vec!["ref-oci".into()];
    assert!(advice(&calm)[0].contains("replaced"));
    assert_eq!(verdict::gate(&calm, false, &[]), ExitCode::Trouble);
    calm.header.targets[0].unfit = Some("no runtime".into());
    assert!(advice(&calm)[0].contains("plimsoll doctor -t TARGET"));
}
