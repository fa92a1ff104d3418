//! ps and list, for programs and for people.

use super::support::{answers_at, need_verb, output_at, running};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    processes_are_an_array_of_numbers,
    processes_of_exec_are_among_them,
    processes_are_a_table,
    processes_of_an_unknown_container_are_an_error,
    containers_are_an_array_of_objects,
    containers_are_lines_of_ids,
    containers_are_a_table,
    empty_root_has_no_containers,
];

async fn processes(cx: &Cx, id: &str) -> Result<Vec<i64>, Stop> {
    let call = cx.runtime().call(&["ps", "--format", "json", id]).await?;
    call.must_succeed()?;
    let pids: Option<Vec<i64>> = serde_json::from_str(call.stdout.trim()).ok();
    pids.ok_or_else(|| Stop::violation("an array of process ids", describe(&call.stdout)))
}

/// The JSON form of ps is an array of process ids, one for a container with one process.
#[case(covers = ["cli.ps.json"])]
async fn processes_are_an_array_of_numbers(cx: &mut Cx) -> Verdict {
    need_verb(cx, "ps").await?;
    let container = running(cx).await?;
    let pids = processes(cx, container.id()).await?;
    check_eq!(pids.len(), 1, "the number of processes");
    check_eq!(pids[0], container.state().await?.pid().map(i64::from).unwrap_or_default(), "the process id");
    Ok(())
}

/// A process that exec started is among the processes.
#[case(covers = ["cli.ps.exec"])]
async fn processes_of_exec_are_among_them(cx: &mut Cx) -> Verdict {
    need_verb(cx, "ps").await?;
    let container = running(cx).await?;
    let nonce = format!("{}-beside", container.nonce());
    let stem = cx.dir().join("detached");
    // With a pid file, as callers do: what an exec without one does is another case's question.
    let (pid_file, text) =
        (cx.dir().join("exec.pid").display().to_string(), probe::pause().text(&nonce, None));
    let args = ["exec", "--detach", "--pid-file", &pid_file, container.id(), "/probe", &text];
    cx.runtime().call_with(&args, output_at(&stem)).await?.ready("a detached exec")?;
    answers_at(cx, &stem, &nonce, Answers::is_ready).await?;
    check_eq!(processes(cx, container.id()).await?.len(), 2, "the number of processes");
    Ok(())
}

/// Without a format ps prints a table with a column for process ids.
#[case(covers = ["cli.ps.table"])]
async fn processes_are_a_table(cx: &mut Cx) -> Verdict {
    need_verb(cx, "ps").await?;
    cx.need_path("/usr/bin/ps", "ps").or_else(|_| cx.need_path("/bin/ps", "ps"))?;
    let container = running(cx).await?;
    let call = cx.runtime().verb("ps", container.id()).await?;
    call.must_succeed()?;
    let header = call.stdout.lines().next().unwrap_or_default();
    check!(header.contains("PID"), "a header with PID", "{header:?}");
    check!(call.stdout.lines().count() >= 2, "a line for the process", "{}", describe(&call.stdout));
    Ok(())
}

/// ps of a container that is not there is an error.
#[case(covers = ["cli.ps.unknown"])]
async fn processes_of_an_unknown_container_are_an_error(cx: &mut Cx) -> Verdict {
    need_verb(cx, "ps").await?;
    cx.runtime().verb("ps", &cx.new_id()).await?.must_fail()?;
    Ok(())
}

const STATUSES: &[Variant] =
    &[Variant::new("created", &[]), Variant::new("running", &[]), Variant::new("stopped", &[])];

/// The JSON form of list is an array with id, status, pid and bundle of each container.
#[case(covers = ["cli.list.json"], matrix(status = STATUSES))]
async fn containers_are_an_array_of_objects(cx: &mut Cx) -> Verdict {
    let container = match cx.param("status") {
        "created" => cx.container(probe::pause()).created().await?,
        "running" => running(cx).await?,
        _ => cx.container(probe::exit(0)).stopped().await?,
    };
    let call = cx.runtime().call(&["list", "--format", "json"]).await?;
    call.must_succeed()?;
    let list: Vec<Value> = serde_json::from_str(call.stdout.trim()).unwrap_or_default();
    let Some(entry) = list.iter().find(|e| e["id"] == container.id()) else {
        return Err(Stop::violation("an array with the container in it", describe(&call.stdout)));
    };
    check_eq!(entry["status"], json!(cx.param("status")), "status");
    check_eq!(entry["bundle"], json!(container.bundle().dir().display().to_string()), "bundle");
    // A stopped container has no process: some print 0 for it, some nothing.
    let pid_ok = entry["pid"].is_i64() || cx.param("status") == "stopped";
    check!(pid_ok, "a pid", "{}", entry["pid"]);
    if cx.param("status") == "running" {
        check_eq!(entry["pid"].as_i64(), container.state().await?.pid().map(i64::from), "pid");
    }
    Ok(())
}

const QUIET: &[Variant] = &[Variant::new("--quiet", &[]), Variant::new("-q", &[])];

/// The quiet form of list is one id per line.
#[case(covers = ["cli.list.quiet"], matrix(flag = QUIET))]
async fn containers_are_lines_of_ids(cx: &mut Cx) -> Verdict {
    if cx.param("flag") == "-q" {
        super::support::need_flag(cx, "list", "q").await?;
    }
    let first = cx.container(probe::pause()).created().await?;
    let second = cx.container(probe::pause()).created().await?;
    let call = cx.runtime().call(&["list", cx.param("flag")]).await?;
    call.must_succeed()?;
    let mut ids: Vec<&str> = call.stdout.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    ids.sort_unstable();
    let mut expected = [first.id(), second.id()];
    expected.sort_unstable();
    check_eq!(ids, expected, "the lines");
    Ok(())
}

/// Without a format list prints a header and a line for each container.
#[case(covers = ["cli.list.table"])]
async fn containers_are_a_table(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    let call = cx.runtime().call(&["list"]).await?;
    call.must_succeed()?;
    let mut lines = call.stdout.lines();
    let header = lines.next().unwrap_or_default().to_uppercase();
    for column in ["ID", "PID", "STATUS", "BUNDLE"] {
        check!(header.contains(column), format!("a column {column}"), "{header:?}");
    }
    let line = lines.find(|l| l.contains(container.id())).unwrap_or_default();
    check!(line.contains("created"), "a line with id and status", "{}", describe(&call.stdout));
    Ok(())
}

const FORMS: &[Variant] =
    &[Variant::new("table", &[]), Variant::new("json", &[]), Variant::new("quiet", &[])];

/// A root without containers is listed as empty, without an error.
#[case(covers = ["cli.list.empty"], matrix(form = FORMS))]
async fn empty_root_has_no_containers(cx: &mut Cx) -> Verdict {
    let args: &[&str] = match cx.param("form") {
        "table" => &["list"],
        "json" => &["list", "--format", "json"],
        _ => &["list", "--quiet"],
    };
    let call = cx.runtime().call(args).await?;
    call.must_succeed()?;
    let text = call.stdout.trim();
    let empty = match cx.param("form") {
        "table" => text.lines().count() <= 1,
        "json" => text == "null" || serde_json::from_str::<Vec<Value>>(text).is_ok_and(|l| l.is_empty()),
        _ => text.is_empty(),
    };
    check!(empty, "no container", "{text:?}");
    Ok(())
}
