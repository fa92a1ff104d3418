//! Attach and port-forward by stream.

use crate::prelude::*;
use plimsoll_kit::cri::stream::forward::{Forward, WebSocketForward};

/// The table of this file.
pub static CASES: &[Case] = &[
    attach_shows_output_and_logs_go_on,
    attach_carries_input,
    attach_once_closes_the_input,
    attach_of_a_terminal,
    attach_twice,
    ports_are_forwarded,
    many_connections_in_one_session,
    closed_ports_are_told,
    bad_ports_are_refused,
    host_network_ports,
    web_socket_ports,
    ports_of_the_newer_protocol,
];

/// What a command writes arrives on each attached stream, and in the log too.
#[case(covers = ["attach.stdout", "attach.stderr", "attach.url-returned", "attach.log-continues", "attach.ends-on-exit"])]
async fn attach_shows_output_and_logs_go_on(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "go")?;
    let late = script()
        .act("wait_file", json!({"path": "/go/now"}))
        .act("print", json!({"text": "late out\n"}))
        .act("print", json!({"text": "late err\n", "fd": 2}));
    let container = cri.run_pod().await?.container().mount(&dir, "/go", |_| ()).script(&late).start().await?;
    let url = container.attach_url(OUTPUTS).await.must_succeed()?;
    check!(of "attach.url-returned"; !url.is_empty(), "a URL", "an empty text");
    let mut session = Session::open(&url, Protocol::SPDY, OUTPUTS, cri.wait())
        .await
        .map_err(|e| Stop::violation("attaching works", e.to_string()))?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(format!("{dir}/now"), "")?;
    let output = session.gather(cri.wait(), 1 << 20).await.map_err(|e| {
        Stop::violation("the stream ends with the container", e.to_string()).of("attach.ends-on-exit")
    })?;
    check!(String::from_utf8_lossy(&output.stdout).contains("late out"), "the output", "something else");
    check!(of "attach.stderr"; String::from_utf8_lossy(&output.stderr).contains("late err"), "the error output", "something else");
    container.exited().await?;
    check!(of "attach.log-continues"; container.log_text("stdout")?.contains("late out"), "the output in the log", "it is missing");
    Ok(())
}

async fn attach(container: &Container, streams: Streams) -> Result<Session, Stop> {
    let url = container.attach_url(streams).await.must_succeed()?;
    let opened = Session::open(&url, Protocol::SPDY, streams, container.cri().wait()).await;
    opened.map_err(|e| Stop::violation("attaching works", e.to_string()))
}

fn reader() -> Script {
    script().ask_with("stdin", json!({"timeout_ms": 9000}))
}

/// Input reaches the container's command; without it the command reads the end of file.
#[case(covers = ["attach.stdin", "container.stdin.open", "container.stdin.closed"])]
async fn attach_carries_input(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let container = pod
        .container()
        .with(|c| {
            c.stdin = true;
            c.stdin_once = true;
        })
        .script(&reader())
        .start()
        .await?;
    tokio::time::sleep(Duration::from_millis(150)).await;
    check_eq!(of "container.stdin.open"; container.status().await?.state(), v1::ContainerState::ContainerRunning,
        "state of a command that reads, before anyone has attached");
    let session = attach(&container, ALL).await?;
    session
        .run(Some(b"typed"), cri.wait(), 1 << 20)
        .await
        .map_err(|e| Stop::violation("the stream ends", e.to_string()))?;
    container.exited().await?;
    let answers = Answers::parse(&container.log_text("stdout")?, cri.tag());
    check_eq!(answers.facts("stdin")?["data"], "typed", "what the command read");
    let closed = pod.container().answers(&reader()).await?;
    check_eq!(of "container.stdin.closed"; closed.facts("stdin")?["eof"], true, "end of file without stdin");
    Ok(())
}

/// With stdin_once the first client's end closes the input, without it the input stays open.
#[case(covers = ["container.stdin.once", "attach.stdin-once-close"])]
async fn attach_once_closes_the_input(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    for once in [true, false] {
        let container = pod
            .container()
            .with(|c| {
                c.stdin = true;
                c.stdin_once = once;
            })
            .script(&script().ask_with("stdin", json!({"timeout_ms": 3000})))
            .start()
            .await?;
        let session = attach(&container, ALL).await?;
        session.input().stdin(b"x").await.map_err(|e| Stop::violation("stdin works", e.to_string()))?;
        let _ = session.input().close_stdin().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(session);
        container.exited().await?;
        let answers = Answers::parse(&container.log_text("stdout")?, cri.tag());
        let id = if once { "attach.stdin-once-close" } else { "container.stdin.once" };
        check_eq!(of id; answers.facts("stdin")?["eof"], once, "end of file with stdin_once {once}");
    }
    Ok(())
}

/// Attaching to a terminal works, and its size follows the client's.
#[case(covers = ["attach.tty-resize", "attach.tty-match"])]
async fn attach_of_a_terminal(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let ask = script().act("sleep", json!({"ms": 1500})).ask("winsize");
    let container = cri
        .run_pod()
        .await?
        .container()
        .with(|c| {
            c.tty = true;
            c.stdin = true;
        })
        .script(&ask)
        .start()
        .await?;
    let mismatch = container.attach_url(OUTPUTS).await;
    cx.record("attach.tty-mismatch", mismatch.is_ok());
    check!(of "attach.tty-match"; mismatch.as_ref().map_or_else(|e| e.code == Code::InvalidArgument, |url| !url.is_empty()),
        "InvalidArgument, or a URL", "{:?}", mismatch.map_err(|e| e.code));
    let session = attach(&container, TERMINAL).await?;
    session
        .input()
        .resize(90, 33)
        .await
        .map_err(|e| Stop::violation("the resize stream works", e.to_string()))?;
    container.exited().await?;
    let answers = Answers::parse(&container.log_text("stdout")?, cri.tag());
    let size = answers.facts("winsize")?;
    check!(size["rows"] == 33 && size["cols"] == 90, "33 rows and 90 columns", "{size}");
    Ok(())
}

/// Two clients both see the output.
#[case(covers = ["attach.multiple-clients"])]
async fn attach_twice(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let dir = host_dir(&cri, "go")?;
    let late =
        script().act("wait_file", json!({"path": "/go/now"})).act("print", json!({"text": "for both\n"}));
    let container = cri.run_pod().await?.container().mount(&dir, "/go", |_| ()).script(&late).start().await?;
    let (mut a, mut b) = (attach(&container, OUTPUTS).await?, attach(&container, OUTPUTS).await?);
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::write(format!("{dir}/now"), "")?;
    for session in [&mut a, &mut b] {
        let output = session
            .gather(cri.wait(), 1 << 20)
            .await
            .map_err(|e| Stop::violation("the stream ends", e.to_string()))?;
        check!(
            String::from_utf8_lossy(&output.stdout).contains("for both"),
            "the output for each client",
            "not for one"
        );
    }
    Ok(())
}

async fn listening(pod: &Pod, host: &str, port: u16) -> Result<Container, Stop> {
    let server = script().act("tcp_echo", json!({"host": host, "port": port}));
    let container = pod.container().script(&server).start().await?;
    container.logs("ready").await?;
    Ok(container)
}

async fn forward(pod: &Pod, ports: &[i32]) -> Result<Forward, Stop> {
    let request = v1::PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: ports.to_vec() };
    let url = pod.cri().client().port_forward(request).await.must_succeed()?.url;
    check!(of "portforward.url-returned"; !url.is_empty(), "a URL", "an empty text");
    Forward::open(&url, pod.cri().wait())
        .await
        .map_err(|e| Stop::violation("port-forward opens", e.to_string()))
}

fn failed(error: &StreamError) -> Stop {
    Stop::violation("forwarding works", error.to_string())
}

/// Bytes go both ways to a listener on the pod's loopback, and a half-close passes on.
#[case(covers = ["portforward.tcp-roundtrip", "portforward.url-returned", "portforward.reaches-localhost-only-listener", "portforward.half-close", ])]
async fn ports_are_forwarded(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    listening(&pod, "127.0.0.1", 7070).await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    let mut session = forward(&pod, &[7070]).await?;
    let data: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    let link = session.exchange(7070, &data, cri.wait()).await.map_err(|e| failed(&e))?;
    check!(
        link.error.is_empty(),
        "no text on the error stream",
        "{}",
        String::from_utf8_lossy(&link.error).chars().take(60).collect::<String>()
    );
    check!(of "portforward.reaches-localhost-only-listener"; !link.received.is_empty(), "an answer of the listener on 127.0.0.1", "none");
    check_eq!(link.received.len(), data.len(), "bytes that came back");
    check!(link.received == data, "the bytes that were sent", "other bytes, as many");
    check!(of "portforward.half-close"; link.finished, "the end of the answer", "none");
    Ok(())
}

/// A session carries many connections to several ports.
#[case(covers = ["portforward.multiple-ports", "portforward.multiple-connections"])]
async fn many_connections_in_one_session(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    listening(&pod, "127.0.0.1", 7071).await?;
    listening(&pod, "127.0.0.1", 7072).await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    let mut session = forward(&pod, &[7071, 7072]).await?;
    let mut links = Vec::new();
    for n in 0..10 {
        let link = session.connect(7071 + n % 2, cri.wait()).await.map_err(|e| failed(&e))?;
        session.send(link, format!("text {n}").as_bytes()).await.map_err(|e| failed(&e))?;
        session.finish(link).await.map_err(|e| failed(&e))?;
        links.push((link, n));
    }
    let all = session
        .until(cri.wait(), |links| links.iter().all(|l| l.finished || l.reset))
        .await
        .map_err(|e| failed(&e))?;
    for (link, n) in links {
        // The first two are one per port, the others further ones beside them.
        let id = if n < 2 { "portforward.multiple-ports" } else { "portforward.multiple-connections" };
        check!(of id; all[link].received == format!("text {n}").as_bytes(), "each connection's own bytes", "another's or none");
    }
    Ok(())
}

/// A closed port is told on the error stream, and the session goes on.
#[case(covers = ["portforward.refused-port-error"])]
async fn closed_ports_are_told(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    listening(&pod, "127.0.0.1", 7073).await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    let mut session = forward(&pod, &[7073, 7999]).await?;
    let closed = session.exchange(7999, b"x", cri.wait()).await.map_err(|e| failed(&e))?;
    check!(
        !closed.error.is_empty() || closed.reset,
        "an error text or a reset",
        "neither; the session ended"
    );
    let open = session.exchange(7073, b"y", cri.wait()).await.map_err(|e| failed(&e))?;
    check_eq!(open.received, b"y".to_vec(), "bytes over the same session");
    Ok(())
}

/// Port 0 is refused.
#[case(covers = ["portforward.invalid-port"])]
async fn bad_ports_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let mut session = forward(&pod, &[80]).await?;
    let link = session.connect(0, Duration::from_secs(5)).await;
    check!(link.is_err(), "port 0 is refused", "it is accepted");
    Ok(())
}

/// Ports of a host-network pod are forwarded.
#[case(covers = ["portforward.host-network"])]
async fn host_network_ports(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.pod().host_network().run().await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    listening(&pod, "127.0.0.1", port).await?;
    let mut session = forward(&pod, &[i32::from(port)]).await?;
    let link = session.exchange(port, b"host", cri.wait()).await.map_err(|e| failed(&e))?;
    check_eq!(link.received, b"host".to_vec(), "bytes that came back");
    Ok(())
}

/// WebSocket v4 forwards ports by channel pairs that begin with the port.
#[case(covers = ["streaming.ws.portforward-v4"])]
async fn web_socket_ports(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    listening(&pod, "127.0.0.1", 7074).await?;
    if !super::network::reaches_pods(&pod).await? {
        return cri.not_applicable("pod-network", "the handler's pods have no network");
    }
    let request = v1::PortForwardRequest { pod_sandbox_id: pod.id.clone(), port: vec![7074] };
    let url = cri.client().port_forward(request).await.must_succeed()?.url;
    let mut session = WebSocketForward::open(&url, &[7074], cri.wait()).await.map_err(|e| failed(&e))?;
    session.send(0, b"ping").await.map_err(|e| failed(&e))?;
    let received = session.next(cri.wait()).await.map_err(|e| failed(&e))?;
    check!(
        received.is_some_and(|(index, error, data)| index == 0 && !error && data == b"ping"[..]),
        "the bytes on the data channel",
        "something else"
    );
    Ok(())
}

/// A listener on ::1 alone is reached.
#[case(covers = ["portforward.ipv6-listener"])]
async fn ports_of_the_newer_protocol(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let looks = pod.container().start().await?;
    let interfaces = fact(&looks, "interfaces").await?["interfaces"].to_string();
    if !interfaces.contains("\"::1\"") {
        return cri.not_applicable("pod-ipv6", "the pod's loopback interface has no ::1");
    }
    listening(&pod, "::1", 7076).await?;
    let mut session = forward(&pod, &[7076]).await?;
    let link = session.exchange(7076, b"six", cri.wait()).await.map_err(|e| failed(&e))?;
    check_eq!(link.received, b"six".to_vec(), "bytes that came back");
    Ok(())
}
