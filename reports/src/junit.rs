//! JUnit, in the dialect that GitLab, Jenkins, Buildkite, `CircleCI` and the GitHub actions read.
//!
//! One file per target. A suite is a section of the specification; `classname` is `target.suite.section`, `name` is the
//! rest of the case id, so that both together are unique (GitLab drops what is not). The body of a failure is the
//! failure block, because most readers show nothing else.

use junit_report::{Duration, OffsetDateTime, Report, TestCase, TestResult, TestSuite};
use plimsoll_model::{CaseRecord, Header, Judgement, OutcomeKind, PlannedCase, Run, Severity, TargetInfo};
use std::fmt::Write as _;

use crate::terminal::failure_block;
use crate::text::{cap, clean, one_line, shorten, slug, stable};
use crate::view::{Section, View};

/// Bytes of one body or one `system-out`.
const BODY_BYTES: usize = 64 * 1024;
/// Characters of a message; it is a headline.
const MESSAGE_CHARS: usize = 300;

/// How a reader finds the evidence files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Attachments {
    /// No tag.
    #[default]
    None,
    /// `[[ATTACHMENT|path]]` relative to the project directory, on failures only.
    GitLab,
    /// `[[ATTACHMENT|path]]` on every case that has evidence; the plugin wants an absolute path.
    Jenkins,
}

/// What may differ between consumers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Unexpected warnings and fixed known failures are failures too.
    pub strict: bool,
    /// The dialect of the attachment tag.
    pub attachments: Attachments,
    /// Directory under which the evidence files of [`evidence_path`] lie, as the tag shall name it.
    pub evidence_root: String,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JunitFile {
    /// The target's label.
    pub target: String,
    /// `junit_<target>.xml`, safe as a file name.
    pub name: String,
    /// The document.
    pub xml: String,
}

/// One document per target.
pub fn render(run: &Run, opts: &Options) -> Vec<JunitFile> {
    let view = View::new(run);
    let document = |target: &TargetInfo| JunitFile {
        target: target.label.clone(),
        name: format!("junit_{}.xml", slug(&target.label)),
        xml: document(&suites(&view, target, opts)),
    };
    run.header.targets.iter().map(document).collect()
}

/// One document with all targets.
pub fn render_all(run: &Run, opts: &Options) -> String {
    let view = View::new(run);
    let all: Vec<TestSuite> = run.header.targets.iter().flat_map(|t| suites(&view, t, opts)).collect();
    document(&all)
}

/// Where the evidence of a case lies below the evidence root: `<target>/<case>.txt`, in safe characters.
pub fn evidence_path(record: &CaseRecord) -> String {
    format!("{}/{}.txt", slug(&record.target), slug(&record.case.as_str().replace('/', ".")))
}

/// The evidence of a case as text: the failure block, every command with its output, the configuration.
pub fn evidence(record: &CaseRecord, header: &Header) -> String {
    let mut out = clean(&failure_block(record, header, record.attempt));
    for command in &record.commands {
        let argv: Vec<String> = command.argv.iter().map(|a| crate::text::shell(a)).collect();
        let _ = writeln!(
            out,
            "\n$ {}\n  → {} ({:.1} ms)",
            clean(&argv.join(" ")),
            clean(&command.status),
            command.ms
        );
        for (name, text) in [("stdout", &command.stdout), ("stderr", &command.stderr)] {
            if !text.is_empty() {
                let _ = writeln!(out, "  {name}:\n{}", clean(text).trim_end());
            }
        }
    }
    if let Some(config) = &record.config {
        let pretty = serde_json::to_string_pretty(config).unwrap_or_default();
        let _ = writeln!(out, "\nconfig.json:\n{}", clean(&pretty));
    }
    out
}

fn suites(view: &View<'_>, target: &TargetInfo, opts: &Options) -> Vec<TestSuite> {
    view.sections().iter().map(|section| suite(view, target, section, opts)).collect()
}

fn suite(view: &View<'_>, target: &TargetInfo, section: &Section<'_>, opts: &Options) -> TestSuite {
    let label = one_line(&target.label);
    let mut suite = TestSuite::new(&format!("{label} {}/{}", section.suite, section.name));
    suite.package = format!("{label}.{}", section.suite);
    suite.timestamp = timestamp(&view.run.header.started_at);
    for case in &section.cases {
        let mut test = match view.record(case.id.as_str(), &target.label) {
            Some(record) => decided(view, case, record, opts),
            None => missing(),
        };
        case.id.name().clone_into(&mut test.name);
        test.classname = Some(format!("{label}.{}.{}", section.suite, section.name));
        // The schema that Jenkins checks knows no `file` on a case; the others split and annotate by it.
        test.filepath = (opts.attachments != Attachments::Jenkins).then(|| one_line(&case.file));
        suite.testcases.push(test);
    }
    suite
}

/// Seconds since the epoch of an RFC 3339 time; the epoch itself when the header holds no time.
fn timestamp(text: &str) -> OffsetDateTime {
    let seconds = text.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_second);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A planned case that has no record: the run was cut off.
fn missing() -> TestCase {
    let mut test = TestCase::error(
        "",
        Duration::ZERO,
        "harness.trouble",
        "no result: the run was cut off before this case ended",
    );
    if let TestResult::Error { cause, .. } = &mut test.result {
        *cause = Some("The run file holds no result for this case. Run it again.".to_owned());
    }
    test
}

fn decided(view: &View<'_>, case: &PlannedCase, record: &CaseRecord, opts: &Options) -> TestCase {
    let header = &view.run.header;
    let attempts = 1 + view.superseded(record.case.as_str(), &record.target).len() as u32;
    let body = || Some(cdata(&cap(&clean(&failure_block(record, header, attempts)), BODY_BYTES)));
    let result = result(case, record, opts, &body);
    let failed = matches!(result, TestResult::Failure { .. });
    let tells = record.outcome.kind() != OutcomeKind::Pass || !matches!(result, TestResult::Success);
    let micros = (record.duration_ms * 1000.0).clamp(0.0, 1e15) as i64;
    let mut test = TestCase::success("", Duration::microseconds(micros));
    test.result = result;
    if tells {
        let mut out = cap(&evidence(record, header), BODY_BYTES);
        let tagged = match opts.attachments {
            Attachments::None => false,
            Attachments::GitLab => failed,
            Attachments::Jenkins => true,
        };
        if tagged {
            let root = opts.evidence_root.trim_end_matches('/');
            let _ = write!(out, "\n[[ATTACHMENT|{}/{}]]", one_line(root), evidence_path(record));
        }
        test.system_out = Some(cdata(&out));
    }
    test
}

fn result(
    case: &PlannedCase,
    record: &CaseRecord,
    opts: &Options,
    body: &dyn Fn() -> Option<String>,
) -> TestResult {
    let message = shorten(&stable(&one_line(&record.outcome.message())), MESSAGE_CHARS);
    let failure = |type_: &str, message: String| TestResult::Failure {
        type_: type_.to_owned(),
        message,
        cause: body(),
    };
    let skipped = |type_: &str, message: String| TestResult::SkippedWithCause {
        type_: type_.to_owned(),
        message,
        cause: body(),
    };
    match (&record.judgement, record.outcome.kind()) {
        (Judgement::Trouble, _) | (_, OutcomeKind::Error) => {
            TestResult::Error { type_: "harness.trouble".to_owned(), message, cause: body() }
        }
        (Judgement::Known { issue, reason }, _) => {
            let why = format!("{} ({}): {message}", one_line(reason), one_line(issue));
            skipped("known-failure", shorten(&why, MESSAGE_CHARS))
        }
        (Judgement::Fixed { issue }, _) if opts.strict => {
            failure("known-failure.passed", format!("passes now, but {} says that it fails", one_line(issue)))
        }
        (_, OutcomeKind::Fail) => failure(violated(case), message),
        (_, OutcomeKind::Warn) if opts.strict => failure("should.violated", message),
        (_, OutcomeKind::NotApplicable) => skipped("not-applicable", message),
        (_, OutcomeKind::Skip) => skipped("host", message),
        (_, OutcomeKind::NotRun) => skipped("not-run", message),
        (_, OutcomeKind::Pass | OutcomeKind::Warn) => TestResult::Success,
    }
}

fn violated(case: &PlannedCase) -> &'static str {
    if case.severity == Severity::Warn { "should.violated" } else { "must.violated" }
}

/// `]]>` would end the section: it is split over two.
fn cdata(text: &str) -> String {
    text.replace("]]>", "]]]]><![CDATA[>")
}

/// Writes each suite with the library and puts the results together: the library writes no `skipped` counter, and
/// readers that take their totals from the attributes of suites would count wrongly without it.
fn document(suites: &[TestSuite]) -> String {
    let sum = |f: fn(&TestSuite) -> usize| suites.iter().map(f).sum::<usize>();
    let time: f64 = suites.iter().map(|s| s.time().as_seconds_f64()).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"plimsoll\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{time:.6}\">",
        sum(TestSuite::tests),
        sum(TestSuite::failures),
        sum(TestSuite::errors)
    );
    for (id, suite) in suites.iter().enumerate() {
        out.push_str(&element(id, suite));
        out.push('\n');
    }
    out.push_str("</testsuites>\n");
    out
}

/// One `<testsuite>` element. Attribute values hold no raw quote, so the first `" errors="` is the attribute's own.
fn element(id: usize, suite: &TestSuite) -> String {
    let mut report = Report::new();
    report.add_testsuite(suite.clone());
    let mut bytes = Vec::new();
    // Writing to memory fails only when memory does.
    if report.write_xml(&mut bytes).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let inner = text.split_once("<testsuites>").map_or("", |(_, rest)| rest);
    let inner = inner.strip_suffix("</testsuites>").unwrap_or(inner);
    inner.replacen("<testsuite id=\"0\"", &format!("<testsuite id=\"{id}\""), 1).replacen(
        "\" errors=\"",
        &format!("\" skipped=\"{}\" errors=\"", suite.skipped()),
        1,
    )
}
