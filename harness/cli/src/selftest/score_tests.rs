//! What counts as found, and what is said of the rest.

use super::*;
use plimsoll_model::{CaseId, Judgement, SpecVersion, Violation};

fn fault(requirements: &[&str], needs: &str) -> Fault {
    Fault {
        id: "f".into(),
        alias: String::new(),
        layer: "argv".into(),
        requirements: requirements.iter().map(|r| (*r).to_owned()).collect(),
        needs: needs.into(),
        title: "it is broken".into(),
        how: String::new(),
        sample: String::new(),
        steps: vec![],
    }
}

fn case(id: &str, covers: &str, severity: Severity) -> PlannedCase {
    PlannedCase {
        id: CaseId::new(id).unwrap(),
        summary: "S.".into(),
        covers: vec![covers.into()],
        severity,
        since: SpecVersion::new(1, 0, 0),
        file: "f".into(),
        line: 1,
        tags: vec![],
    }
}

fn control() -> Control {
    let levels = [
        ("kill.x", (Level::Must, Severity::Fail)),
        ("may.y", (Level::May, Severity::Record)),
        ("opt.z", (Level::Optional, Severity::Fail)),
    ];
    let lack = Outcome::Skip { lack: "cgroup-v1-net_cls".into(), reason: String::new() };
    Control {
        passing: vec![
            case("s/kill/a", "kill.x", Severity::Fail),
            case("s/kill/b", "kill.x", Severity::Fail),
            case("s/may/c", "may.y", Severity::Record),
            case("s/opt/e", "opt.z", Severity::Fail),
        ],
        others: vec![(case("s/opt/d", "opt.z", Severity::Fail), lack)],
        levels: levels.into_iter().map(|(r, l)| (r.to_owned(), l)).collect(),
    }
}

fn record(case: &str, outcome: Outcome) -> CaseRecord {
    CaseRecord {
        target: "t".into(),
        case: CaseId::new(case).unwrap(),
        attempt: 1,
        superseded: false,
        outcome,
        judgement: Judgement::Good,
        duration_ms: 0.0,
        facts: BTreeMap::new(),
        commands: vec![],
        config: None,
    }
}

fn red(requirement: &str) -> Outcome {
    Outcome::Fail { violations: vec![Violation::new("a", "b").of(requirement)] }
}

#[test]
fn a_red_case_finds_and_its_cover_is_the_right_reason() {
    let control = control();
    let found = control.judge(
        &fault(&["kill.x"], ""),
        &[record("s/kill/a", red("kill.x")), record("s/kill/b", Outcome::Pass)],
    );
    assert_eq!((found.outcome.as_str(), found.right_reason, found.level.as_str()), ("found", true, "MUST"));
    assert_eq!((found.red.len(), found.green.len()), (1, 1));
    let other = control.judge(&fault(&["kill.x"], ""), &[record("s/may/c", red("may.y"))]);
    assert_eq!((other.outcome.as_str(), other.right_reason), ("found", false));
    let named = control.judge(&fault(&["kill.x"], ""), &[record("s/may/c", red("kill.x"))]);
    assert!(named.right_reason, "a violation that names the requirement is the right reason");
}

#[test]
fn without_a_red_case_a_fault_survives_and_says_why() {
    let control = control();
    let missed = control.judge(&fault(&["kill.x"], ""), &[record("s/kill/a", Outcome::Pass)]);
    assert_eq!(missed.outcome, "missed");
    assert!(missed.why.contains("s/kill/a") && missed.why.contains("it is broken"), "{}", missed.why);
    let permitted = control.judge(&fault(&["may.y"], ""), &[record("s/may/c", Outcome::Pass)]);
    assert_eq!(permitted.outcome, "not-applicable");
    let pass = [record("s/opt/e", Outcome::Pass)];
    assert_eq!(control.judge(&fault(&["opt.z"], "net-cls"), &pass).outcome, "not-applicable");
    assert_eq!(control.judge(&fault(&["opt.z"], ""), &pass).outcome, "missed");
}

#[test]
fn superseded_attempts_do_not_count() {
    let mut first = record("s/kill/a", red("kill.x"));
    first.superseded = true;
    let found = control().judge(&fault(&["kill.x"], ""), &[first, record("s/kill/a", Outcome::Pass)]);
    assert_eq!(found.outcome, "missed");
}

#[test]
fn unproven_cases_have_reasons_where_there_are_some() {
    let control = control();
    let found = control.judge(&fault(&["kill.x"], ""), &[record("s/kill/a", red("kill.x"))]);
    let reasons = [("s/opt/*".to_owned(), "because".to_owned())];
    let unproven = control.unproven(&[found], &reasons);
    let by_case: Vec<(&str, bool)> = unproven.iter().map(|u| (u.case.as_str(), u.why.is_empty())).collect();
    assert_eq!(by_case, [("s/kill/b", true), ("s/may/c", false), ("s/opt/e", false)]);
}

#[test]
fn sums_and_shares_are_honest() {
    let found = |outcome: &str, level: &str| Found {
        outcome: outcome.into(),
        level: level.into(),
        ..Found::default()
    };
    let all =
        [found("found", "MUST"), found("missed", "MUST"), found("error", ""), found("not-applicable", "")];
    let s = Summary::of(&all);
    assert_eq!((s.injected, s.applicable, s.found, s.must_applicable, s.must_found), (4, 2, 1, 2, 1));
    assert_eq!(
        (percent(999, 1000), percent(1999, 2000), percent(0, 0)),
        ("99.9 %".into(), "99.9 %".into(), "-".into())
    );
}

#[test]
fn slices_are_joined_and_the_last_word_counts() {
    let document = |outcome: &str, red: &[&str]| Document {
        schema: SCHEMA.into(),
        target: "t".into(),
        version: String::new(),
        seed: 1,
        whole: true,
        passing: 1,
        summary: Summary::default(),
        faults: vec![Found {
            id: "f".into(),
            outcome: outcome.into(),
            red: red.iter().map(|r| (*r).to_owned()).collect(),
            ..Found::default()
        }],
        unproven: vec![Unproven { case: "s/kill/a".into(), why: String::new() }],
        false_alarms: vec![],
    };
    let joined = join(vec![document("missed", &[]), document("found", &["s/kill/a"])]);
    assert_eq!((joined.len(), joined[0].summary.found, joined[0].unproven.len()), (1, 1, 0));
}
