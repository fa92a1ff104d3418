//! Submissions: laid out as programmes want them, and what a reviewer would object to.
#![allow(clippy::unwrap_used)]

mod common;

use plimsoll_model::{OutcomeKind, Run};
use plimsoll_reports::certificate::{CertifyError, Files, Harness, Product};
use plimsoll_reports::submission::{self, Style, objections};

fn harness() -> Harness {
    Harness { version: "0.1.0".into(), sha256: "ab".repeat(32), ..Harness::default() }
}

fn product() -> Product {
    Product {
        vendor: "Vendor".into(),
        name: "My Runtime".into(),
        version: "1.0".into(),
        website_url: "https://example.org".into(),
        kind: "runtime".into(),
        description: "Runs containers.".into(),
        ..Product::default()
    }
}

/// A run of one target in which nothing is reserved.
fn clean() -> Run {
    let mut run = common::sample();
    run.superseded.clear();
    run.header.targets.retain(|t| t.label == "ref-oci");
    run.records.retain(|r| r.target == "ref-oci" && r.outcome.kind() == OutcomeKind::Pass);
    let kept: Vec<String> = run.records.iter().map(|r| r.case.to_string()).collect();
    run.header.plan.retain(|c| kept.contains(&c.id.to_string()));
    run.header.requirements.retain(|r| r.id != "config.root.open");
    let counts = run.counts();
    let footer = run.footer.as_mut().unwrap();
    footer.planned = run.records.len() as u64;
    footer.counts = counts;
    footer.exit_code = 0;
    run
}

fn built(run: &Run, style: Style) -> Files {
    submission::build(run, &product(), &harness(), style).unwrap().files
}

#[test]
fn each_programme_gets_its_layout() {
    let run = clean();
    let oci = submission::build(&run, &product(), &harness(), Style::Oci).unwrap();
    assert_eq!(oci.directory, "runtime-spec/v1.0/my-runtime");
    let names: Vec<&str> = oci.files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["PRODUCT.yaml", "README.md", "SHA256SUMS", "junit.xml", "report.html", "results.yaml"]
    );
    let cncf = submission::build(&run, &product(), &harness(), Style::Cncf).unwrap();
    assert_eq!(cncf.directory, "v1.0/my-runtime");
    let names: Vec<&str> = cncf.files.keys().map(String::as_str).collect();
    assert_eq!(names, ["PRODUCT.yaml", "README.md", "SHA256SUMS", "e2e.log", "junit_01.xml"]);
    let log = String::from_utf8(cncf.files["e2e.log"].clone()).unwrap();
    let number = run.records.len();
    assert!(log.ends_with(&format!("\n{number} Passed | 0 Failed | 0 Pending | 0 Skipped\n")), "{log}");
    for files in [&oci.files, &cncf.files] {
        assert_eq!(objections(files), Vec::<String>::new());
    }
    assert_eq!(built(&run, Style::Oci), built(&run, Style::Oci), "the same run gives the same bytes");
}

#[test]
fn a_run_that_is_not_whole_is_not_laid_out() {
    let refused = |change: fn(&mut Run)| {
        let mut run = clean();
        change(&mut run);
        matches!(submission::build(&run, &product(), &harness(), Style::Oci), Err(CertifyError::Unfit(_)))
    };
    assert!(refused(|r| r.header.filters = vec!["suite(x)".into()]));
    assert!(refused(|r| r.header.partition = Some("slice:1/2".into())));
    assert!(refused(|r| r.superseded = vec![r.records[0].clone()]));
    assert!(refused(|r| r.footer = None));
    assert!(refused(|r| r.header.targets[0].spec_version = None));
    assert!(refused(|r| r.header.targets.push(r.header.targets[0].clone())));
    let nameless = Product { name: String::new(), ..product() };
    assert!(submission::build(&clean(), &nameless, &harness(), Style::Oci).is_err());
}

#[test]
fn a_reviewer_objects_to_what_is_wrong() {
    let says = |files: &Files, want: &str| {
        let found = objections(files);
        assert!(found.iter().any(|o| o.contains(want)), "{want}: {found:?}");
    };
    let good = built(&clean(), Style::Oci);
    for name in ["PRODUCT.yaml", "README.md", "SHA256SUMS", "junit.xml", "report.html", "results.yaml"] {
        let mut less = good.clone();
        less.remove(name);
        assert!(!objections(&less).is_empty(), "without {name}");
        let mut changed = good.clone();
        changed.get_mut(name).unwrap().push(b'x');
        says(&changed, "not as SHA256SUMS says");
    }
    let mut keyed = good.clone();
    keyed.insert("key.pem".into(), concat!("-----BEGIN PRIVATE", " KEY-----").into());
    says(&keyed, "holds a private key");
    let silent = Product { description: String::new(), ..product() };
    let files = submission::build(&clean(), &silent, &harness(), Style::Oci).unwrap().files;
    says(&files, "PRODUCT.yaml gives no description");
    let dirty = Harness { dirty: true, ..harness() };
    let files = submission::build(&clean(), &product(), &dirty, Style::Oci).unwrap().files;
    says(&files, "changed sources");
    let mut hostless = clean();
    hostless.header.host.kernel.clear();
    says(&built(&hostless, Style::Oci), "does not describe the host");

    let mut failed = clean();
    let violation = plimsoll_model::Violation::new("a", "b").of("runtime.state.status");
    failed.records[0].outcome = plimsoll_model::Outcome::Fail { violations: vec![violation] };
    says(&built(&failed, Style::Oci), "the result is FAILED");
    says(&built(&failed, Style::Cncf), "1 Failed");
    let mut skipped = clean();
    skipped.records[0].outcome = plimsoll_model::Outcome::Skip { lack: "x".into(), reason: "y".into() };
    says(&built(&skipped, Style::Oci), ": skip");
    let mut uncovered = clean();
    uncovered.header.requirements = common::sample().header.requirements;
    says(&built(&uncovered, Style::Oci), "no case covers it");
}
