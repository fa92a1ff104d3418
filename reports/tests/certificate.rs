//! Certificates: what was made verifies, and what was changed does not.

// Helpers of tests end the test where they cannot go on.
#![allow(clippy::unwrap_used)]

mod common;

use plimsoll_model::Run;
use plimsoll_reports::certificate::{self, CertifyError, Files, Harness, Policy, Product, verify};
use serde_json::Value;

const SEED: [u8; 32] = [7; 32];

fn harness() -> Harness {
    Harness {
        version: "0.1.0".into(),
        commit: "abc".into(),
        dirty: false,
        sha256: "ab".repeat(32),
        faults: false,
    }
}

/// A run that can be certified: one target, no retries.
fn whole(label: &str) -> Run {
    let mut run = common::sample();
    run.superseded.clear();
    run.header.targets.retain(|t| t.label == label);
    run.records.retain(|r| r.target == label);
    run.records.iter_mut().for_each(|r| r.attempt = 1);
    run.header.challenge = Some("nonce-1".into());
    run.header.run_id = format!("{}0001", plimsoll_model::run::challenge_mark("nonce-1"));
    let counts = run.counts();
    let footer = run.footer.as_mut().unwrap();
    footer.planned = run.records.len() as u64;
    footer.counts = counts;
    footer.exit_code = 0;
    run
}

fn product() -> Product {
    Product {
        vendor: "V: \"quoted\"".into(),
        name: "runtime".into(),
        version: "1".into(),
        ..Product::default()
    }
}

fn bundle(run: &Run) -> Files {
    let (private, _) = certificate::key_pair(&SEED).unwrap();
    certificate::build(run, &product(), &harness(), &private).unwrap().into_iter().collect()
}

fn public() -> String {
    certificate::key_pair(&SEED).unwrap().1
}

fn is_authentic(files: &Files) -> bool {
    verify(files, &public(), &Policy::default()).authentic
}

#[test]
fn a_bundle_verifies_and_says_what_it_shows() {
    let run = whole("ref-oci");
    let files = bundle(&run);
    for name in [
        "README.md",
        "results.yaml",
        "report.html",
        "junit.xml",
        "PRODUCT.yaml",
        "environment.json",
        "requirements.json",
        "waivers.json",
        "journal.jsonl",
        "manifest.json",
        "attestation.json",
        "evidence/ref-oci/oci-runtime.cgroups.memory-max.txt",
    ] {
        assert!(files.contains_key(name), "{name}");
    }
    assert_eq!(files, bundle(&run), "the same run gives the same bundle");
    let policy = Policy {
        challenge: Some("nonce-1"),
        harnesses: &["ab".repeat(32)],
        plan: Some(&run.header.plan),
        requirements: Some(&run.header.requirements),
    };
    let found = verify(&files, &public(), &policy);
    assert!(found.authentic, "{}", found.to_text());
    assert!(!found.conformant, "a skipped MUST and an open requirement are reservations");
    assert_eq!(found.result, "WARNED");
    assert_eq!(
        found.reservations,
        ["oci-runtime/cgroups/memory-max on ref-oci: skip", "config.root.open: no case covers it"]
    );
    let failed = verify(&bundle(&whole("runc")), &public(), &Policy::default());
    assert!(failed.authentic && failed.result == "FAILED" && !failed.conformant);
}

#[test]
fn a_clean_run_shows_conformance() {
    let mut run = whole("ref-oci");
    let gone = run.header.plan.pop().unwrap();
    run.records.retain(|r| r.case != gone.id);
    run.header.requirements.retain(|r| r.id != "config.root.open");
    let counts = run.counts();
    let footer = run.footer.as_mut().unwrap();
    footer.planned = run.records.len() as u64;
    footer.counts = counts;
    let found = verify(&bundle(&run), &public(), &Policy::default());
    assert!(found.conformant && found.result == "PASSED", "{}", found.to_text());
}

#[test]
fn every_flipped_byte_is_found() {
    let mut run = whole("ref-oci");
    run.header.requirements.clear();
    run.header.plan.truncate(1);
    run.records.truncate(1);
    let counts = run.counts();
    let footer = run.footer.as_mut().unwrap();
    footer.planned = 1;
    footer.counts = counts;
    let mut files = bundle(&run);
    assert!(is_authentic(&files));
    let names: Vec<String> = files.keys().cloned().collect();
    let mut tried = 0;
    for name in names {
        // Every byte of what the signature hangs on and of the small files; of the bulk, whose bytes all hang on one
        // digest, a part. `PLIMSOLL_ALL_BYTES` flips each one, which takes minutes.
        let size = files[&name].len();
        let all = name == certificate::ATTESTATION || name == certificate::MANIFEST || size < 400;
        let step =
            if all || std::env::var_os("PLIMSOLL_ALL_BYTES").is_some() { 1 } else { (size / 60).max(1) };
        for at in (0..size).step_by(step) {
            let mask = [1_u8, 3, 0x20, 0x80][at % 4];
            files.get_mut(&name).unwrap()[at] ^= mask;
            assert!(!is_authentic(&files), "{name} byte {at} mask {mask}");
            files.get_mut(&name).unwrap()[at] ^= mask;
            tried += 1;
        }
    }
    assert!(tried > 2_000, "{tried}");
    assert!(is_authentic(&files));
}

#[test]
fn files_cannot_be_dropped_added_or_swapped() {
    let files = bundle(&whole("ref-oci"));
    let names: Vec<&String> = files.keys().collect();
    for name in &names {
        let mut less = files.clone();
        less.remove(*name);
        assert!(!is_authentic(&less), "without {name}");
    }
    let mut more = files.clone();
    more.insert("evidence/extra.txt".into(), b"x".to_vec());
    assert!(!is_authentic(&more));
    for pair in names.windows(2) {
        let mut swapped = files.clone();
        swapped.insert(pair[0].clone(), files[pair[1]].clone());
        swapped.insert(pair[1].clone(), files[pair[0]].clone());
        assert!(!is_authentic(&swapped), "{} and {}", pair[0], pair[1]);
    }
}

#[test]
fn the_journal_cannot_be_cut_or_rearranged() {
    let files = bundle(&whole("ref-oci"));
    let text = String::from_utf8(files["journal.jsonl"].clone()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut variants: Vec<Vec<&str>> = (0..lines.len()).map(|n| lines[..n].to_vec()).collect();
    for at in 1..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(at);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        let mut moved = lines.clone();
        moved.swap(at - 1, at);
        variants.extend([dropped, doubled, moved]);
    }
    for variant in variants {
        let mut changed = files.clone();
        changed.insert("journal.jsonl".into(), variant.concat().into_bytes());
        let found = verify(&changed, &public(), &Policy::default());
        assert!(!found.authentic);
        let chain = found.checks.iter().find(|c| c.name == "hash chain").unwrap();
        let digests = found.checks.iter().find(|c| c.name == "files and digests").unwrap();
        assert!(!digests.problems.is_empty());
        // Cut at a line end the chain itself is sound; the digest and the statement's head tell.
        assert!(!chain.problems.is_empty() || variant.len() < lines.len());
    }
}

#[test]
fn outcomes_cannot_be_exchanged_between_cases() {
    let honest = whole("runc");
    let files = bundle(&honest);
    let mut swapped = honest.clone();
    let (a, b) = {
        let kinds: Vec<_> = swapped.records.iter().map(|r| r.outcome.kind()).collect();
        let other = kinds.iter().position(|k| *k != kinds[0]).unwrap();
        (0, other)
    };
    let first = swapped.records[a].outcome.clone();
    swapped.records[a].outcome = swapped.records[b].outcome.clone();
    swapped.records[b].outcome = first;
    // Everything made again for the lie, under a key of one's own; only the vendor's signature is taken over.
    let (private, _) = certificate::key_pair(&[9; 32]).unwrap();
    let mut lie: Files =
        certificate::build(&swapped, &product(), &harness(), &private).unwrap().into_iter().collect();
    assert!(!is_authentic(&lie));
    lie.insert("attestation.json".into(), files["attestation.json"].clone());
    assert!(!is_authentic(&lie));
}

#[test]
fn a_journal_has_one_reading_even_from_who_may_sign() {
    let run = whole("ref-oci");
    let files = bundle(&run);
    let text = String::from_utf8(files["journal.jsonl"].clone()).unwrap();
    // The chain is made anew over the changed events, as a vendor with the key could do.
    let rechained = |change: &dyn Fn(&str) -> String| {
        let mut head = sha256(b"plimsoll-journal/1\n");
        let mut out = String::new();
        for (seq, line) in text.lines().enumerate() {
            let event = line.split_once("\"event\":").unwrap().1.strip_suffix('}').unwrap();
            let line = format!("{{\"seq\":{seq},\"prev\":\"{head}\",\"event\":{}}}\n", change(event));
            head = sha256(line.as_bytes());
            out.push_str(&line);
        }
        out
    };
    assert_eq!(rechained(&str::to_owned), text, "the test knows the chain");
    for change in [
        &|e: &str| e.replacen("\"kind\":\"pass\"", "\"kind\":\"pass\",\"kind\":\"pass\"", 1),
        &|e: &str| e.replacen("\"attempt\":1", "\"attempt\":1,\"unheard-of\":1", 1),
        &|e: &str| e.replacen("\"attempt\":1", "\"attempt\": 1", 1),
        &|e: &str| e.replacen("\"duration_ms\":87.25", "\"duration_ms\":8725e-2", 1),
    ] as [&dyn Fn(&str) -> String; 4]
    {
        let mut changed = files.clone();
        let journal = rechained(change);
        assert_ne!(journal, text);
        changed.insert("journal.jsonl".into(), journal.into_bytes());
        let found = verify(&changed, &public(), &Policy::default());
        let chain = found.checks.iter().find(|c| c.name == "hash chain").unwrap();
        assert!(!found.authentic && !chain.problems.is_empty(), "{}", found.to_text());
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").unwrap();
        out
    })
}

/// Changes a run and signs the result with the same key: what a vendor who cheats could do.
fn forged(change: impl Fn(&mut Run)) -> Result<Files, CertifyError> {
    let mut run = whole("ref-oci");
    change(&mut run);
    let (private, _) = certificate::key_pair(&SEED).unwrap();
    Ok(certificate::build(&run, &product(), &harness(), &private)?.into_iter().collect())
}

#[test]
fn a_run_that_is_not_whole_gets_no_certificate() {
    let unfit = |change: fn(&mut Run)| matches!(forged(change), Err(CertifyError::Unfit(_)));
    assert!(unfit(|r| r.footer = None));
    assert!(unfit(|r| r.header.filters = vec!["suite(x)".into()]));
    assert!(unfit(|r| r.header.partition = Some("slice:1/2".into())));
    assert!(unfit(|r| r.superseded = vec![r.records[0].clone()]));
    assert!(unfit(|r| drop(r.records.pop())));
    assert!(unfit(|r| r.header.targets[0].sha256 = None));
    assert!(unfit(|r| r.footer.as_mut().unwrap().replaced = vec!["ref-oci".into()]));
    assert!(unfit(|r| r.header.targets[0].spec = "oci:/usr/bin/plimsoll-faults".parse().unwrap()));
    assert!(unfit(|r| r.header.targets[0].unfit = Some("x".into())));
    assert!(matches!(
        certificate::build(&whole("runc"), &product(), &harness(), "no key"),
        Err(CertifyError::Key(_))
    ));
}

#[test]
fn the_policy_binds() {
    let honest = whole("ref-oci");
    let check = |files: &Files, policy: &Policy<'_>| verify(files, &public(), policy).authentic;
    let plan = Policy { plan: Some(&honest.header.plan), ..Policy::default() };
    let fewer = forged(|r| {
        let gone = r.header.plan.remove(0);
        r.records.retain(|x| x.case != gone.id);
        let counts = r.counts();
        let footer = r.footer.as_mut().unwrap();
        footer.planned = r.records.len() as u64;
        footer.counts = counts;
    });
    let fewer = fewer.unwrap();
    assert!(check(&fewer, &Policy::default()) && !check(&fewer, &plan), "a dropped case");
    let weaker = forged(|r| r.header.plan[0].severity = plimsoll_model::Severity::Record).unwrap();
    assert!(!check(&weaker, &plan), "a case made weaker");
    let catalogue = Policy { requirements: Some(&honest.header.requirements), ..Policy::default() };
    let other = forged(|r| drop(r.header.requirements.remove(0))).unwrap();
    assert!(!check(&other, &catalogue), "another catalogue");
    let good = bundle(&honest);
    assert!(check(&good, &Policy { challenge: Some("nonce-1"), ..Policy::default() }));
    assert!(!check(&good, &Policy { challenge: Some("nonce-2"), ..Policy::default() }), "a replayed run");
    let renamed = forged(|r| r.header.run_id = "00000000".into()).unwrap();
    assert!(
        !check(&renamed, &Policy { challenge: Some("nonce-1"), ..Policy::default() }),
        "names of another run"
    );
    assert!(
        !check(&good, &Policy { harnesses: &["cd".repeat(32)], ..Policy::default() }),
        "an unknown harness"
    );
    let (private, _) = certificate::key_pair(&SEED).unwrap();
    for bad in [
        Harness { faults: true, ..harness() },
        Harness { dirty: true, ..harness() },
        Harness { sha256: String::new(), ..harness() },
    ] {
        let files: Files =
            certificate::build(&honest, &product(), &bad, &private).unwrap().into_iter().collect();
        assert!(!check(&files, &Policy::default()), "{bad:?}");
    }
}

#[test]
fn another_key_or_a_confused_type_is_refused() {
    let files = bundle(&whole("ref-oci"));
    let (_, other) = certificate::key_pair(&[8; 32]).unwrap();
    assert!(!verify(&files, &other, &Policy::default()).authentic);
    assert!(!verify(&files, "-----BEGIN PUBLIC KEY-----\n", &Policy::default()).authentic);
    let envelope: Value = serde_json::from_slice(&files["attestation.json"]).unwrap();
    let mut variants = Vec::new();
    let mut change = |f: &dyn Fn(&mut Value)| {
        let mut other = envelope.clone();
        f(&mut other);
        variants.push(format!("{other}\n"));
    };
    change(&|e| e["payloadType"] = "text/plain".into());
    change(&|e| e["signatures"] = serde_json::json!([]));
    change(&|e| e["signatures"] = serde_json::json!([e["signatures"][0], e["signatures"][0]]));
    change(&|e| e["extra"] = 1.into());
    change(&|e| e["payload"] = "".into());
    variants.push(format!(" {envelope}\n"));
    variants.push(format!("{envelope}"));
    variants.push(format!("{envelope}\n").replacen('{', "{\"payloadType\":\"x\",", 1));
    for variant in variants {
        let mut changed = files.clone();
        changed.insert("attestation.json".into(), variant.clone().into_bytes());
        assert!(!is_authentic(&changed), "{variant}");
    }
}

#[test]
fn hostile_text_makes_a_sound_bundle() {
    let mut run = common::hostile::run();
    run.header.filters.clear();
    run.header.partition = None;
    for target in &mut run.header.targets {
        target.sha256 = Some("cd".repeat(32));
    }
    let (private, public) = certificate::key_pair(&SEED).unwrap();
    let files: Files =
        certificate::build(&run, &product(), &harness(), &private).unwrap().into_iter().collect();
    assert!(
        files.keys().all(
            |n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b)) && !n.contains("..")
        )
    );
    let found = verify(&files, &public, &Policy::default());
    assert!(found.authentic, "{}", found.to_text());
}
