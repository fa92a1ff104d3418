//! Checking a bundle. Everything is made again from the journal and compared; nothing in the bundle is believed.

use plimsoll_model::{PlannedCase, Requirement, Run};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{ATTESTATION, Files, Harness, JOURNAL, MANIFEST, documents, dsse, is_sha256, journal, statement};
use crate::text::printable;

/// What the checker demands beyond the bundle's own consistency.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy<'a> {
    /// The nonce that the certifier gave.
    pub challenge: Option<&'a str>,
    /// Digests of harness executables that are trusted; any when empty.
    pub harnesses: &'a [String],
    /// The cases that must be there, each exactly once per target; those of the checker's own suites.
    pub plan: Option<&'a [PlannedCase]>,
    /// The catalogue that must have been used.
    pub requirements: Option<&'a [Requirement]>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// Empty when it holds, else why not.
    pub problems: Vec<String>,
}

/// The result of all checks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The checks, in order; a later one is absent when it could not be made.
    pub checks: Vec<Check>,
    /// Whether the bundle is what the key's owner made from one whole run.
    pub authentic: bool,
    /// Whether, besides, the run shows conformance: result `PASSED`, nothing reserved.
    pub conformant: bool,
    /// The result in the statement.
    pub result: String,
    /// What keeps an authentic bundle from showing conformance.
    pub reservations: Vec<String>,
}

/// Checks a bundle against a public key (SPKI PEM) and a policy.
pub fn verify(files: &Files, public_pem: &str, policy: &Policy<'_>) -> Verification {
    let mut checks = Vec::new();
    let run = integrity(files, public_pem, &mut checks);
    if let Some(run) = &run {
        checks.push(Check { name: "one whole run", problems: super::unfit(run) });
        checks.push(Check { name: "reports follow from the run", problems: regenerated(files, run) });
        checks.push(Check { name: "completeness", problems: complete(run, policy) });
        checks.push(Check { name: "harness", problems: harness(files, policy) });
        checks.push(Check { name: "challenge", problems: challenge(run, policy) });
    }
    let authentic = run.is_some() && checks.iter().all(|c| c.problems.is_empty());
    let result = run.as_ref().map_or("", statement::result);
    let mut reservations = run.as_ref().map(statement::reservations).unwrap_or_default();
    if result == "FAILED" {
        reservations.insert(0, "obligations of the specification are not met".to_owned());
    }
    Verification {
        authentic,
        conformant: authentic && result == "PASSED",
        result: result.to_owned(),
        reservations,
        checks,
    }
}

/// Signature, manifest, digests and chain; gives the run when it can be read.
fn integrity(files: &Files, public_pem: &str, checks: &mut Vec<Check>) -> Option<Run> {
    let mut check = |name, result: Result<(), String>| {
        let ok = result.is_ok();
        checks.push(Check { name, problems: result.err().into_iter().collect() });
        ok
    };
    let get = |name: &str| files.get(name).ok_or_else(|| format!("{name} is missing"));
    let payload = get(ATTESTATION).and_then(|bytes| dsse::open(bytes, public_pem));
    let signed = check("signature", payload.as_ref().map(|_| ()).map_err(Clone::clone));
    let manifest = get(MANIFEST);
    let listed = manifest.as_ref().map_err(Clone::clone).and_then(|m| digests(files, m));
    let whole = check("files and digests", listed);
    let chain = get(JOURNAL).and_then(|bytes| {
        let text = std::str::from_utf8(bytes).map_err(|_| format!("{JOURNAL} is not UTF-8"))?;
        let (run, head) = journal::read(text)?;
        // Doubled or unknown members, other spellings of a number: two readers could take them for two things.
        let (again, _) = journal::write(&run).map_err(|e| e.to_string())?;
        if again == text {
            Ok((run, head))
        } else {
            Err("the events are not in their canonical form".to_owned())
        }
    });
    check("hash chain", chain.as_ref().map(|_| ()).map_err(Clone::clone));
    let (run, head) = chain.ok()?;
    let (Ok(payload), Ok(manifest)) = (payload, manifest) else { return None };
    // The statement is a function of the run and the files: one that says anything else is refused.
    let same = statement::write(&run, files, manifest, &head) == payload;
    let said = if same { Ok(()) } else { Err("it does not follow from the run and the files".to_owned()) };
    let stated = check("statement", said);
    (signed && whole && stated).then_some(run)
}

/// The manifest must be just what the files give, and name just the files that are there.
fn digests(files: &Files, manifest: &[u8]) -> Result<(), String> {
    let rest: Files = files
        .iter()
        .filter(|(name, _)| *name != MANIFEST && *name != ATTESTATION)
        .map(|(name, content)| (name.clone(), content.clone()))
        .collect();
    if super::manifest(&rest) == manifest {
        return Ok(());
    }
    let text = String::from_utf8_lossy(manifest);
    let now = super::manifest(&rest);
    let now = String::from_utf8_lossy(&now);
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (text.lines().collect(), now.lines().collect());
    let name = |line: &&str| line.split(':').next().unwrap_or_default().trim_matches('"').to_owned();
    let differing: BTreeSet<String> = old.symmetric_difference(&new).map(name).collect();
    let shown: Vec<String> = differing.into_iter().take(10).collect();
    Err(format!("these are not as the manifest says: {}", shown.join(", ")))
}

fn regenerated(files: &Files, run: &Run) -> Vec<String> {
    let harness = match harness_of(files) {
        Ok(harness) => harness,
        Err(why) => return vec![why],
    };
    let mut made = documents::all(run, &harness);
    let extra = [MANIFEST, ATTESTATION, JOURNAL, "PRODUCT.yaml"];
    let mut problems = Vec::new();
    for (name, content) in files.iter().filter(|(name, _)| !extra.contains(&name.as_str())) {
        match made.remove(name) {
            Some(again) if again == *content => {}
            Some(_) => problems.push(format!("{name} does not follow from the journal")),
            None => problems.push(format!("{name} has no place in a bundle of this run")),
        }
    }
    problems.extend(made.into_keys().map(|name| format!("{name} is missing")));
    if !files.contains_key("PRODUCT.yaml") {
        problems.push("PRODUCT.yaml is missing".to_owned());
    }
    problems
}

fn harness_of(files: &Files) -> Result<Harness, String> {
    let bytes = files.get("environment.json").ok_or("environment.json is missing")?;
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|e| format!("environment.json is malformed: {e}"))?;
    serde_json::from_value(value["harness"].clone())
        .map_err(|e| format!("environment.json names no harness: {e}"))
}

fn complete(run: &Run, policy: &Policy<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(plan) = policy.plan {
        let there: BTreeMap<&str, &PlannedCase> =
            run.header.plan.iter().map(|c| (c.id.as_str(), c)).collect();
        for case in plan {
            match there.get(case.id.as_str()) {
                None => problems.push(format!("case {} is missing", case.id)),
                Some(other) if other.covers != case.covers || other.severity != case.severity => {
                    problems.push(format!("case {} covers something else here", case.id));
                }
                Some(_) => {}
            }
        }
    }
    if let Some(requirements) = policy.requirements
        && requirements != run.header.requirements
    {
        problems.push("another catalogue of requirements was used".to_owned());
    }
    problems.truncate(50);
    problems
}

fn harness(files: &Files, policy: &Policy<'_>) -> Vec<String> {
    let harness = match harness_of(files) {
        Ok(harness) => harness,
        Err(why) => return vec![why],
    };
    let mut problems = Vec::new();
    if harness.faults {
        problems.push("fault injection was active".to_owned());
    }
    if harness.dirty {
        problems.push("the harness was built from changed sources".to_owned());
    }
    if !is_sha256(&harness.sha256) {
        problems.push("the digest of the harness is unknown".to_owned());
    } else if !policy.harnesses.is_empty() && !policy.harnesses.contains(&harness.sha256) {
        problems.push(format!("the harness {} is not among the trusted ones", harness.sha256));
    }
    problems
}

fn challenge(run: &Run, policy: &Policy<'_>) -> Vec<String> {
    match (policy.challenge, run.header.challenge.as_deref()) {
        (Some(want), Some(got)) if want == got => {
            if run.header.run_id.starts_with(&plimsoll_model::run::challenge_mark(want)) {
                vec![]
            } else {
                vec!["the run's id does not carry the challenge".to_owned()]
            }
        }
        (None, _) => vec![],
        (Some(_), Some(_)) => vec!["the run answers another challenge".to_owned()],
        (Some(_), None) => vec!["the run was made without the challenge".to_owned()],
    }
}

impl Verification {
    /// For a terminal.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for check in &self.checks {
            let glyph = if check.problems.is_empty() { '✓' } else { '✗' };
            let _ = writeln!(out, "{glyph} {}", check.name);
            for problem in &check.problems {
                let _ = writeln!(out, "    {problem}");
            }
        }
        let line = match (self.authentic, self.conformant) {
            (false, _) => "The bundle is NOT authentic.".to_owned(),
            (true, true) => "The bundle is authentic and shows conformance.".to_owned(),
            (true, false) => {
                format!("The bundle is authentic; its result is {}, with reservations:", self.result)
            }
        };
        let _ = writeln!(out, "{line}");
        if self.authentic {
            for reservation in self.reservations.iter().take(50) {
                let _ = writeln!(out, "    {reservation}");
            }
            if self.reservations.len() > 50 {
                let _ = writeln!(out, "    … and {} more", self.reservations.len() - 50);
            }
        }
        printable(&out)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
