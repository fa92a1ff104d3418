//! The suites' catalogues and the fault catalogue, joined: neither side may import the other, so they meet here.
#![allow(clippy::unwrap_used)]

use plimsoll_engine::Plan;
use plimsoll_faults::{catalogue, uncoverable};
use plimsoll_kit::Suite;
use plimsoll_kit::case::Drives;
use std::collections::BTreeSet;

static SUITES: &[&Suite] = &[
    &plimsoll_suite_oci_runtime::SUITE,
    &plimsoll_suite_runc_cli::SUITE,
    &plimsoll_suite_security::SUITE,
    &plimsoll_suite_cri::SUITE,
];

fn plan() -> Plan {
    Plan::everything(SUITES, &[Drives::Oci, Drives::Cri]).unwrap()
}

fn broken() -> BTreeSet<&'static str> {
    catalogue().iter().flat_map(|f| f.requirements.iter().map(String::as_str)).collect()
}

#[test]
fn every_must_with_a_case_has_a_fault_or_a_reason() {
    let plan = plan();
    let covered: BTreeSet<&str> =
        plan.cases.iter().flat_map(|c| c.covers.iter().map(String::as_str)).collect();
    let (broken, reasons) = (broken(), uncoverable().iter().map(|(r, _)| *r).collect::<BTreeSet<_>>());
    let rows = plan.catalogue.rows().iter();
    let missing: Vec<&str> = rows
        .filter(|r| r.level.is_must() && covered.contains(r.id.as_str()))
        .map(|r| r.id.as_str())
        .filter(|id| !broken.contains(id) && !reasons.contains(id))
        .collect();
    assert!(missing.is_empty(), "a case, but neither a fault nor a reason for having none: {missing:#?}");
}

#[test]
fn what_faults_break_stands_in_a_catalogue() {
    let plan = plan();
    let unknown: Vec<(&str, &str)> = catalogue()
        .iter()
        .flat_map(|f| f.requirements.iter().map(|r| (f.id.as_str(), r.as_str())))
        .filter(|(_, r)| plan.catalogue.get(r).is_none())
        .collect();
    assert!(unknown.is_empty(), "faults of requirements that no suite has: {unknown:#?}");
}

#[test]
fn reasons_are_about_requirements_of_a_catalogue() {
    let plan = plan();
    let odd: Vec<_> = uncoverable().iter().filter(|(r, _)| plan.catalogue.get(r).is_none()).collect();
    assert!(odd.is_empty(), "reasons about requirements that no suite has: {odd:#?}");
}

#[test]
fn there_are_enough_faults() {
    let of = |layer: &str| catalogue().iter().filter(|f| f.layer == layer).count();
    let (cri, other) = (of("cri"), of("bench") + of("inside"));
    assert!(cri >= 140, "{cri} faults of a CRI endpoint");
    assert!(catalogue().len() - cri - other >= 200, "too few faults of an OCI runtime");
}
