//! exec: status, streams, where the process runs, and what cannot be executed.

use super::support::{NO_PROGRAM, answers_at, must_say, need_freezer, need_verb, output_at, running};
use plimsoll_kit::exec::CallStatus;
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use plimsoll_kit::wait::Poll;
use std::fs;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    program_status_is_passed_on,
    signal_is_passed_on_as_a_status,
    streams_are_passed_through,
    process_is_in_the_namespaces,
    process_is_in_the_cgroups,
    detached_process_is_in_the_cgroups,
    detached_returns_while_the_program_runs,
    end_of_a_detached_process_reaches_the_caller,
    pid_file_holds_a_process_of_the_host,
    missing_program_is_told,
    status_of_a_failure_is_recorded,
    unknown_container_is_error,
    stopped_container_is_error,
    paused_container_refuses,
    no_program_is_error,
];

const CODES: &[Variant] = &[
    Variant::new("0", &[]),
    Variant::new("1", &[]),
    Variant::new("42", &[]),
    Variant::new("127", &[]),
    Variant::new("255", &[]),
];

/// The status of exec is the program's.
#[case(covers = ["cli.exec.exit-status"], matrix(code = CODES))]
async fn program_status_is_passed_on(cx: &mut Cx) -> Verdict {
    let code: u8 = cx.param("code").parse().unwrap_or_default();
    let container = running(cx).await?;
    let (call, answers) = container.exec(&[], &probe::exit(code)).await?;
    check!(answers.is_done(), "the program runs to its end", "{}", call.describe());
    check_eq!(call.status, CallStatus::Exited(i32::from(code)), "the status of exec");
    Ok(())
}

/// A program that SIGKILL ended gives the status 137.
#[case(covers = ["cli.exec.signal-status"])]
async fn signal_is_passed_on_as_a_status(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let script = probe::script().act("syscall", json!({ "name": "getpid" })).pause();
    let nonce = format!("{}-victim", container.nonce());
    let args = ["exec", container.id(), "/probe", &script.text(&nonce, None)];
    let victim = cx.runtime().spawn(&args, CallOptions::default())?;
    let pid = wait_until("the program of exec answers", cx.limits().wait(), async || {
        let answers = Answers::parse(&victim.stdout_so_far()?, &nonce);
        let pid = answers.all("syscall").first().and_then(|a| a.result.as_ref().ok()?["ret"].as_i64());
        let ready = pid.filter(|_| answers.is_ready());
        Ok(ready.map_or_else(|| Poll::NotYet("no answer".into()), Poll::Ready))
    })
    .await?;
    let kill = probe::script().act("kill", json!({ "pid": pid, "signal": "KILL" }));
    container.exec(&[], &kill).await?.0.ready("exec of the program that kills")?;
    let call = victim.wait().await?;
    cx.runtime().record(call.clone());
    check_eq!(call.status, CallStatus::Exited(137), "the status of exec");
    Ok(())
}

/// Standard input, output and error of exec are the program's.
#[case(covers = ["cli.exec.stdio"])]
async fn streams_are_passed_through(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let script = probe::ask(["stdin"]).act("print", json!({ "fd": 2, "text": "to standard error\n" }));
    let nonce = format!("{}-streams", container.nonce());
    let args = ["exec", container.id(), "/probe", &script.text(&nonce, None)];
    let options = CallOptions { stdin: Some(b"from the caller".to_vec()), ..CallOptions::default() };
    let call = cx.runtime().call_with(&args, options).await?;
    call.must_succeed()?;
    let answers = Answers::parse(&call.stdout, &nonce);
    check!(answers.is_done(), "the program's output on standard output", "{}", describe(&call.stdout));
    check_eq!(answers.facts("stdin")?["data"], json!("from the caller"), "what the program read");
    check!(
        call.stderr.contains("to standard error"),
        "the program's text on standard error",
        "{}",
        describe(&call.stderr)
    );
    Ok(())
}

/// A process of exec is in the same namespaces as the container's program.
#[case(covers = ["cli.exec.namespaces"])]
async fn process_is_in_the_namespaces(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["namespaces"]).pause()).running().await?;
    let (call, answers) = container.exec(&[], &probe::ask(["namespaces"])).await?;
    call.must_succeed()?;
    let first = container.answers_so_far()?;
    check_eq!(answers.facts("namespaces")?["ns"], first.facts("namespaces")?["ns"], "the namespaces");
    Ok(())
}

/// A process of exec is in the same cgroups as the container's program.
#[case(covers = ["cli.exec.cgroup"])]
async fn process_is_in_the_cgroups(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::ask(["cgroups"]).pause()).running().await?;
    let (call, answers) = container.exec(&[], &probe::ask(["cgroups"])).await?;
    call.must_succeed()?;
    let first = container.answers_so_far()?;
    check_eq!(answers.facts("cgroups")?["lines"], first.facts("cgroups")?["lines"], "the cgroups");
    Ok(())
}

/// A detached process stays in the cgroups of the container's program, as the host sees them.
#[case(covers = ["cli.exec.cgroup"])]
async fn detached_process_is_in_the_cgroups(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let pid_file = cx.dir().join("exec.pid");
    let (path, nonce) = (pid_file.display().to_string(), format!("{}-grouped", container.nonce()));
    let (text, stem) = (probe::pause().text(&nonce, None), cx.dir().join("detached"));
    let args = ["exec", "--detach", "--pid-file", &path, container.id(), "/probe", &text];
    cx.runtime().call_with(&args, output_at(&stem)).await?.must_succeed()?;
    answers_at(cx, &stem, &nonce, Answers::is_ready).await?;
    let pid = fs::read_to_string(&pid_file).unwrap_or_default();
    let seen = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap_or_default();
    check_eq!(seen, container.proc_file("cgroup")?, "the cgroups");
    Ok(())
}

/// A detached exec returns while its program runs.
#[case(covers = ["cli.exec.detach"])]
async fn detached_returns_while_the_program_runs(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let nonce = format!("{}-beside", container.nonce());
    let stem = cx.dir().join("detached");
    let args = ["exec", "--detach", container.id(), "/probe", &probe::pause().text(&nonce, None)];
    cx.runtime().call_with(&args, output_at(&stem)).await?.must_succeed()?;
    answers_at(cx, &stem, &nonce, Answers::is_ready).await?;
    Ok(())
}

/// The caller, as the nearest subreaper, gets the status of a detached process.
#[case(covers = ["cli.exec.detach-status"])]
async fn end_of_a_detached_process_reaches_the_caller(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let pid_file = cx.dir().join("exec.pid");
    let path = pid_file.display().to_string();
    let text = probe::exit(7).text("x", None);
    let args = ["exec", "--detach", "--pid-file", &path, container.id(), "/probe", &text];
    cx.runtime().call_with(&args, output_at(&cx.dir().join("detached"))).await?.must_succeed()?;
    let text = fs::read_to_string(&pid_file).unwrap_or_default();
    let pid: i32 = text.trim().parse().unwrap_or_default();
    check!(pid > 1, "a process id in the pid file", "{text:?}");
    let status = wait_until("the end of the process arrives", cx.limits().wait(), async || {
        cx.runtime().reaper().sweep();
        let status = cx.runtime().reaper().exit_of(pid);
        Ok(status.map_or_else(|| Poll::NotYet("nothing".into()), Poll::Ready))
    })
    .await?;
    check_eq!(status, 7, "the status of the detached process");
    Ok(())
}

/// The pid file of exec names a process of the host.
#[case(covers = ["cli.exec.pid-file"])]
async fn pid_file_holds_a_process_of_the_host(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let pid_file = cx.dir().join("exec.pid");
    let path = pid_file.display().to_string();
    let text = probe::pause().text("x", None);
    let args = ["exec", "--detach", "--pid-file", &path, container.id(), "/probe", &text];
    cx.runtime().call_with(&args, output_at(&cx.dir().join("detached"))).await?.must_succeed()?;
    let text = fs::read_to_string(&pid_file).unwrap_or_default();
    let pid: i32 = text.trim().parse().unwrap_or_default();
    check!(pid > 1, "a process id in the pid file", "{text:?}");
    check_ne!(Some(pid), container.pid().ok(), "the process id");
    check!(fs::metadata(format!("/proc/{pid}")).is_ok(), "a living process with that id", "there is none");
    Ok(())
}

/// An exec of a missing program fails in words that callers look for.
#[case(covers = ["cli.exec.missing-program"])]
async fn missing_program_is_told(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    must_say(&container.exec_args(&[], &["/no/such/program"]).await?, NO_PROGRAM)
}

/// The status of an exec that failed before its program ran is recorded.
#[case(covers = ["cli.exec.failure-status"])]
async fn status_of_a_failure_is_recorded(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    let call = container.exec_args(&[], &["/no/such/program"]).await?;
    cx.record("cli.exec.failure-status", call.status.to_string());
    Ok(())
}

/// An exec in a container that is not there is an error.
#[case(covers = ["cli.exec.unknown"])]
async fn unknown_container_is_error(cx: &mut Cx) -> Verdict {
    cx.runtime().call(&["exec", &cx.new_id(), "/probe", "{}"]).await?.must_fail()?;
    Ok(())
}

/// An exec in a stopped container is an error.
#[case(covers = ["cli.exec.stopped"])]
async fn stopped_container_is_error(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::exit(0)).stopped().await?;
    let (call, answers) = container.exec(&[], &probe::exit(0)).await?;
    call.must_fail()?;
    check!(answers.is_empty() && !answers.is_done(), "no program runs", "it answered");
    Ok(())
}

/// A paused container refuses exec at once.
#[case(covers = ["cli.exec.paused"])]
async fn paused_container_refuses(cx: &mut Cx) -> Verdict {
    need_verb(cx, "pause").await?;
    need_freezer(cx)?;
    let container = running(cx).await?;
    cx.runtime().verb("pause", container.id()).await?.ready("pause")?;
    let result = container.exec(&[], &probe::exit(0)).await;
    cx.runtime().verb("resume", container.id()).await?.ready("resume")?;
    result?.0.must_fail()?;
    Ok(())
}

/// An exec without a program is an error.
#[case(covers = ["cli.exec.no-program"])]
async fn no_program_is_error(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    container.exec_args(&[], &[]).await?.must_fail()?;
    Ok(())
}
