//! The directories that certification programmes take, and what their reviewers look for.
//!
//! Nothing here is signed: trust comes from the review and from everybody's being able to run it again. For a signed
//! bundle see [`crate::certificate`].

use plimsoll_model::{OutcomeKind, Run};
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::certificate::{self, CertifyError, Files, Harness, Product};
use crate::terminal::failure_block;
use crate::text::{clean, one_line};
use crate::verdict::tallies;

/// Which programme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `SPEC/vX.Y/PRODUCT/`: PRODUCT.yaml, README.md, results.yaml, report.html, junit.xml.
    Oci,
    /// `vX.Y/PRODUCT/`: PRODUCT.yaml, README.md, e2e.log, `junit_01.xml`.
    Cncf,
}

/// Name of the list of digests, in the format of `sha256sum`.
pub const SUMS: &str = "SHA256SUMS";

/// A directory below which the files lie, and the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Relative, with `/`.
    pub directory: String,
    /// By name.
    pub files: Files,
}

/// Lays out a run of one target. What keeps a run from a certificate keeps it from this as well.
pub fn build(
    run: &Run,
    product: &Product,
    harness: &Harness,
    style: Style,
) -> Result<Submission, CertifyError> {
    let mut unfit = certificate::unfit(run);
    let [target] = run.header.targets.as_slice() else {
        unfit.push("a submission is about one target".to_owned());
        return Err(CertifyError::Unfit(unfit));
    };
    if target.spec_version.is_none() && target.spec.is_oci() {
        unfit.push("the target declares no version of the specification".to_owned());
    }
    if product.name.is_empty() || product.version.is_empty() {
        unfit.push("the vendor's file gives no name or no version".to_owned());
    }
    if !unfit.is_empty() {
        return Err(CertifyError::Unfit(unfit));
    }
    let mut made = certificate::documents(run, harness);
    let mut take = |name: &str| made.remove(name).unwrap_or_default();
    let mut files = Files::new();
    files.insert("PRODUCT.yaml".into(), certificate::product_yaml(product).into_bytes());
    files.insert("README.md".into(), take("README.md"));
    match style {
        Style::Oci => {
            for name in ["results.yaml", "report.html", "junit.xml"] {
                files.insert(name.into(), take(name));
            }
        }
        Style::Cncf => {
            files.insert("junit_01.xml".into(), take("junit.xml"));
            files.insert("e2e.log".into(), log(run).into_bytes());
        }
    }
    files.insert(SUMS.into(), sums(&files).into_bytes());
    // An endpoint declares the version of its interface, which has been 1 since it left alpha.
    let version = target.spec_version.as_ref().map_or_else(
        || "v1".to_owned(),
        |v| {
            let text = v.to_string();
            format!("v{}", text.split('.').take(2).collect::<Vec<_>>().join("."))
        },
    );
    let spec = if target.spec.is_oci() { "runtime-spec/" } else { "cri/" };
    let spec = if style == Style::Oci { spec } else { "" };
    Ok(Submission { directory: format!("{spec}{version}/{}", kebab(&product.name)), files })
}

/// A directory's name from a product's: lower case, with a hyphen for whatever is no letter or digit.
fn kebab(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' });
    let words: String = letters.collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    if words.is_empty() { "product".to_owned() } else { words.join("-") }
}

fn sums(files: &Files) -> String {
    let lines = files.iter().filter(|(name, _)| *name != SUMS);
    lines.fold(String::new(), |mut out, (name, content)| {
        let _ = writeln!(out, "{}  {name}", certificate::sha256_hex(content));
        out
    })
}

/// One line per case, the failure block of what did not pass, and at the end the line that reviewers read first.
fn log(run: &Run) -> String {
    let header = &run.header;
    let mut out = String::new();
    let _ = writeln!(out, "{}", one_line(&header.tool));
    for target in &header.targets {
        let spec = target.spec_version.as_ref().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            out,
            "target {}: {}, specification {spec}",
            one_line(&target.label),
            one_line(&target.version)
        );
    }
    let _ = writeln!(
        out,
        "plan {} of {} cases, seed {}\n",
        one_line(&header.plan_digest),
        header.plan.len(),
        header.seed
    );
    for record in &run.records {
        if record.outcome.kind() == OutcomeKind::Pass {
            let _ = writeln!(out, "✓ pass  {}", record.case);
        } else {
            out.push_str(&clean(&failure_block(record, header, record.attempt)));
        }
    }
    let rows = tallies(run);
    let sum = |kinds: &[OutcomeKind]| -> usize {
        rows.iter().flat_map(|r| kinds.iter().map(|k| r.count(*k))).sum()
    };
    let _ = writeln!(
        out,
        "\nRan {} of {} Specs\n{} Passed | {} Failed | {} Pending | {} Skipped",
        sum(&[OutcomeKind::Pass, OutcomeKind::Warn, OutcomeKind::Fail, OutcomeKind::Error]),
        run.records.len(),
        sum(&[OutcomeKind::Pass, OutcomeKind::Warn]),
        sum(&[OutcomeKind::Fail, OutcomeKind::Error]),
        sum(&[OutcomeKind::NotRun]),
        sum(&[OutcomeKind::NotApplicable, OutcomeKind::Skip])
    );
    out
}

/// What a reviewer would object to; empty when nothing.
pub fn objections(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    let text = |name: &str| files.get(name).map(|b| String::from_utf8_lossy(b).into_owned());
    match text(SUMS) {
        None => found.push(format!("{SUMS} is missing")),
        Some(given) if given != sums(files) => found.push(format!("the files are not as {SUMS} says")),
        Some(_) => {}
    }
    for (name, content) in files {
        let marker = concat!("PRIVATE", " KEY-----").as_bytes();
        if content.windows(marker.len()).any(|w| w == marker) {
            found.push(format!("{name} holds a private key"));
        }
    }
    match text("PRODUCT.yaml") {
        None => found.push("PRODUCT.yaml is missing".to_owned()),
        Some(product) => found.extend(product_objections(&product)),
    }
    match text("README.md") {
        None => found.push("README.md is missing".to_owned()),
        Some(readme) if !readme.contains("plimsoll run") => {
            found.push("README.md does not say how to run it again".to_owned());
        }
        Some(_) => {}
    }
    match (text("results.yaml"), text("e2e.log")) {
        (Some(results), _) => {
            found.extend(results_objections(&results));
            let missing = ["report.html", "junit.xml"].into_iter().filter(|n| !files.contains_key(*n));
            found.extend(missing.map(|n| format!("{n} is missing")));
        }
        (None, Some(log)) => {
            found.extend(log_objections(&log));
            if !files.contains_key("junit_01.xml") {
                found.push("junit_01.xml is missing".to_owned());
            }
        }
        (None, None) => found.push("neither results.yaml nor e2e.log is there".to_owned()),
    }
    found
}

/// Top-level scalars of a document that [`certificate`] wrote: `key: JSON`.
fn scalars(text: &str) -> BTreeMap<&str, serde_json::Value> {
    let pairs = text.lines().filter(|l| !l.starts_with([' ', '#'])).filter_map(|l| l.split_once(": "));
    pairs.filter_map(|(k, v)| Some((k, serde_json::from_str(v).ok()?))).collect()
}

fn product_objections(text: &str) -> Vec<String> {
    let given = scalars(text);
    let empty = |key: &&str| given.get(*key).and_then(|v| v.as_str()).unwrap_or_default().trim().is_empty();
    let wanted = ["vendor", "name", "version", "website_url", "type", "description"];
    wanted.into_iter().filter(empty).map(|key| format!("PRODUCT.yaml gives no {key}")).collect()
}

fn results_objections(text: &str) -> Vec<String> {
    let given = scalars(text);
    let mut found = Vec::new();
    match given.get("result").and_then(|v| v.as_str()) {
        Some("PASSED") => {}
        Some(other) => found.push(format!("results.yaml: the result is {other}")),
        None => found.push("results.yaml gives no result".to_owned()),
    }
    let open = given.get("reservations").and_then(|v| v.as_array()).cloned();
    match open {
        Some(list) => found.extend(list.iter().take(20).filter_map(|v| v.as_str()).map(str::to_owned)),
        None => found.push("results.yaml gives no reservations".to_owned()),
    }
    if given.get("tool_is_dirty").and_then(serde_json::Value::as_bool) != Some(false) {
        found.push("the harness was built from changed sources".to_owned());
    }
    let host = given.get("host").and_then(|v| v.as_object()).is_some_and(|h| {
        ["os", "kernel", "cgroups"]
            .iter()
            .all(|k| h.get(*k).and_then(|v| v.as_str()).is_some_and(|s| !s.is_empty()))
    });
    if !host {
        found.push("results.yaml does not describe the host".to_owned());
    }
    found
}

fn log_objections(text: &str) -> Vec<String> {
    let last = text.lines().last().unwrap_or_default();
    let clean = last.contains(" Passed | 0 Failed | 0 Pending | ") && !last.starts_with("0 ");
    let mut found = Vec::new();
    if !clean {
        found.push(format!("e2e.log ends with `{}`", one_line(last)));
    }
    if text.contains("attempt 2/") {
        found.push("e2e.log shows attempts that were retried".to_owned());
    }
    found
}
