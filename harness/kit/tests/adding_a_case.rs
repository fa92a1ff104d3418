//! The example of harness/docs/ADDING-A-CASE.md, compiled; the document has to show exactly this.
#![allow(missing_docs, clippy::unwrap_used)]

// begin
use plimsoll_kit::prelude::*;

pub static CASES: &[Case] = &[stopped_is_error];

/// Signalling a stopped container is an error and leaves its state unchanged.
#[case(covers = ["kill.not-created-or-running.errors"])]
async fn stopped_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?; // trouble here is not a verdict
    let before = container.state().await?;
    container.kill("TERM").await?.must_fail()?; // a violation unless it fails cleanly
    check_eq!(container.state().await?, before, "the state after the failed kill");
    Ok(())
}
// end

#[test]
fn the_document_shows_this_example() {
    let source = include_str!("adding_a_case.rs");
    let example = source.split("// begin\n").nth(1).and_then(|s| s.split("// end").next()).unwrap();
    let document = include_str!("../../docs/ADDING-A-CASE.md");
    assert!(document.contains(example.trim_end()), "harness/docs/ADDING-A-CASE.md shows another example");
    assert!(
        example.lines().skip_while(|l| !l.starts_with("///")).count() < 15,
        "a case takes under 15 lines"
    );
    assert_eq!(CASES[0].name, "stopped-is-error");
    assert_eq!(
        CASES[0].summary,
        "Signalling a stopped container is an error and leaves its state unchanged."
    );
}
