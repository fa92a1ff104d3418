//! Certificates and expectations by the built program, from a prepared run.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A whole run of two cases: the first passes, the second fails.
fn prepare(place: &Place) -> PathBuf {
    let case = |id: &str| {
        json!({"id": id, "summary": "a case", "covers": ["r.one"], "severity": "fail", "since": "1.0.0",
            "file": "suites/s.rs", "line": 1})
    };
    let finished = |id: &str, outcome: Value, judgement: &str| {
        json!({"event": "case-finished", "target": "mine", "case": id, "attempt": 1, "outcome": outcome,
            "judgement": {"kind": judgement}, "duration_ms": 1.0})
    };
    let spec: plimsoll_model::TargetSpec = "oci:/usr/bin/mine".parse().unwrap();
    let violation = json!({"kind": "fail", "violations": [
        {"requirement": "r.one", "expected": "an error", "actual": "success"}]});
    let events = [
        json!({"event": "header", "format": "plimsoll-run/1", "run_id": format!("{}0001", plimsoll_model::run::challenge_mark("nonce-1")), "tool": "plimsoll 0.1.0",
            "started_at": "2026-11-24T10:00:00Z", "seed": 1, "command": ["run", "-P", "certify"],
            "profile": "certify", "plan_digest": "c0ffee", "plan": [case("s/a/one"), case("s/a/two")],
            "requirements": [{"id": "r.one", "file": "runtime.md", "anchor": "#kill", "lines": "10", "level": "MUST",
                "since": "1.0.0", "class": "runtime", "testable": "yes", "text": "It must.", "how": ""}],
            "waivers": {}, "challenge": "nonce-1",
            "targets": [{"label": "mine", "spec": spec, "version": "mine 1", "spec_version": "1.0.2",
                "sha256": "ab".repeat(32), "features": {}}],
            "host": {"kernel": "6", "machine": "x86_64", "os": "Linux", "cgroups": "v2", "controllers": {},
                "lsm": [], "missing_capabilities": [], "cpus": 1, "memory_kib": 1}}),
        finished("s/a/one", json!({"kind": "pass"}), "good"),
        finished("s/a/two", violation, "bad"),
        json!({"event": "footer", "status": "complete", "duration_ms": 2.0, "planned": 2, "exit_code": 1,
            "counts": {"mine": {"pass": 1, "fail": 1}}}),
    ];
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let path = place.path().join("run.jsonl");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

fn at(place: &Place, name: &str) -> String {
    place.path().join(name).display().to_string()
}

#[test]
fn a_flipped_byte_in_a_bundle_is_found() {
    let place = Place::new();
    let run = prepare(&place).display().to_string();
    let (made, _) = place.run(&["certify", "--new-key", &at(&place, "key")]);
    assert!(made.status.success(), "{}", text(&made));
    let private = at(&place, "key/private.pem");
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        place.run(&["certify", "--new-key", &at(&place, "key")]).0.status.code(),
        Some(2),
        "no overwriting"
    );

    fs::write(at(&place, "vendor.toml"), "vendor = \"V\"\nname = \"mine\"\nversion = \"1\"\n").unwrap();
    let (vendor, bundle) = (at(&place, "vendor.toml"), at(&place, "bundle"));
    let certify = ["certify", "--vendor", &vendor, "--key", &private, "--run", &run, "--output", &bundle];
    let (made, _) = place.run(&certify);
    assert_eq!(made.status.code(), Some(1), "the run's own exit code: {}", text(&made));
    assert_eq!(place.run(&certify).0.status.code(), Some(2), "no overwriting");

    let public = at(&place, "key/public.pem");
    let check = |extra: &[&str]| {
        let mut args = vec!["verify", &bundle, "--key", &public];
        args.extend(extra);
        let (found, _) = place.run(&args);
        assert_eq!(found.status.code(), Some(1), "{}", text(&found));
        text(&found)
    };
    let whole = check(&["--challenge", "nonce-1"]);
    for good in ["signature", "files and digests", "hash chain", "statement", "one whole run", "challenge"] {
        assert!(whole.contains(&format!("✓ {good}")), "{good}: {whole}");
    }
    assert!(whole.contains("✓ reports follow from the run"), "{whole}");
    assert!(whole.contains("✗ completeness"), "two cases are not the suites: {whole}");
    assert!(check(&["--challenge", "nonce-2"]).contains("✗ challenge"));
    assert!(check(&["--harness", &"0".repeat(64)]).contains("✗ harness"));

    for (name, complaint) in [
        ("report.html", "✗ files and digests"),
        ("journal.jsonl", "✗ files and digests"),
        ("PRODUCT.yaml", "✗ files and digests"),
        ("manifest.json", "✗ files and digests"),
        ("attestation.json", "✗ signature"),
    ] {
        let path = format!("{bundle}/{name}");
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, &bad).unwrap();
        let found = check(&[]);
        assert!(found.contains(complaint) && found.contains("NOT authentic"), "{name}: {found}");
        fs::write(&path, &good).unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", format!("{bundle}/link")).unwrap();
    let (strange, _) = place.run(&["verify", &bundle, "--key", &public]);
    assert_eq!(strange.status.code(), Some(2), "{}", text(&strange));
}

#[test]
fn a_filtered_run_gets_no_certificate() {
    let place = Place::new();
    let run = prepare(&place);
    let whole = fs::read_to_string(&run).unwrap();
    let (first, rest) = whole.split_once('\n').unwrap();
    let mut header: Value = serde_json::from_str(first).unwrap();
    header["filters"] = json!(["suite(s)"]);
    fs::write(&run, format!("{header}\n{rest}")).unwrap();
    place.run(&["certify", "--new-key", &at(&place, "key")]);
    fs::write(at(&place, "vendor.toml"), "vendor = \"V\"\n").unwrap();
    let (vendor, private, bundle) =
        (at(&place, "vendor.toml"), at(&place, "key/private.pem"), at(&place, "bundle"));
    let run = run.display().to_string();
    let (refused, _) =
        place.run(&["certify", "--vendor", &vendor, "--key", &private, "--run", &run, "-o", &bundle]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("filters were active"), "{}", text(&refused));
    assert!(!place.path().join("bundle").exists());
}

#[test]
fn expectations_are_kept_true() {
    let place = Place::new();
    let run = prepare(&place).display().to_string();
    let file = at(&place, "expectations.toml");
    let old = "# ours\n\n# gone\n[[expect]]\ncase = \"s/a/one\"\nissue = \"I-1\"\nreason = \"r\"\n\n\
               # stays\n[[expect]]\ncase = \"s/b/**\"\nissue = \"I-2\"\nreason = \"r\"\n";
    fs::write(&file, old).unwrap();
    let check = || place.run(&["expectations", "check", "--run", &run, "--file", &file]).0;
    let found = check();
    assert_eq!(found.status.code(), Some(6), "{}", text(&found));
    assert!(
        text(&found).contains("fixed: s/a/one") && text(&found).contains("stale: s/b/**"),
        "{}",
        text(&found)
    );

    let (updated, _) = place.run(&["expectations", "update", "--run", &run, "--file", &file]);
    assert!(updated.status.success(), "{}", text(&updated));
    assert!(text(&updated).contains("1 kept, 1 dropped, 1 added"), "{}", text(&updated));
    let new = fs::read_to_string(&file).unwrap();
    assert!(new.starts_with("# ours\n\n# stays\n[[expect]]\ncase = \"s/b/**\""), "comments stay: {new}");
    let data: plimsoll_model::Expectations = toml::from_str(&new).unwrap();
    let added = &data.entries[1];
    assert_eq!((added.case.as_str(), added.issue.as_str()), ("s/a/two", "TODO"));
    assert!(!added.reason.is_empty());
    assert_eq!(check().status.code(), Some(6), "the stale entry is the user's to judge");
}

#[test]
fn a_page_takes_results_of_the_right_format_only() {
    let place = Place::new();
    let run = prepare(&place).display().to_string();
    let result = at(&place, "selftest.json");
    let faults = json!([{"id": "f-shown-here", "title": "t", "requirement": "r.one", "outcome": "found",
        "right_reason": true, "red": ["s/a/one"], "why": ""}]);
    let document =
        json!({"schema": "plimsoll-selftest/1", "target": "mine", "faults": faults, "false_alarms": []});
    fs::write(&result, document.to_string()).unwrap();
    let (page, _) = place.run(&["report", "render", &run, "--selftest", &result]);
    assert!(page.status.success() && text(&page).contains("f-shown-here"));
    let (refused, _) = place.run(&["report", "render", &run, "--bench", &result]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
}

#[test]
fn gitlab_finds_the_evidence() {
    let place = Place::new();
    let run = prepare(&place).display().to_string();
    let report = format!("junit={}", at(&place, "ci/all.xml"));
    let mut command = place.command(&["report", "render", &run, "--report", &report]);
    command.env("GITLAB_CI", "true").env("CI_PROJECT_DIR", place.path());
    assert!(command.output().unwrap().status.success());
    let xml = fs::read_to_string(at(&place, "ci/all.xml")).unwrap();
    let (_, rest) = xml.split_once("[[ATTACHMENT|").unwrap();
    let (path, _) = rest.split_once("]]").unwrap();
    assert!(place.path().join(path).is_file(), "{path}");
}
