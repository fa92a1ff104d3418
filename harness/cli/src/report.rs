//! Writing reports, and the `report` verbs. Everything comes from run files.

use crate::args::{Dialect, HtmlAssets, JunitAttachments, ReportVerb, Shape};
use crate::output;
use crate::usage::{self, Failure};
use plimsoll_model::{Event, ExitCode, Judgement, OutcomeKind, Run};
use plimsoll_reports::{badge, ctrf, diff, embargo, html, junit, markdown, merge, openmetrics, tap, trend};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// A report that the user asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    kind: Kind,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Junit,
    Html,
    Markdown,
    Tap,
    Ctrf,
    OpenMetrics,
    Badge,
    Jsonl,
}

const KINDS: [(&str, Kind); 8] = [
    ("junit", Kind::Junit),
    ("html", Kind::Html),
    ("markdown", Kind::Markdown),
    ("tap", Kind::Tap),
    ("ctrf", Kind::Ctrf),
    ("openmetrics", Kind::OpenMetrics),
    ("badge", Kind::Badge),
    ("jsonl", Kind::Jsonl),
];

impl Wanted {
    /// Parses `kind=path`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        let hint = format!("write --report KIND=PATH with one of {}", known.join(", "));
        let bad = || Failure::usage(format!("`{text}` names no report")).hint(hint.clone());
        let (name, path) = text.split_once('=').ok_or_else(bad)?;
        let kind = KINDS.iter().find(|(n, _)| *n == name).map(|(_, k)| *k).ok_or_else(bad)?;
        if path.is_empty() {
            return Err(bad());
        }
        Ok(Self { kind, path: path.into() })
    }

    /// Renders and writes it.
    pub fn write(&self, run: &Run, baseline: Option<&Run>, style: Style) -> Result<(), Failure> {
        let beside = self.path.parent().unwrap_or(Path::new(""));
        let text = match self.kind {
            Kind::Junit => junit::render_all(run, &junit_options(run, beside, style)?),
            Kind::Html => {
                write_assets(beside, style)?;
                page(run, baseline, style)
            }
            Kind::Markdown => markdown::summary(run),
            Kind::Tap => tap::render(run),
            Kind::Ctrf => ctrf::render(run, None),
            Kind::OpenMetrics => openmetrics::render(run),
            Kind::Badge => badge::render(run),
            Kind::Jsonl => jsonl(run)?,
        };
        output::file(&self.path, text.as_bytes())
    }
}

/// How reports are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Warnings and fixed known failures are failures in JUnit.
    pub strict: bool,
    /// What consumers want differently.
    pub dialect: Dialect,
}

/// The run file's text.
pub fn jsonl(run: &Run) -> Result<String, Failure> {
    let mut text = Vec::new();
    write_jsonl(run, &mut text).map_err(|e| Failure::trouble(e.to_string()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The plan of a hundred thousand cases fits.
const LONGEST_HEADER: u64 = 256 << 20;

/// The run file, event by event.
fn write_jsonl(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    run.for_each_event(&mut |event| {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")
    })
}

/// The suite whose findings can be withheld.
const SECURITY: &str = "security";

/// The run as it may be published while findings of the suite of protections are under embargo.
pub fn published(run: &Run, strict: bool) -> Run {
    embargo::without(run, SECURITY, strict)
}

fn page(run: &Run, baseline: Option<&Run>, style: Style) -> String {
    let assets = match style.dialect.html_assets {
        HtmlAssets::Inline => html::Assets::Inline,
        HtmlAssets::External => html::Assets::External,
    };
    html::render(run, &html::Options { assets, baseline })
}

/// The page's own style and script beside it, where they do not stand in it.
fn write_assets(dir: &Path, style: Style) -> Result<(), Failure> {
    if style.dialect.html_assets == HtmlAssets::External {
        for (name, text) in html::assets() {
            output::file(&dir.join(name), text.as_bytes())?;
        }
    }
    Ok(())
}

/// What every run writes into its output directory beside the run file: JUnit per target, the page, the summary.
pub fn write_standard(run: &Run, out: &Path, style: Style) -> Result<(), Failure> {
    for file in junit::render(run, &junit_options(run, out, style)?) {
        output::file(&out.join(&file.name), file.xml.as_bytes())?;
    }
    write_assets(out, style)?;
    output::file(&out.join("report.html"), page(run, None, style).as_bytes())?;
    output::file(&out.join("summary.md"), markdown::summary(run).as_bytes())
}

/// The page and the run file of a self-test: the run without a fault, with the detection score beside it.
pub fn write_selftest(run: &Run, out: &Path) -> Result<(), Failure> {
    output::file(&out.join("selftest.jsonl"), jsonl(run)?.as_bytes())?;
    output::file(&out.join("selftest.html"), page(run, None, Style::default()).as_bytes())
}

/// How JUnit is read here: GitLab and Jenkins show files that a tag names. These are written below `dir`, with their
/// place named as each wants it: relative to the project's directory, or absolute.
fn junit_options(run: &Run, dir: &Path, style: Style) -> Result<junit::Options, Failure> {
    let strict = style.strict;
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let attachments = match style.dialect.junit_attachments {
        JunitAttachments::Gitlab => junit::Attachments::GitLab,
        JunitAttachments::Jenkins => junit::Attachments::Jenkins,
        JunitAttachments::Auto if set("GITLAB_CI") => junit::Attachments::GitLab,
        JunitAttachments::Auto if set("JENKINS_URL") => junit::Attachments::Jenkins,
        JunitAttachments::None | JunitAttachments::Auto => junit::Attachments::None,
    };
    if attachments == junit::Attachments::None {
        return Ok(junit::Options { strict, ..junit::Options::default() });
    }
    let place = dir.join("evidence");
    for record in run
        .records
        .iter()
        .filter(|r| r.outcome.kind() != OutcomeKind::Pass || matches!(r.judgement, Judgement::Fixed { .. }))
    {
        let path = place.join(junit::evidence_path(record));
        output::file(&path, junit::evidence(record, &run.header).as_bytes())?;
    }
    let absolute = std::path::absolute(&place).map_err(|e| usage::file("find", &place, &e))?;
    let project = std::env::var_os("CI_PROJECT_DIR").map(PathBuf::from);
    let relative = project.as_deref().and_then(|p| absolute.strip_prefix(p).ok());
    let root = match attachments {
        junit::Attachments::GitLab => relative.unwrap_or(&place),
        _ => &absolute,
    };
    Ok(junit::Options { strict, attachments, evidence_root: root.display().to_string() })
}

/// A result to show beside the cases.
fn attach(run: &mut Run, name: &str, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let text = fs::read_to_string(path).map_err(|e| usage::file("read", path, &e))?;
    let result: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
    let want = format!("plimsoll-{name}/1");
    if result["schema"] != want.as_str() {
        return Err(Failure::usage(format!("{} is no result of the format {want}", path.display()))
            .hint(format!("`plimsoll {name}` writes {name}.json into its output directory")));
    }
    run.benches.retain(|(other, _)| other != name);
    run.push(Event::Bench { name: name.to_owned(), result });
    Ok(())
}

/// Reads a run file.
pub fn read(path: &Path) -> Result<Run, Failure> {
    let file = fs::File::open(path).map_err(|e| usage::file("read", path, &e))?;
    Run::read(BufReader::with_capacity(1 << 20, file)).map_err(|e| {
        Failure::usage(format!("{} is no usable run file: {e}", path.display()))
            .hint("run files are written by `plimsoll run` as run.jsonl")
    })
}

/// All shards of a run, or whole runs of several nodes; of the latter one is read at a time.
fn merged(paths: &[PathBuf], nodes: bool) -> Result<Run, Failure> {
    let headers = paths.iter().map(|p| node_header(p)).collect::<Result<Vec<_>, _>>()?;
    if headers.iter().any(|h| h.shard) || (headers.len() < 2 && !nodes) {
        let runs = paths.iter().map(|r| read(r)).collect::<Result<Vec<_>, _>>()?;
        return Ok(merge::merge(runs)?);
    }
    merge::merge_nodes(&headers, |i| read(&paths[i]))
}

impl From<merge::MergeError> for Failure {
    fn from(error: merge::MergeError) -> Self {
        Self::usage(error.to_string())
    }
}

/// The first line of a run file.
fn node_header(path: &Path) -> Result<merge::NodeHeader, Failure> {
    let file = fs::File::open(path).map_err(|e| usage::file("read", path, &e))?;
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST_HEADER))
        .read_until(b'\n', &mut line)
        .map_err(|e| usage::file("read", path, &e))?;
    merge::NodeHeader::read(&line).map_err(|_| {
        Failure::usage(format!("{} is no usable run file: it does not begin with a header", path.display()))
            .hint("run files are written by `plimsoll run` as run.jsonl")
    })
}

/// `plimsoll report`.
pub fn verb(verb: ReportVerb) -> Result<ExitCode, Failure> {
    match verb {
        ReportVerb::Render { run: path, report, selftest, bench, strict, baseline, embargo, dialect } => {
            let mut run = read(&path)?;
            if !run.is_complete() {
                output::note(&format!("{} is incomplete: the run was cut off or cancelled", path.display()));
            }
            attach(&mut run, "bench", bench.as_deref())?;
            attach(&mut run, "selftest", selftest.as_deref())?;
            let style = Style { strict, dialect };
            let baseline = baseline.as_deref().map(read).transpose()?;
            if embargo {
                let baseline = baseline.map(|b| published(&b, strict));
                return render(&published(&run, strict), &report, baseline.as_ref(), style);
            }
            render(&run, &report, baseline.as_ref(), style)
        }
        ReportVerb::Merge { runs, nodes, output: path } => {
            let merged = merged(&runs, nodes)?;
            output::write(&path, &mut |out| write_jsonl(&merged, out))?;
            if nodes {
                output::data(&plimsoll_reports::nodes::table(&merged));
            }
            Ok(ExitCode::Success)
        }
        ReportVerb::Diff { old, new, format } => {
            let difference = diff::compare(&read(&old)?, &read(&new)?);
            output::data(&match format {
                Shape::Human => difference.to_text(),
                Shape::Json => difference.to_json(),
                Shape::Markdown => difference.to_markdown(),
            });
            Ok(ExitCode::Success)
        }
        ReportVerb::Trend { runs, format } => {
            let runs = runs.iter().map(|r| read(r)).collect::<Result<Vec<_>, _>>()?;
            let trend = trend::trend(&runs);
            output::data(&match format {
                Shape::Human => trend.to_text(),
                Shape::Json => trend.to_json(),
                Shape::Markdown => trend.to_markdown(),
            });
            Ok(ExitCode::Success)
        }
    }
}

fn render(run: &Run, reports: &[String], baseline: Option<&Run>, style: Style) -> Result<ExitCode, Failure> {
    if reports.is_empty() {
        output::data(&page(run, baseline, Style { dialect: Dialect::default(), ..style }));
    }
    for report in reports {
        Wanted::parse(report)?.write(run, baseline, style)?;
    }
    Ok(ExitCode::Success)
}
