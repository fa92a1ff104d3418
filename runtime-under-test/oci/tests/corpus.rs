//! The corpus of invalid configurations: for each a clean error, no panic, no hang, and nothing left behind.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod common;
mod corpus_parts {
    pub mod base;
    pub mod limits;
    pub mod mutate;
    pub mod rules;
}

use common::{Bench, bench, text};
use corpus_parts::{base, mutate, mutate::Change, rules};
use serde_json::Value;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// No create takes this long; one that does hangs.
const HANG: Duration = Duration::from_secs(30);

/// One create, with a bound.
fn create(b: &Bench) -> Option<(ExitStatus, String)> {
    let log = b.dir.path().join("err");
    let file = std::fs::File::create(&log).unwrap();
    let mut command = b.command(&["create", "--bundle", &b.bundle_arg(), &b.id]);
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
    let end = Instant::now() + HANG;
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some((status, text(&std::fs::read(&log).unwrap())));
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// What is wrong with how the runtime treats this document, if anything is.
fn fault(b: &Bench, document: &Value) -> Option<String> {
    b.write(document);
    let Some((status, said)) = create(b) else {
        b.ok(&["delete", "--force", &b.id]);
        return Some("hangs".into());
    };
    if status.success() {
        b.ok(&["delete", "--force", &b.id]);
        return Some("is accepted".into());
    }
    if status.code() != Some(1) || said.contains("panicked") {
        return Some(format!("ends with {status}: {said}"));
    }
    // One sentence for the caller, as the engines parse it.
    if said.lines().filter(|l| l.contains("level=error")).count() != 1 {
        return Some(format!("is not refused with one error: {said}"));
    }
    let left = b.leftovers();
    (!left.is_empty()).then(|| format!("leaves {left:?}"))
}

/// Breaks `document` in each of these ways; returns how many there were.
fn all_are_refused(document: impl Fn(&str) -> Value, changes: &[Change]) -> usize {
    let Some(b) = bench() else { return changes.len() };
    let good = document(&b.id);
    b.write(&good);
    let made = b.create();
    assert!(made.status.success(), "the unchanged document: {}", text(&made.stderr));
    b.ok(&["delete", "--force", &b.id]);
    let faults: Vec<String> = changes
        .iter()
        .filter_map(|c| fault(&b, &c.apply(&good)).map(|f| format!("{} {f}", c.name())))
        .collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), changes.len(), faults.join("\n"));
    changes.len()
}

#[test]
fn every_breach_of_a_rule_is_refused() {
    all_are_refused(base::plain, &rules::plain());
    all_are_refused(base::mapped, &rules::mapped());
}

#[test]
fn every_value_of_a_wrong_type_is_refused() {
    all_are_refused(base::plain, &mutate::wrong_types(&base::plain("x")));
    all_are_refused(base::mapped, &mutate::wrong_types(&base::mapped("x")));
}

#[test]
fn the_corpus_has_its_size() {
    let rules = rules::plain().len() + rules::mapped().len();
    let types = mutate::wrong_types(&base::plain("x")).len() + mutate::wrong_types(&base::mapped("x")).len();
    println!("{rules} breaches of rules, {types} values of a wrong type");
    assert!(rules >= 400 && types >= 1000 && rules + types >= 1500, "{rules} + {types}");
}
