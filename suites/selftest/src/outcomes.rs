//! One case for each way in which a body can end.

use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    passes,
    fails,
    fails_another_requirement,
    warns,
    records,
    skips,
    is_not_applicable,
    is_newer_than_the_target,
    runs_a_container,
];

/// A body that returns without complaint passes.
#[case(covers = ["self.must"])]
async fn passes(_cx: &mut Cx) -> Verdict {
    Ok(())
}

/// A violated obligation fails the case.
#[case(covers = ["self.must"])]
async fn fails(_cx: &mut Cx) -> Verdict {
    check_eq!(2 + 2, 5, "the sum");
    Ok(())
}

/// A violation counts against the requirement that it names.
#[case(covers = ["self.must"])]
async fn fails_another_requirement(_cx: &mut Cx) -> Verdict {
    Err(Stop::violation("nothing", "something").of("self.other"))
}

/// A violated recommendation is a warning.
#[case(covers = ["self.should"])]
async fn warns(_cx: &mut Cx) -> Verdict {
    Err(Stop::violation("the recommended", "the other"))
}

/// What a permission leaves open is a fact.
#[case(covers = ["self.may"])]
async fn records(cx: &mut Cx) -> Verdict {
    cx.record("self.said", "as it likes");
    Err(Stop::violation("either", "this one"))
}

/// What the host lacks skips the case.
#[case(covers = ["self.must"])]
async fn skips(cx: &mut Cx) -> Verdict {
    cx.need(false, "a-second-moon", "there is one only")
}

/// What the target declares to lack makes the case not applicable.
#[case(covers = ["self.must"])]
async fn is_not_applicable(_cx: &mut Cx) -> Verdict {
    Err(Stop::NotApplicable { capability: "teleport".into(), reason: "it says so".into() })
}

/// A requirement of a later specification does not bind the target.
#[case(covers = ["self.newer"])]
async fn is_newer_than_the_target(_cx: &mut Cx) -> Verdict {
    Err(Stop::violation("not to be run", "run"))
}

/// A whole container, left for the engine to delete.
#[case(covers = ["self.must"])]
async fn runs_a_container(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).running().await?;
    check_eq!(container.state().await?.status(), "running", "the status");
    Ok(())
}
