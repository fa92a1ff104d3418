//! Streaming below the client's level: recorded traffic, frames in unusual order, and bytes that are no frames.

use crate::prelude::*;
use plimsoll_kit::cri::stream::spdy::{Connection, Decoder, Event as Seen, Frame};
use plimsoll_kit::cri::stream::upgrade::{self, Address, Answer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The table of this file.
pub static CASES: &[Case] = &[
    recorded_sessions_replay,
    streams_open_in_any_order,
    replies_come_before_data,
    broken_frames_harm_nothing,
    broken_messages_harm_nothing,
    odd_handshakes_are_refused,
];

const PROBE: &str = "/probe";

fn broken(what: &str, error: impl std::fmt::Display) -> Stop {
    Stop::violation(what, error.to_string())
}

/// A SPDY connection for a script, before any stream is open.
async fn upgraded(container: &Container, script: &Script, streams: Streams) -> Result<Answer, Stop> {
    let cri = container.cri();
    let url = container.exec_url(&[PROBE, &script.text(cri.tag(), None)], streams).await.must_succeed()?;
    let address = Address::parse(&url).map_err(|e| broken("a URL that can be used", e))?;
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ];
    let answer = upgrade::request("POST", &address, &headers, cri.wait()).await;
    let answer = answer.map_err(|e| broken("the handshake is answered", e))?;
    answer.switched("SPDY/3.1").await.map_err(|e| broken("the connection switches to SPDY/3.1", e))
}

/// What the client of a recorded session sent behind its handshake.
fn recorded(trace: &str) -> Result<Vec<u8>, Stop> {
    let mut bytes = Vec::new();
    for hex in trace.lines().filter_map(|l| l.strip_prefix("C ")) {
        for at in (0..hex.len()).step_by(2) {
            let byte = hex.get(at..at + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
            bytes.push(byte.ok_or_else(|| Stop::setup("the recorded trace is broken"))?);
        }
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |n| n + 4);
    Ok(bytes.split_off(end))
}

/// Reads frames until the connection ends or a status has come on the error stream.
async fn frames_of(answer: &mut Answer, error_stream: u32, limit: Duration) -> Result<Vec<Frame>, Stop> {
    let mut decoder = Decoder::default();
    decoder.push(&answer.rest);
    let mut frames = Vec::new();
    let read = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            while let Some(frame) = decoder.next().map_err(|e| broken("frames of SPDY/3.1", e))? {
                let ends =
                    matches!(&frame, Frame::Data { id, data, .. } if *id == error_stream && !data.is_empty());
                frames.push(frame);
                if ends {
                    return Ok::<_, Stop>(());
                }
            }
            match answer.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(got) => decoder.push(&buffer[..got]),
            }
        }
    };
    match tokio::time::timeout(limit, read).await {
        Ok(result) => result?,
        Err(_) => return Err(Stop::violation("a status on the error stream", "none in time")),
    }
    Ok(frames)
}

fn bytes_of(frames: &[Frame], stream: u32) -> String {
    let parts = frames.iter().filter_map(|f| match f {
        Frame::Data { id, data, .. } if *id == stream => Some(data.to_vec()),
        _ => None,
    });
    String::from_utf8_lossy(&parts.flatten().collect::<Vec<_>>()).into_owned()
}

/// What other clients were recorded to send is understood: streams, input, and the status that they got.
#[case(covers = ["streaming.golden-trace"])]
async fn recorded_sessions_replay(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let ends = include_str!("../../../../harness/cri-client/tests/data/spdy-exec-exit7.trace");
    let exit = script().act("print", json!({"text": "oops", "fd": 2})).exit(7);
    let mut answer = upgraded(&container, &exit, OUTPUTS).await?;
    answer.stream.write_all(&recorded(ends)?).await?;
    let frames = frames_of(&mut answer, 1, cri.wait()).await?;
    check_eq!(bytes_of(&frames, 5), "oops", "bytes on the stream that was recorded as stderr");
    let status = Finish::parse(bytes_of(&frames, 1).as_bytes());
    check_eq!(status, Some(Finish::ExitCode(7)), "status on the stream that was recorded as error");
    let input = include_str!("../../../../harness/cri-client/tests/data/spdy-exec-stdin.trace");
    let reads = script().ask_with("stdin", json!({"timeout_ms": 9000}));
    let mut answer = upgraded(&container, &reads, ALL).await?;
    answer.stream.write_all(&recorded(input)?).await?;
    let frames = frames_of(&mut answer, 1, cri.wait()).await?;
    let facts = Answers::parse(&bytes_of(&frames, 5), cri.tag());
    let stdin = facts.facts("stdin")?;
    check!(stdin["data"] == "abc" && stdin["eof"] == true, "the recorded input and its end", "{stdin}");
    Ok(())
}

/// Streams are told apart by their type, whatever the order in which they are opened.
#[case(covers = ["streaming.spdy.stream-types"])]
async fn streams_open_in_any_order(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let both = script().act("print", json!({"text": "to err", "fd": 2})).exit(5);
    for order in [["stdout", "stderr", "error"], ["stderr", "error", "stdout"]] {
        let answer = upgraded(&container, &both, OUTPUTS).await?;
        let mut connection = Connection::new(answer.stream, &answer.rest);
        let talk = async {
            let mut ids = std::collections::BTreeMap::new();
            for kind in order {
                let headers = vec![("streamtype".to_owned(), kind.to_owned())];
                let id = connection.open(headers).await.map_err(|e| broken("the stream is accepted", e))?;
                ids.insert(kind, id);
            }
            let mut seen = std::collections::BTreeMap::<u32, Vec<u8>>::new();
            loop {
                match connection.next().await.map_err(|e| broken("frames of SPDY/3.1", e))? {
                    Seen::Data { id, data, .. } => seen.entry(id).or_default().extend_from_slice(&data),
                    Seen::End(_) => return Ok::<_, Stop>((ids, seen)),
                    Seen::Reset { .. } | Seen::GoAway => {}
                }
            }
        };
        let done = tokio::time::timeout(cri.wait(), talk).await;
        let (ids, seen) =
            done.map_err(|_| Stop::violation("the session ends with its command", "it does not"))??;
        let of = |kind: &str| ids.get(kind).and_then(|id| seen.get(id)).cloned().unwrap_or_default();
        check_eq!(String::from_utf8_lossy(&of("stderr")), "to err", "stderr with the order {order:?}");
        check_eq!(Finish::parse(&of("error")), Some(Finish::ExitCode(5)), "status with the order {order:?}");
    }
    Ok(())
}

/// Every stream is accepted before the first byte on it.
#[case(covers = ["streaming.spdy.syn-reply-before-data"])]
async fn replies_come_before_data(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let trace = include_str!("../../../../harness/cri-client/tests/data/spdy-exec-exit7.trace");
    let mut answer =
        upgraded(&container, &script().act("print", json!({"text": "x", "fd": 2})), OUTPUTS).await?;
    answer.stream.write_all(&recorded(trace)?).await?;
    let mut replied = std::collections::BTreeSet::new();
    for frame in frames_of(&mut answer, 1, cri.wait()).await? {
        match frame {
            Frame::SynReply { id, .. } => {
                replied.insert(id);
            }
            Frame::Data { id, .. } => {
                check!(
                    replied.contains(&id),
                    "SYN_REPLY before data on a stream",
                    "data first on stream {id}"
                );
            }
            _ => {}
        }
    }
    check_eq!(replied.into_iter().collect::<Vec<_>>(), [1, 3, 5], "streams that were accepted");
    Ok(())
}

/// Sends bytes on a fresh connection, waits a moment for the server's answer, and hangs up.
async fn hang_up_after(mut answer: Answer, bytes: &[u8]) {
    let _ = answer.stream.write_all(bytes).await;
    let mut buffer = [0; 4096];
    let end = Instant::now() + Duration::from_millis(150);
    while let Ok(Ok(1..)) =
        tokio::time::timeout(end.saturating_duration_since(Instant::now()), answer.stream.read(&mut buffer))
            .await
    {}
}

async fn unharmed(container: &Container) -> Verdict {
    check_eq!(container.status().await?.state(), v1::ContainerState::ContainerRunning, "state");
    let print = script().act("print", json!({"text": "fine", "fd": 2}));
    let output = container.run_stream(&print, Protocol::SPDY, OUTPUTS, None).await?;
    check_eq!(String::from_utf8_lossy(&output.stderr), "fine", "output of the next session");
    Ok(())
}

/// Bytes that are no SPDY end their own connection and nothing else.
#[case(covers = ["exec.client-disconnect"])]
async fn broken_frames_harm_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let rubbish: [&[u8]; 8] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x80, 0x03, 0x00],                                           // half a head
        &[0x80, 0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0x0a],             // version 2
        &[0x80, 0x03, 0x00, 0x01, 0x00, 0xff, 0xff, 0xff, 0, 0, 0, 1], // 16 MiB of headers
        &[
            0x80, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x0e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xde, 0xad, 0xbe,
            0xef,
        ],
        &[0x00, 0x00, 0x00, 0x63, 0x01, 0x00, 0x00, 0x02, b'h', b'i'], // data on no stream
        &[0x80, 0x03, 0x00, 0x03, 0x00, 0x00, 0x00, 0x08, 0, 0, 0, 9, 0, 0, 0, 99], // reset of no stream
    ];
    for bytes in rubbish {
        let answer = upgraded(&container, &script(), OUTPUTS).await?;
        hang_up_after(answer, bytes).await;
    }
    unharmed(&container).await
}

/// WebSocket messages that break the protocol end their own connection and nothing else.
#[case(covers = ["exec.client-disconnect"])]
async fn broken_messages_harm_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let rubbish: [&[u8]; 6] = [
        &[0x82, 0x02, 0x00, 0x41],       // a frame without a mask
        &[0xf2, 0x82, 1, 2, 3, 4, 1, 2], // reserved bits
        &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], // an exabyte
        &[0x82, 0x82, 0, 0, 0, 0, 0x77, 0x41], // a channel that nobody has
        &[0x82, 0x80, 0, 0, 0, 0],       // an empty message
        &[0x8b, 0x81, 0, 0, 0, 0, 0],    // an unknown opcode
    ];
    for bytes in rubbish {
        let url = container.exec_url(&[PROBE, "pause"], OUTPUTS).await.must_succeed()?;
        let address = Address::parse(&url).map_err(|e| broken("a URL that can be used", e))?;
        let origin = format!("http://{}", address.host);
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Origin", origin.as_str()),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ];
        let answer = upgrade::request("GET", &address, &headers, cri.wait()).await;
        let answer = answer.map_err(|e| broken("the handshake is answered", e))?;
        let answer = answer.switched("websocket").await.map_err(|e| broken("a WebSocket", e));
        hang_up_after(answer?, bytes).await;
    }
    unharmed(&container).await
}

/// Handshakes that are incomplete are answered with an error, never with a hang or a session.
#[case(covers = ["streaming.spdy.upgrade"])]
async fn odd_handshakes_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().start().await?;
    let protocol = ("X-Stream-Protocol-Version", "v4.channel.k8s.io");
    for (name, headers) in [
        ("no upgrade", vec![protocol]),
        ("an unknown upgrade", vec![("Connection", "Upgrade"), ("Upgrade", "gopher/1"), protocol]),
        ("an upgrade without the connection's", vec![("Upgrade", "SPDY/3.1"), protocol]),
    ] {
        let url = container.exec_url(&[PROBE, "pause"], OUTPUTS).await.must_succeed()?;
        let address = Address::parse(&url).map_err(|e| broken("a URL that can be used", e))?;
        let answer = upgrade::request("POST", &address, &headers, cri.wait()).await;
        let answer = answer.map_err(|e| broken("the handshake is answered", e))?;
        check!(
            (400..500).contains(&answer.status),
            format!("a status of the 4xx kind for {name}"),
            "{}",
            answer.status
        );
    }
    unharmed(&container).await
}
