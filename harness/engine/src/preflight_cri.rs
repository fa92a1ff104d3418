//! Is the endpoint a CRI server at all, and what does it have? Runs in a worker like any case.

use crate::reference::not_ready;
use plimsoll_kit::cri::{
    Answered, CGROUP_PARENTS, Capabilities, Cri, Pod, Presence, RPCS_FACT, capabilities, prepare_image,
    remove_run, v1,
};
use plimsoll_kit::job::Limits;
use plimsoll_kit::probe::ask;
use plimsoll_kit::{Cx, Stop, Value, Verdict, json};
use std::time::Duration;

/// Time for the first answer: an endpoint that accepts and says nothing is found by it.
const FIRST: Duration = Duration::from_secs(10);
/// An id that no server has given out.
const NOBODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Asks the endpoint what it is and what it has; changes nothing on it. What it says of itself becomes facts of the
/// result: `version`, `features`, and which optional rpcs there are.
pub(crate) async fn look(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let factor = cri.wait().as_secs_f64() / Limits::default().wait().as_secs_f64();
    let first = cri.client().with_deadline(FIRST.mul_f64(factor));
    let version = first.version(v1::VersionRequest::default()).await.setup()?;
    let api = &version.runtime_api_version;
    cx.record("version", format!("{} {} (CRI {api})", version.runtime_name, version.runtime_version));
    let status = first.status(v1::StatusRequest::default()).await.setup()?;
    if let Some(condition) = not_ready(&status) {
        return Err(Stop::setup(condition));
    }
    let found = capabilities(cri.client()).await.setup()?;
    check_handler(&found, cri.handler())?;
    cx.record("features", declared(&found, cri.handler(), driver(&cri, &found).await));
    cx.record(RPCS_FACT, rpcs(&found));
    Ok(())
}

/// Pulls the run's image, runs a pod with a container and has nonsense refused. Facts of the result are what cases
/// rely on.
pub(crate) async fn smoke(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    for (name, value) in prepare_image(&cri).await? {
        cx.record(&name, value);
    }
    let systemd = cx.features().is_some_and(|f| f["cgroupDriver"] == "systemd");
    let parents = Box::pin(run_one(&cri, !systemd)).await?;
    cx.record(CGROUP_PARENTS, parents);
    refuses_nonsense(&cri).await
}

/// The target's handler must be one of those that the endpoint declares, if it declares any.
fn check_handler(found: &Capabilities, handler: &str) -> Verdict {
    let declared: Vec<&str> = found.status.runtime_handlers.iter().map(|h| h.name.as_str()).collect();
    if handler.is_empty() || declared.is_empty() || declared.contains(&handler) {
        return Ok(());
    }
    let known: Vec<&str> = declared.into_iter().filter(|n| !n.is_empty()).collect();
    Err(Stop::setup(format!(
        "the endpoint has no runtime handler `{handler}` (it declares: {})",
        known.join(", ")
    )))
}

/// The cgroup driver that the endpoint declares; empty when it does not say.
async fn driver(cri: &Cri, found: &Capabilities) -> &'static str {
    if !found.has("RuntimeConfig") {
        return "";
    }
    let answer = cri.client().runtime_config(v1::RuntimeConfigRequest {}).await;
    match answer.ok().and_then(|a| a.linux).map(|l| l.cgroup_driver) {
        Some(driver) if driver == v1::CgroupDriver::Systemd as i32 => "systemd",
        Some(_) => "cgroupfs",
        None => "",
    }
}

/// What the endpoint declares of itself and of the handler, for the reports.
fn declared(found: &Capabilities, handler: &str, driver: &str) -> Value {
    let handlers: Vec<&str> = found.status.runtime_handlers.iter().map(|h| h.name.as_str()).collect();
    json!({
        "runtimeName": found.version.runtime_name,
        "runtimeVersion": found.version.runtime_version,
        "runtimeApiVersion": found.version.runtime_api_version,
        "runtimeHandlers": handlers,
        "cgroupDriver": driver,
        "capabilities": found.names(handler),
        "deviations": found.deviations().iter().map(|(rpc, text)| format!("{rpc}: {text}")).collect::<Vec<_>>(),
    })
}

/// Optional rpcs that are surely there or surely not; what could not be told is asked again by the cases.
fn rpcs(found: &Capabilities) -> Value {
    let known = found.rpcs.iter().filter(|(_, p)| !matches!(p, Presence::Unknown(_)));
    Value::Object(known.map(|(rpc, p)| ((*rpc).to_owned(), Value::Bool(*p == Presence::Present))).collect())
}

/// Runs a pod with a container to its end. Gives whether pods can be put below a cgroup that a path names.
async fn run_one(cri: &Cri, try_parent: bool) -> Result<bool, Stop> {
    let (pod, parents) = first_pod(cri, try_parent).await?;
    let container = pod.container().script(&ask(["identity"])).run().await?;
    let text = container.log_text("stdout").map_err(|_| unanswered())?;
    if !plimsoll_kit::Answers::parse(&text, cri.tag()).is_done() {
        return Err(unanswered());
    }
    pod.stop().await.setup()?;
    pod.remove().await.setup()?;
    Ok(parents)
}

fn unanswered() -> Stop {
    Stop::setup("the program of a plain container did not run to its end and leave its answers in the log")
}

async fn first_pod(cri: &Cri, try_parent: bool) -> Result<(Pod, bool), Stop> {
    if try_parent {
        let parent = format!("{}/first", cri.own_cgroup());
        if let Ok(pod) = cri.pod().linux(|l| l.cgroup_parent = parent).try_run().await {
            return Ok((pod, true));
        }
    }
    Ok((cri.pod().run().await?, false))
}

async fn refuses_nonsense(cri: &Cri) -> Verdict {
    let request = v1::StartContainerRequest { container_id: NOBODY.to_owned() };
    match cri.client().start_container(request).await {
        Err(error) if error.is_answer() => Ok(()),
        Err(error) => Err(Stop::setup(error.to_string())),
        Ok(_) => Err(Stop::setup("StartContainer of a container that does not exist does not fail")),
    }
}

/// Removes what every attempt of a run has made on the endpoint.
pub(crate) async fn clean_up(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let run = cri.fact("run").and_then(Value::as_str).unwrap_or_default().to_owned();
    if run.is_empty() {
        return Err(Stop::setup("no run was named"));
    }
    let left = remove_run(&cri, &run).await.setup()?;
    if left.is_empty() { Ok(()) } else { Err(Stop::setup(left.join("; "))) }
}
