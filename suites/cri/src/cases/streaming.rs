//! Exec, attach and port-forward by stream.

use crate::prelude::*;
use plimsoll_kit::cri::stream::upgrade::{self, Address};

/// The table of this file.
pub static CASES: &[Case] = &[
    urls_are_full_and_secret,
    requests_are_validated,
    idle_containers_are_refused,
    output_is_apart,
    exit_codes_are_told,
    input_reaches_the_command,
    no_input_is_the_end_of_file,
    internal_errors_are_told,
    terminals_are_combined_and_sized,
    control_c_interrupts,
    large_output_is_in_order,
    last_bytes_arrive,
    a_lost_client_harms_nothing,
    a_stop_ends_the_stream,
    sessions_in_parallel,
    spdy_handshakes,
    older_spdy_versions,
    web_sockets_v4,
    web_socket_variants,
    web_socket_terminals,
];

fn print(text: &str, fd: u32) -> Script {
    script().act("print", json!({"text": text, "fd": fd}))
}

async fn running(cri: &Cri) -> Result<Container, Stop> {
    cri.run_pod().await?.container().start().await
}

const PROBE: &str = "/probe";

/// The URL is full, on loopback, works once, and its token cannot be guessed.
#[case(covers = [
    "exec.url-returned", "exec.url-fully-qualified", "exec.url-reachable", "exec.url-single-use", "exec.url-unguessable",
    "exec.url-unknown-token-404", "streaming.bind-address", "streaming.tls",
])]
async fn urls_are_full_and_secret(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let url = || async { container.exec_url(&[PROBE, "pause"], STDOUT).await.must_succeed() };
    let first = url().await?;
    check!(!first.is_empty(), "a URL", "an empty text");
    cx.record("streaming.scheme", first.split(':').next().unwrap_or_default());
    check!(of "exec.url-fully-qualified"; first.starts_with("http://") || first.starts_with("https://"), "scheme and host", "a path only");
    if first.starts_with("https://") {
        return cri.not_applicable("plain-streams", "the endpoint streams over TLS only");
    }
    let address =
        Address::parse(&first).map_err(|e| Stop::violation("a URL that can be used", e.to_string()))?;
    check!(of "streaming.bind-address"; address.host.starts_with("127.") || address.host.starts_with("[::1]"), "a loopback address", "another");
    let mut tokens = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let url = url().await?;
        let token = url.rsplit('/').next().unwrap_or_default().to_owned();
        check!(of "exec.url-unguessable"; token.len() >= 8 && tokens.insert(token), "different tokens of 8 characters or more", "not so");
    }
    let script = print("x", 2).text(cri.tag(), None);
    let once = container.exec_url(&[PROBE, &script], OUTPUTS).await.must_succeed()?;
    let opened = Session::open(&once, Protocol::SPDY, OUTPUTS, cri.wait()).await;
    let session = opened
        .map_err(|e| Stop::violation("the URL can be reached", e.to_string()).of("exec.url-reachable"))?;
    let _ = session.run(None, cri.wait(), 1 << 20).await;
    for (used, id) in [
        (once.clone(), "exec.url-single-use"),
        (format!("{}AAAAAAAA", &once[..once.len() - 8]), "exec.url-unknown-token-404"),
    ] {
        let again = Session::open(&used, Protocol::SPDY, OUTPUTS, cri.wait()).await.err();
        check!(of id; matches!(again, Some(StreamError::Handshake { status: 404, .. })), "404", "{:?}", again.map(|e| e.to_string().chars().take(60).collect::<String>()));
    }
    Ok(())
}

/// Requests without an id, without streams, or with a terminal and stderr are InvalidArgument.
#[case(covers = [
    "exec.validate-no-streams", "exec.validate-tty-stderr", "exec.validate-missing-id", "exec.not-found",
    "attach.validate", "attach.not-found", "portforward.missing-id", "portforward.not-found",
])]
async fn requests_are_validated(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let invalid = &[Code::InvalidArgument];
    let exec = |streams| container.exec_url(&[PROBE], streams);
    let bad = Streams { stdout: true, stderr: true, tty: true, stdin: false };
    exec(Streams::default()).await.must_fail_with(invalid)?;
    exec(bad).await.must_fail_with(invalid).map_err(|s| s.of("exec.validate-tty-stderr"))?;
    container
        .attach_url(Streams::default())
        .await
        .must_fail_with(invalid)
        .map_err(|s| s.of("attach.validate"))?;
    container.attach_url(bad).await.must_fail_with(invalid).map_err(|s| s.of("attach.validate"))?;
    let client = cri.client();
    let request = |id: &str| v1::ExecRequest {
        container_id: id.into(),
        cmd: vec![PROBE.into()],
        stdout: true,
        ..Default::default()
    };
    client.exec(request("")).await.must_fail().map_err(|s| s.of("exec.validate-missing-id"))?;
    client
        .exec(request(NOBODY))
        .await
        .must_fail_with(&[Code::NotFound])
        .map_err(|s| s.of("exec.not-found"))?;
    let attach = v1::AttachRequest { container_id: NOBODY.into(), stdout: true, ..Default::default() };
    client.attach(attach).await.must_fail_with(&[Code::NotFound]).map_err(|s| s.of("attach.not-found"))?;
    let forward = |id: &str| v1::PortForwardRequest { pod_sandbox_id: id.into(), port: vec![80] };
    client.port_forward(forward("")).await.must_fail().map_err(|s| s.of("portforward.missing-id"))?;
    client
        .port_forward(forward(NOBODY))
        .await
        .must_fail_with(&[Code::NotFound])
        .map_err(|s| s.of("portforward.not-found"))?;
    Ok(())
}

/// Ended containers are neither entered nor attached to.
#[case(covers = ["exec.not-running", "attach.not-running", "portforward.not-ready"])]
async fn idle_containers_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let ended = pod.container().script(&script()).run().await?;
    let refused = match ended.exec_url(&[PROBE, "{}"], STDOUT).await {
        Err(_) => true,
        Ok(url) => match Session::open(&url, Protocol::SPDY, STDOUT, cri.wait()).await {
            Err(_) => true,
            Ok(session) => session
                .run(None, cri.wait(), 1 << 20)
                .await
                .map_or(true, |o| o.finish != Some(Finish::Success)),
        },
    };
    check!(refused, "a refusal by the call or on the error stream", "success");
    let attached = match ended.attach_url(STDOUT).await {
        Err(_) => true,
        Ok(url) => match Session::open(&url, Protocol::SPDY, STDOUT, cri.wait()).await {
            Err(_) => true,
            Ok(session) => session
                .run(None, cri.wait(), 1 << 20)
                .await
                .map_or(true, |o| o.finish != Some(Finish::Success)),
        },
    };
    check!(of "attach.not-running"; attached, "a refusal by the call or on the error stream", "success");
    pod.stop().await.setup()?;
    let forward = v1::PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: vec![80] };
    cri.client().port_forward(forward).await.must_fail().map_err(|s| s.of("portforward.not-ready"))?;
    Ok(())
}

/// Output and error output arrive exactly, each on its stream.
#[case(covers = ["exec.stdout", "exec.stderr-separate"])]
async fn output_is_apart(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let both = print("to out", 1).act("print", json!({"text": "to err", "fd": 2}));
    let output = running(&cri).await?.run_stream(&both, Protocol::SPDY, OUTPUTS, None).await?;
    check!(
        output.stdout.starts_with(b"to out"),
        "the output",
        "{:?}",
        String::from_utf8_lossy(&output.stdout)
    );
    check_eq!(of "exec.stderr-separate"; String::from_utf8_lossy(&output.stderr), "to err", "error output");
    Ok(())
}

/// Success and exit codes come as JSON on the error stream.
#[case(covers = ["exec.exit-code-zero", "exec.exit-code-nonzero", "streaming.spdy.v4"])]
async fn exit_codes_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let session = container.stream(&script(), Protocol::SPDY, OUTPUTS).await?;
    check_eq!(of "streaming.spdy.v4"; session.protocol(), "v4.channel.k8s.io", "protocol that the server chose");
    let output = session
        .run(None, cri.wait(), 1 << 20)
        .await
        .map_err(|e| Stop::violation("the stream works", e.to_string()))?;
    check_eq!(output.finish, Some(Finish::Success), "status of a command that succeeds");
    for code in [1, 7, 255] {
        let output = container.run_stream(&script().exit(code), Protocol::SPDY, OUTPUTS, None).await?;
        check_eq!(of "exec.exit-code-nonzero"; output.finish, Some(Finish::ExitCode(i32::from(code))), "status");
    }
    Ok(())
}

/// Input reaches the command, and half-closing it is the end of file.
#[case(covers = ["exec.stdin-roundtrip"])]
async fn input_reaches_the_command(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let data = vec![b'a'; 1 << 19];
    let read = script().ask_with("stdin", json!({"timeout_ms": 9000, "max": 1 << 20}));
    let output = container.run_stream(&read, Protocol::SPDY, ALL, Some(&data)).await?;
    let answers = Answers::parse(&String::from_utf8_lossy(&output.stdout), cri.tag());
    let facts = answers.facts("stdin")?;
    check_eq!(facts["bytes"], 1 << 19, "bytes that the command read");
    check_eq!(facts["eof"], true, "end of file");
    Ok(())
}

/// Without input the command reads the end of file at once.
#[case(covers = ["exec.stdin-not-requested"])]
async fn no_input_is_the_end_of_file(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let read = script().ask_with("stdin", json!({"timeout_ms": 5000}));
    let output = running(&cri).await?.run_stream(&read, Protocol::SPDY, OUTPUTS, None).await?;
    let answers = Answers::parse(&String::from_utf8_lossy(&output.stdout), cri.tag());
    let end = answers.facts("stdin").is_ok_and(|facts| facts["eof"] == true);
    check!(end, "a command that reads its input sees the end of file", "it waits for input, or did not run");
    Ok(())
}

/// A command that cannot be run is an internal error on the error stream.
#[case(covers = ["exec.error-internal"])]
async fn internal_errors_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let url = container.exec_url(&["/no/such/command"], OUTPUTS).await.must_succeed()?;
    let session = Session::open(&url, Protocol::SPDY, OUTPUTS, cri.wait()).await;
    let session = session.map_err(|e| Stop::violation("the stream opens", e.to_string()))?;
    let output = session
        .run(None, cri.wait(), 1 << 20)
        .await
        .map_err(|e| Stop::violation("the stream ends", e.to_string()))?;
    let told = matches!(&output.finish, Some(Finish::Failure { reason, .. }) if reason == "InternalError")
        || matches!(&output.finish, Some(Finish::ExitCode(126 | 127)));
    check!(told, "InternalError, or the code 126 or 127", "{:?}", output.finish.map(|f| f.exit_code()));
    Ok(())
}

/// A terminal combines the outputs, and its size follows the client's.
#[case(covers = ["exec.tty-combined", "exec.tty-resize", "exec.tty-initial-size"])]
async fn terminals_are_combined_and_sized(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let ask = script().ask("winsize").ask("stdio_tty").act("sleep", json!({"ms": 800})).ask("winsize");
    let mut session = container.stream(&ask, Protocol::SPDY, TERMINAL).await?;
    let input = session.input();
    input.resize(80, 24).await.map_err(|e| Stop::violation("the resize stream works", e.to_string()))?;
    let output = session
        .gather(cri.wait(), 1 << 20)
        .await
        .map_err(|e| Stop::violation("the stream ends", e.to_string()))?;
    let answers = Answers::parse(&String::from_utf8_lossy(&output.stdout), cri.tag());
    check!(
        answers.facts("stdio_tty")?["stdio"]
            .as_array()
            .is_some_and(|s| s.iter().all(|f| f["isatty"] == true)),
        "a terminal on 0, 1 and 2",
        "not on all"
    );
    let sizes: Vec<_> = answers.all("winsize").into_iter().filter_map(|a| a.result.clone().ok()).collect();
    let (first, size) =
        (sizes.first().cloned().unwrap_or_default(), sizes.last().cloned().unwrap_or_default());
    // The message can arrive just after the start; a size that nobody asked for cannot.
    check!(of "exec.tty-initial-size"; first["rows"] == 0 || first["rows"] == 24, "no size yet, or the one asked for", "{first}");
    check!(of "exec.tty-resize"; size["rows"] == 24 && size["cols"] == 80, "24 rows and 80 columns", "{size}");
    Ok(())
}

/// Control-C on a terminal interrupts the command.
#[case(covers = ["exec.tty-ctrl-c"])]
async fn control_c_interrupts(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let long = script().act("print", json!({"text": "up\n"})).act("sleep", json!({"ms": 9000}));
    let mut session = container.stream(&long, Protocol::SPDY, TERMINAL).await?;
    let input = session.input();
    let first = session.next(cri.wait()).await;
    check!(first.is_ok(), "output", "none");
    input.stdin(&[3]).await.map_err(|e| Stop::violation("stdin works", e.to_string()))?;
    let output = session
        .gather(cri.wait(), 1 << 20)
        .await
        .map_err(|e| Stop::violation("the stream ends soon", e.to_string()))?;
    check_eq!(output.finish, Some(Finish::ExitCode(130)), "status");
    Ok(())
}

/// Thirty-two megabytes arrive whole and in order.
#[case(covers = ["exec.large-output-order"])]
async fn large_output_is_in_order(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let flood = script().act("flood", json!({"bytes": 32_000_000, "line_len": 100, "fd": 2}));
    let output = running(&cri).await?.run_stream(&flood, Protocol::SPDY, OUTPUTS, None).await?;
    check_eq!(output.stderr.len(), 32_000_000, "bytes");
    let ordered = output.stderr.chunks(100).enumerate().all(|(n, line)| {
        line.starts_with(format!("{n:012} ").as_bytes())
            && line[13..].trim_ascii_end().iter().all(|b| *b == b'x')
            && line.ends_with(b"\n")
    });
    check!(ordered, "every line in order and as it was written", "not so");
    Ok(())
}

/// The last bytes of a command that ends at once are not lost.
#[case(covers = ["exec.output-flushed-before-close"])]
async fn last_bytes_arrive(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    for n in 0..25 {
        let output = container.run_stream(&print("last", 2), Protocol::SPDY, OUTPUTS, None).await?;
        check!(output.stderr == b"last", "the output of every run", "none in run {n}");
    }
    Ok(())
}

/// A client that hangs up does not harm the container.
#[case(covers = ["exec.client-disconnect", "attach.detach-keeps-running"])]
async fn a_lost_client_harms_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let session =
        container.stream(&script().act("sleep", json!({"ms": 2000})), Protocol::SPDY, OUTPUTS).await?;
    drop(session);
    check_eq!(container.status().await?.state(), v1::ContainerState::ContainerRunning, "state");
    let url = container.attach_url(OUTPUTS).await.must_succeed()?;
    let session = Session::open(&url, Protocol::SPDY, OUTPUTS, cri.wait()).await;
    drop(session.map_err(|e| Stop::violation("attaching works", e.to_string()))?);
    tokio::time::sleep(Duration::from_millis(100)).await;
    check_eq!(of "attach.detach-keeps-running"; container.status().await?.state(), v1::ContainerState::ContainerRunning, "state after the client left");
    container.exec_script(&script(), 20).await.must_succeed()?;
    Ok(())
}

/// A stream ends when its container is stopped.
#[case(covers = ["exec.container-stop-ends"])]
async fn a_stop_ends_the_stream(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let mut session =
        container.stream(&script().act("sleep", json!({"ms": 60_000})), Protocol::SPDY, OUTPUTS).await?;
    container.stop(0).await.setup()?;
    let ended = session.gather(cri.wait(), 1 << 20).await;
    check!(ended.is_ok(), "the stream ends", "it goes on");
    Ok(())
}

/// Sessions at the same time do not mix.
#[case(covers = ["exec.concurrent"])]
async fn sessions_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let sessions = (0..12).map(|n| {
        let container = &container;
        async move {
            let text = format!("session {n}");
            (container.run_stream(&print(&text, 2), Protocol::SPDY, OUTPUTS, None).await, text)
        }
    });
    for (output, text) in futures_util::future::join_all(sessions).await {
        check!(output?.stderr == text.as_bytes(), "each session's own output", "another's");
    }
    Ok(())
}

async fn handshake(
    container: &Container,
    method: &str,
    headers: &[(&str, &str)],
) -> Result<upgrade::Answer, Stop> {
    let url = container.exec_url(&[PROBE, "pause"], STDOUT).await.must_succeed()?;
    let address =
        Address::parse(&url).map_err(|e| Stop::violation("a URL that can be used", e.to_string()))?;
    let answer = upgrade::request(method, &address, headers, container.cri().wait()).await;
    answer.map_err(|e| Stop::violation("an answer to the handshake", e.to_string()))
}

/// SPDY upgrades by POST and GET, chooses a known protocol, and refuses what it does not know.
#[case(covers = ["streaming.spdy.upgrade", "streaming.spdy.negotiation", "streaming.spdy.no-protocol-header"])]
async fn spdy_handshakes(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let base = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Content-Length", "0")];
    for method in ["POST", "GET"] {
        let mut headers = base.to_vec();
        headers.extend([
            ("X-Stream-Protocol-Version", "v5.channel.k8s.io"),
            ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
        ]);
        let answer = handshake(&container, method, &headers).await?;
        check_eq!(answer.status, 101, "status of a {method} handshake");
        let chosen = answer.header("x-stream-protocol-version").unwrap_or_default().to_owned();
        check!(of "streaming.spdy.negotiation"; chosen == "v4.channel.k8s.io" || chosen == "v5.channel.k8s.io", "one of the offers", "{chosen:?}");
    }
    let mut junk = base.to_vec();
    junk.push(("X-Stream-Protocol-Version", "junk.example"));
    let answer = handshake(&container, "POST", &junk).await?;
    check_eq!(of "streaming.spdy.negotiation"; answer.status, 403, "status when nothing is in common");
    check!(of "streaming.spdy.negotiation"; answer.header("x-accepted-stream-protocol-versions").is_some(), "the accepted versions", "none");
    let answer = handshake(&container, "POST", &base).await?;
    check_eq!(of "streaming.spdy.no-protocol-header"; answer.status, 400, "status without a protocol header");
    Ok(())
}

/// Older protocol versions are still spoken.
#[case(covers = ["streaming.spdy.v1-v3", ])]
async fn older_spdy_versions(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    for (name, offer) in [("v3", &["v3.channel.k8s.io"][..]), ("v2", &["v2.channel.k8s.io"][..])] {
        let works = container
            .run_stream(&print("x", 2), Protocol::Spdy(offer), OUTPUTS, None)
            .await
            .is_ok_and(|o| o.stderr == b"x");
        cx.record(&format!("streaming.spdy.{name}"), works);
    }
    Ok(())
}

/// WebSocket v4 carries output, and the status before a normal close.
#[case(covers = ["streaming.ws.v4", "streaming.ws.status-frame", "streaming.ws.open-empty-frame"])]
async fn web_sockets_v4(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    for (code, finish) in [(0, Finish::Success), (7, Finish::ExitCode(7))] {
        let script = print("hello", 2).exit(code);
        let output = container.run_stream(&script, Protocol::WEBSOCKET_V4, OUTPUTS, None).await?;
        check_eq!(String::from_utf8_lossy(&output.stderr), "hello", "error output");
        check_eq!(of "streaming.ws.status-frame"; output.finish, Some(finish), "status");
        check_eq!(of "streaming.ws.status-frame"; output.close_code, Some(1000), "close code");
    }
    let mut session = container.stream(&script(), Protocol::WEBSOCKET_V4, OUTPUTS).await?;
    let first = session.next(cri.wait()).await;
    check!(of "streaming.ws.open-empty-frame"; matches!(&first, Ok(Event::Data(_, data)) if data.is_empty()), "an empty message first", "something else");
    Ok(())
}

/// Which further WebSocket protocols are spoken; unknown ones are refused with 403.
#[case(covers = ["streaming.ws.unsupported-403", "streaming.ws.channel-base", "streaming.ws.base64", "streaming.ws.v5", "streaming.ws.portforward-tunnel", "streaming.ws.v5-half-close"])]
async fn web_socket_variants(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    for (name, offer) in [
        ("channel", &["channel.k8s.io"][..]),
        ("base64", &["base64.channel.k8s.io"][..]),
        ("v4-base64", &["v4.base64.channel.k8s.io"][..]),
        ("v5", &["v5.channel.k8s.io"][..]),
    ] {
        let works = container
            .run_stream(&print("x", 2), Protocol::WebSocket(offer), OUTPUTS, None)
            .await
            .is_ok_and(|o| o.stderr == b"x");
        cx.record(&format!("streaming.ws.{name}"), works);
        if name == "v5" && works {
            let read = script().ask_with("stdin", json!({"timeout_ms": 5000}));
            let output = container.run_stream(&read, Protocol::WEBSOCKET_V5, ALL, Some(b"in")).await?;
            let answers = Answers::parse(&String::from_utf8_lossy(&output.stdout), cri.tag());
            check_eq!(of "streaming.ws.v5-half-close"; answers.facts("stdin")?["eof"], true, "end of file after the close of a channel");
        }
    }
    let url = container.exec_url(&[PROBE, "pause"], STDOUT).await.must_succeed()?;
    let refused = Session::open(&url, Protocol::WebSocket(&["junk.example"]), STDOUT, cri.wait()).await.err();
    check!(
        matches!(refused, Some(StreamError::Handshake { status: 403, .. })),
        "403",
        "{:?}",
        refused.map(|e| e.to_string().chars().take(60).collect::<String>())
    );
    Ok(())
}

/// A resize message sets the size of a terminal.
#[case(covers = ["streaming.ws.resize-frame"])]
async fn web_socket_terminals(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = running(&cri).await?;
    let ask = script().act("sleep", json!({"ms": 800})).ask("winsize");
    let mut session = container.stream(&ask, Protocol::WEBSOCKET_V4, TERMINAL).await?;
    session
        .input()
        .resize(100, 30)
        .await
        .map_err(|e| Stop::violation("a resize message is taken", e.to_string()))?;
    let output = session
        .gather(cri.wait(), 1 << 20)
        .await
        .map_err(|e| Stop::violation("the stream ends", e.to_string()))?;
    let answers = Answers::parse(&String::from_utf8_lossy(&output.stdout), cri.tag());
    let size = answers.facts("winsize")?;
    check!(size["rows"] == 30 && size["cols"] == 100, "30 rows and 100 columns", "{size}");
    Ok(())
}
