//! Is the target a runtime at all? One container must run, one must be refused. Runs in a worker like any case.

use crate::preflight_cri;
use plimsoll_kit::case::CaseFuture;
use plimsoll_kit::job::{Job, Target};
use plimsoll_kit::prelude::*;
use plimsoll_model::SpecVersion;

/// The id under which a worker is asked for this.
pub const PREFLIGHT: &str = "plimsoll/preflight/smoke";

/// The id under which a worker is asked to look at an endpoint without changing anything on it.
pub const LOOK: &str = "plimsoll/preflight/look";

/// The id under which a worker is asked to remove what a run has made on an endpoint.
pub const CLEAN_UP: &str = "plimsoll/clean-up/endpoint";

/// Whether a job is no case of a suite.
pub(crate) fn is_own(case: &str) -> bool {
    [PREFLIGHT, LOOK, CLEAN_UP].contains(&case)
}

/// The body of a job that is no case of a suite.
pub(crate) fn body<'a>(cx: &'a mut Cx, job: &Job) -> CaseFuture<'a> {
    match (&job.target, job.case.as_str()) {
        (Target::Cri(_), LOOK) => Box::pin(preflight_cri::look(cx)),
        (Target::Cri(_), CLEAN_UP) => Box::pin(preflight_cri::clean_up(cx)),
        (Target::Cri(_), _) => Box::pin(preflight_cri::smoke(cx)),
        (Target::Oci(_), _) => Box::pin(smoke(cx)),
    }
}

/// Asks the target what it is, then makes it run one container and refuse another. What it says of itself becomes
/// facts of the result: `version`, `spec`, `features`.
async fn smoke(cx: &mut Cx) -> Verdict {
    let version = cx.runtime().call(&["--version"]).await?;
    let text = if version.succeeded() { version.stdout.trim().to_owned() } else { String::new() };
    cx.record("version", text.lines().next().unwrap_or_default());
    if let Some(spec) = declared_spec(&text) {
        cx.record("spec", spec.to_string());
    }
    let features = cx.runtime().call(&["features"]).await?;
    let document = serde_json::from_str::<Value>(&features.stdout).ok().filter(Value::is_object);
    if let Some(document) = document.filter(|_| features.succeeded()) {
        cx.record("features", document);
    }
    let container = cx.container(probe::ask(["identity"])).stopped().await?;
    let answers = container.answers_so_far()?;
    if !answers.is_done() {
        return Err(Stop::setup("the program of a plain container did not run to its end"));
    }
    container.delete().await?.ready("delete of a stopped container")?;
    let missing = cx.dir().join("no-such-bundle").display().to_string();
    let id = cx.new_id();
    let refused = cx.runtime().call(&["create", "--bundle", &missing, &id]).await?;
    if refused.must_fail().is_err() {
        return Err(Stop::setup(format!(
            "create of a bundle that does not exist does not fail: {}",
            refused.describe()
        )));
    }
    Ok(())
}

/// The `spec: X` line that runtimes print with their version.
fn declared_spec(text: &str) -> Option<SpecVersion> {
    text.lines().find_map(|l| l.trim().strip_prefix("spec:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::declared_spec;

    #[test]
    fn reads_the_spec_line() {
        let text = "x version 1.1.5\ncommit: y\nspec: 1.0.2-dev\ngo: go1.19\n";
        assert_eq!(declared_spec(text).unwrap().to_string(), "1.0.2-dev");
        assert!(declared_spec("nothing").is_none());
    }
}
