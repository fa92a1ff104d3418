//! Commands without streaming.

use crate::prelude::*;

/// The table of this file.
pub static CASES: &[Case] = &[
    output_is_exact,
    exit_codes_are_told,
    signals_are_told,
    bad_commands_are_refused,
    timeouts_are_deadlines,
    no_timeout_is_no_limit,
    large_output_is_whole,
    huge_output_is_cut,
    unknown_or_idle_containers_are_refused,
    commands_live_like_the_container,
    parallel_commands_keep_apart,
    background_children_do_not_block,
    a_stop_ends_commands,
    terminals_do_not_matter,
    commands_leak_nothing,
];

async fn running(cri: &Cri) -> Result<Container, Stop> {
    cri.run_pod().await?.container().start().await
}

/// The bytes of both outputs come back apart and exact; the input is closed.
#[case(covers = ["exec-sync.stdout", "exec-sync.stderr", "exec-sync.stdin-closed"])]
async fn output_is_exact(cx: &mut Cx) -> Verdict {
    use base64::Engine as _;
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let bytes = b"x\x00\xff\r\n y";
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let both = script()
        .act("print", json!({"base64": text, "fd": 2}))
        .ask_with("stdin", json!({"timeout_ms": 3000}));
    let answer = container.exec_script(&both, 20).await.must_succeed()?;
    check_eq!(of "exec-sync.stderr"; answer.stderr, bytes.to_vec(), "stderr");
    let out = String::from_utf8_lossy(&answer.stdout).into_owned();
    check!(!out.contains("x\0"), "stdout without the text of stderr", "it is mixed in");
    let facts = Answers::parse(&out, cri.tag());
    check!(facts.is_done(), "the whole of stdout", "a part");
    check!(of "exec-sync.stdin-closed"; facts.facts("stdin")?["eof"] == true, "an end of file on stdin", "{}", facts.facts("stdin")?);
    Ok(())
}

/// The exit code comes back in a successful answer, with the output.
#[case(covers = ["exec-sync.exit-code"])]
async fn exit_codes_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    for code in [0_u8, 1, 42, 126, 127, 255] {
        let script = script().act("print", json!({"text": "kept"})).exit(code);
        let answer = container.exec_script(&script, 20).await.must_succeed()?;
        check_eq!(answer.exit_code, i32::from(code), "exit code");
        check!(answer.stdout.starts_with(b"kept"), "the output too", "none");
    }
    Ok(())
}

/// Death by a signal is told as 128 plus its number.
#[case(covers = ["exec-sync.exit-code-signal"])]
async fn signals_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    for (signal, code) in [("KILL", 137), ("TERM", 143)] {
        let answer = container
            .exec_script(&script().act("die", json!({"signal": signal})), 20)
            .await
            .must_succeed()?;
        check_eq!(answer.exit_code, code, "exit code after {signal}");
    }
    Ok(())
}

/// A missing command is an error or a code, an empty one is an error, and the server goes on.
#[case(covers = ["exec-sync.empty-cmd", "exec-sync.command-not-found"])]
async fn bad_commands_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    container.exec(&[], 5).await.must_fail()?;
    let missing = container.exec(&["/no/such/command"], 5).await;
    cx.record(
        "exec-sync.command-not-found",
        missing.as_ref().map_or_else(|e| format!("{:?}", e.code), |a| a.exit_code.to_string()),
    );
    check!(of "exec-sync.command-not-found"; missing.as_ref().map_or_else(plimsoll_kit::cri::CallError::is_answer, |a| a.exit_code != 0),
        "an error or a code other than zero", "success");
    container.exec_script(&script(), 20).await.must_succeed()?;
    Ok(())
}

/// A command over its timeout ends with DeadlineExceeded, in time, and leaves no process.
#[case(covers = ["exec-sync.timeout-error", "exec-sync.timeout-accurate", "exec-sync.timeout-kills"])]
async fn timeouts_are_deadlines(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let count = async || {
        let facts = fact(&container, "procs").await?;
        Ok::<_, Stop>(facts["procs"].as_array().map_or(0, Vec::len))
    };
    let before = count().await?;
    let start = Instant::now();
    let answer = container.exec_script(&script().act("sleep", json!({"ms": 9000})), 1).await;
    let took = start.elapsed();
    cx.record(
        "exec-sync.timeout",
        answer.as_ref().map_or_else(|e| format!("{:?}", e.code), |a| format!("exit {}", a.exit_code)),
    );
    let error = answer.must_fail_with(&[Code::DeadlineExceeded])?;
    check!(
        error.is_answer() || error.code == Code::DeadlineExceeded,
        "an answer of the server",
        "{:?}",
        error.kind
    );
    check!(of "exec-sync.timeout-accurate"; took < Duration::from_secs(4), "an answer within about 1 s", "after {} s", took.as_secs());
    wait_until("as many processes as before the command", Duration::from_secs(5), async || {
        let now = count().await?;
        if now <= before {
            Ok(Poll::Ready(()))
        } else {
            Ok(Poll::NotYet(format!("{now} instead of {before}")))
        }
    })
    .await
    .map_err(|s| s.of("exec-sync.timeout-kills"))
}

/// A timeout of zero is no limit.
#[case(covers = ["exec-sync.timeout-zero"])]
async fn no_timeout_is_no_limit(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let answer =
        running(&cri).await?.exec_script(&script().act("sleep", json!({"ms": 3000})).exit(4), 0).await;
    check_eq!(answer.must_succeed()?.exit_code, 4, "exit code");
    Ok(())
}

/// Eight megabytes of output arrive whole.
#[case(covers = ["exec-sync.output-large-ok"])]
async fn large_output_is_whole(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let flood = script().act("flood", json!({"bytes": 8 << 20, "fd": 2}));
    let answer = running(&cri).await?.exec_script(&flood, 40).await.must_succeed()?;
    check_eq!(answer.stderr.len(), 8 << 20, "bytes of output");
    Ok(())
}

/// More output than a message can hold is cut, and the command still succeeds.
#[case(covers = ["exec-sync.output-capped"])]
async fn huge_output_is_cut(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let flood = script().act("flood", json!({"bytes": 20 << 20, "fd": 2}));
    let answer = running(&cri).await?.exec_script(&flood, 50).await.must_succeed()?;
    check!(answer.stderr.len() <= 16 << 20, "at most 16 MiB", "{} bytes", answer.stderr.len());
    check_eq!(answer.exit_code, 0, "exit code");
    Ok(())
}

/// Unknown, created and ended containers run no command.
#[case(covers = ["exec-sync.not-running", "exec-sync.not-found"])]
async fn unknown_or_idle_containers_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let unknown = v1::ExecSyncRequest { container_id: NOBODY.into(), cmd: vec!["/probe".into()], timeout: 5 };
    cri.client()
        .exec_sync(unknown)
        .await
        .must_fail_with(&[Code::NotFound])
        .map_err(|s| s.of("exec-sync.not-found"))?;
    let pod = cri.run_pod().await?;
    pod.container().create().await?.exec_script(&script(), 5).await.must_fail()?;
    pod.container().script(&script()).run().await?.exec_script(&script(), 5).await.must_fail()?;
    Ok(())
}

/// A command has the container's environment, user, directory, capabilities, namespaces and cgroup.
#[case(covers = ["exec-sync.environment", "security.groups.supplemental-exec", "security.nnp.exec"])]
async fn commands_live_like_the_container(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let questions = ["env", "cwd", "identity", "caps", "namespaces", "no_new_privs", "seccomp", "cgroups"];
    let both = ask(questions).pause();
    let container = pod
        .container()
        .security(|s| {
            s.run_as_user = Some(v1::Int64Value { value: 1234 });
            s.supplemental_groups = vec![3001];
            s.no_new_privs = true;
        })
        .with(|c| {
            c.envs.push(v1::KeyValue { key: "MARK".into(), value: b"yes".to_vec() });
            c.working_dir = "/tmp".into();
        })
        .script(&both)
        .start()
        .await?;
    container.logs("pause_forever").await?;
    let first = Answers::parse(&container.log_text("stdout")?, cri.tag());
    let second = container.ask(&ask(questions)).await?;
    for (question, field) in [
        ("cwd", "cwd"),
        ("caps", "effective"),
        ("caps", "bounding"),
        ("cgroups", "lines"),
        ("seccomp", "mode"),
    ] {
        check_eq!(
            second.facts(question)?[field],
            first.facts(question)?[field],
            "{question} {field} of a command"
        );
    }
    for field in ["uid", "gid"] {
        check_eq!(second.facts("identity")?[field], first.facts("identity")?[field], "{field} of a command");
    }
    check_eq!(of "security.groups.supplemental-exec"; second.facts("identity")?["groups"], first.facts("identity")?["groups"], "groups of a command");
    check_eq!(of "security.nnp.exec"; second.facts("no_new_privs")?["no_new_privs"], true, "no_new_privs of a command");
    for kind in ["mnt", "net", "pid", "ipc", "uts"] {
        check_eq!(
            second.facts("namespaces")?["ns"][kind],
            first.facts("namespaces")?["ns"][kind],
            "{kind} namespace of a command"
        );
    }
    check!(
        second.facts("env")?["env"].to_string().contains("MARK=yes"),
        "the container's variables",
        "not all"
    );
    Ok(())
}

/// Many commands at once each get their own output.
#[case(covers = ["exec-sync.concurrent"])]
async fn parallel_commands_keep_apart(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let calls = (0..20).map(|n| {
        let container = &container;
        async move {
            let text = format!("token-{n};");
            let answer =
                container.exec_script(&script().act("print", json!({"text": text, "fd": 2})), 30).await;
            (text, answer)
        }
    });
    for (text, answer) in futures_util::future::join_all(calls).await {
        check!(answer.must_succeed()?.stderr == text.as_bytes(), "each command's own output", "another's");
    }
    Ok(())
}

/// A child that keeps the output open does not block the answer for ever.
#[case(covers = ["exec-sync.background-child"])]
async fn background_children_do_not_block(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let orphan = script().act("fork_orphans", json!({"count": 1, "ms": 50_000}));
    let answer = tokio::time::timeout(Duration::from_secs(25), container.exec_script(&orphan, 0)).await;
    container.stop(0).await.setup()?;
    check!(answer.is_ok(), "an answer soon after the command ended", "none within 25 s");
    Ok(())
}

/// A command ends when its container is stopped.
#[case(covers = ["exec-sync.cancelled-by-stop"])]
async fn a_stop_ends_commands(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let long = async {
        let start = Instant::now();
        let _ = container.exec_script(&script().act("sleep", json!({"ms": 9000})), 0).await;
        start.elapsed()
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        container.stop(0).await
    };
    let (took, stopped) = tokio::join!(long, stop);
    stopped.setup()?;
    check!(took < Duration::from_secs(6), "the call ends with the container", "after {} s", took.as_secs());
    Ok(())
}

/// A container with a terminal runs commands too.
#[case(covers = ["exec-sync.tty-container"])]
async fn terminals_do_not_matter(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().with(|c| c.tty = true).start().await?;
    let answer = container
        .exec_script(&script().act("print", json!({"text": "hi"})).exit(3), 20)
        .await
        .must_succeed()?;
    check_eq!(answer.exit_code, 3, "exit code");
    check!(answer.stdout.starts_with(b"hi"), "the output", "none");
    Ok(())
}

/// Commands leave no process behind in the container.
#[case(covers = ["exec-sync.no-fd-leak"])]
async fn commands_leak_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let before = fact(&container, "procs").await?["procs"].as_array().map_or(0, Vec::len);
    for _ in 0..15 {
        container.exec_script(&script(), 20).await.must_succeed()?;
    }
    wait_until("as many processes as before", cri.wait(), async || {
        let now = fact(&container, "procs").await?["procs"].as_array().map_or(0, Vec::len);
        if now <= before {
            Ok(Poll::Ready(()))
        } else {
            Ok(Poll::NotYet(format!("{now} instead of {before}")))
        }
    })
    .await
}
