//! JUnit, read back by foreign parsers.

// Helpers of tests end the test where they cannot go on, and say why they skip.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use plimsoll_model::{OutcomeKind, Run};
use plimsoll_reports::junit::{self, Attachments, Options};
use std::process::{Command, Stdio};

/// Counts as the parser `junitparser` sees them, and its complaints; `None` when it is not installed.
fn foreign(xml: &str, script: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("junit.xml");
    std::fs::write(&file, xml).unwrap();
    let out = Command::new("python3").arg("-c").arg(script).arg(&file).stdin(Stdio::null()).output().ok();
    let out = out.filter(|o| o.status.code() != Some(77));
    if out.is_none() {
        assert!(std::env::var_os("PLIMSOLL_CI").is_none(), "python3 with the needed module is missing");
        println!("SKIP: python3 with the needed module is missing");
    }
    let out = out?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap().trim().to_owned())
}

const JUNITPARSER: &str = r"
import sys
try:
    import junitparser as j
except ImportError:
    sys.exit(77)
xml = j.JUnitXml.fromfile(sys.argv[1])
kinds = {'Failure': 0, 'Error': 0, 'Skipped': 0}
cases = 0
attributes = [0, 0, 0, 0]
for suite in xml:
    attributes = [a + b for a, b in zip(attributes, (suite.tests, suite.failures, suite.errors, suite.skipped))]
    for case in suite:
        cases += 1
        for result in case.result:
            kinds[type(result).__name__] += 1
counts = [cases, kinds['Failure'], kinds['Error'], kinds['Skipped']]
assert counts == attributes, (counts, attributes)
assert [xml.tests, xml.failures, xml.errors] == counts[:3]
print(*counts)
";

// GitLab keys a case by suite, class and name and drops what repeats; it takes failure before error before skipped.
const GITLAB: &str = r"
import sys, xml.etree.ElementTree as E
root = E.parse(sys.argv[1]).getroot()
assert root.tag == 'testsuites'
keys, counts = set(), [0, 0, 0, 0]
for suite in root:
    assert suite.tag == 'testsuite' and suite.get('name') and suite.get('timestamp')
    for case in suite:
        key = (suite.get('name'), case.get('classname'), case.get('name'))
        assert all(key) and key not in keys, key
        keys.add(key)
        float(case.get('time')); case.get('file')
        counts[0] += 1
        for i, tag in enumerate(('failure', 'error', 'skipped')):
            found = case.find(tag)
            if found is not None:
                counts[i + 1] += 1
                assert '\n' not in found.get('message') and found.get('type')
                break
print(*counts)
";

// What the schema of Jenkins' xUnit plugin allows: elements, their attributes and children, the form of times.
const JENKINS: &str = r"
import sys, re, xml.etree.ElementTree as E
allowed = {
    'testsuites': ({'name', 'time', 'tests', 'failures', 'errors'}, {'testsuite'}),
    'testsuite': ({'name', 'tests', 'failures', 'errors', 'group', 'time', 'skipped', 'timestamp', 'hostname', 'id', 'package',
        'file', 'log', 'url'}, {'testsuite', 'properties', 'testcase', 'system-out', 'system-err'}),
    'testcase': ({'name', 'time', 'classname', 'group'}, {'skipped', 'error', 'failure', 'system-out', 'system-err'}),
    'failure': ({'type', 'message'}, set()), 'error': ({'type', 'message'}, set()), 'skipped': ({'type', 'message'}, set()),
    'system-out': (set(), set()), 'system-err': (set(), set()),
}
needed = {'testsuite': {'name', 'tests', 'failures', 'errors'}, 'testcase': {'name'}}
cases = 0
def check(e):
    global cases
    attributes, children = allowed[e.tag]
    assert set(e.attrib) <= attributes, (e.tag, e.attrib)
    assert needed.get(e.tag, set()) <= set(e.attrib)
    assert re.fullmatch(r'[0-9]*(\.[0-9]*)?', e.get('time', '0')), e.get('time')
    cases += e.tag == 'testcase'
    for child in e:
        assert child.tag in children, (e.tag, child.tag)
        check(child)
root = E.parse(sys.argv[1]).getroot()
assert root.tag == 'testsuites'
check(root)
print(cases)
";

#[test]
fn the_jenkins_dialect_obeys_its_schema() {
    for run in [common::sample(), common::hostile::run()] {
        let opts = Options { attachments: Attachments::Jenkins, evidence_root: "/out".into(), strict: false };
        if let Some(cases) = foreign(&junit::render_all(&run, &opts), JENKINS) {
            assert_eq!(cases, run.records.len().to_string());
        }
    }
}

fn expected(run: &Run, strict: bool) -> String {
    let n = |kind| common::count(run, kind);
    let known = run.records.iter().filter(|r| matches!(r.judgement, plimsoll_model::Judgement::Known { .. }));
    let fixed =
        run.records.iter().filter(|r| matches!(r.judgement, plimsoll_model::Judgement::Fixed { .. })).count();
    let known = known.count();
    let failures = n(OutcomeKind::Fail) - known + if strict { n(OutcomeKind::Warn) + fixed } else { 0 };
    let skipped = n(OutcomeKind::NotApplicable) + n(OutcomeKind::Skip) + n(OutcomeKind::NotRun) + known;
    format!("{} {failures} {} {skipped}", run.records.len(), n(OutcomeKind::Error))
}

#[test]
fn foreign_parsers_count_the_same() {
    for run in [common::sample(), common::hostile::run(), common::large(50, 3)] {
        for strict in [false, true] {
            let xml = junit::render_all(&run, &Options { strict, ..Options::default() });
            for script in [JUNITPARSER, GITLAB] {
                if let Some(counts) = foreign(&xml, script) {
                    assert_eq!(counts, expected(&run, strict));
                }
            }
        }
    }
}

#[test]
fn one_file_per_target_with_all_cases() {
    let run = common::sample();
    let files = junit::render(&run, &Options::default());
    let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["junit_runc.xml", "junit_crun.xml", "junit_ref-oci.xml"]);
    assert!(files[0].xml.contains("classname=\"runc.oci-runtime.kill\""));
    assert!(files[0].xml.contains("type=\"must.violated\""));
    assert!(files[0].xml.contains("type=\"host\""));
    assert!(
        files[1].xml.contains("type=\"known-failure\"") && files[1].xml.contains("type=\"harness.trouble\"")
    );
    assert!(files[1].xml.contains("type=\"not-applicable\""));
    assert!(files[0].xml.contains("timestamp=\"2026-11-24T10:00:00Z\""));
    assert_eq!(files, junit::render(&run, &Options::default()));
    for file in junit::render(&common::hostile::run(), &Options::default()) {
        let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(file.name.chars().all(safe) && file.name.len() < 100, "{}", file.name);
    }
}

#[test]
fn a_cut_off_run_has_errors_for_what_is_missing() {
    let mut run = common::sample();
    run.footer = None;
    run.records.truncate(3);
    let xml = junit::render_all(&run, &Options::default());
    assert_eq!(xml.matches("no result: the run was cut off").count(), 21 - 3);
}

#[test]
fn attachments_speak_the_dialect() {
    let run = common::sample();
    let tags = |attachments| {
        let xml = junit::render_all(
            &run,
            &Options { attachments, evidence_root: "out/evidence".into(), strict: false },
        );
        xml.matches("[[ATTACHMENT|out/evidence/").count()
    };
    assert_eq!(tags(Attachments::None), 0);
    assert_eq!(tags(Attachments::GitLab), 1);
    assert_eq!(
        tags(Attachments::Jenkins),
        run.records.iter().filter(|r| r.outcome.kind() != OutcomeKind::Pass).count()
    );
}
