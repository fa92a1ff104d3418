//! Bytes exchanged by others' client and server, replayed against this client.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::time::Duration;

use plimsoll_cri_client::stream::exec::{Channel, Event, Protocol, Session, Streams};
use plimsoll_cri_client::stream::forward::Forward;
use plimsoll_cri_client::stream::spdy::{Decoder, Encoder, Frame};
use plimsoll_cri_client::stream::{Finish, StreamError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq)]
enum Side {
    Client,
    Server,
}

struct Trace {
    chunks: Vec<(Side, Vec<u8>)>,
}

impl Trace {
    fn load(name: &str) -> Self {
        let path = format!("{}/tests/data/{name}.trace", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut chunks = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            let (side, hex) = line.split_once(' ').unwrap();
            let bytes =
                (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
            chunks.push((if side == "C" { Side::Client } else { Side::Server }, bytes));
        }
        Self { chunks }
    }

    /// Chunks of one side behind the heads of the handshake.
    fn body(&self, side: &Side) -> Vec<u8> {
        let all: Vec<u8> =
            self.chunks.iter().filter(|(s, _)| s == side).flat_map(|(_, b)| b.clone()).collect();
        let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        all[end..].to_vec()
    }

    /// Frames of one side.
    fn frames(&self, side: &Side) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        decoder.push(&self.body(side));
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next().unwrap() {
            frames.push(frame);
        }
        assert_eq!(decoder.pending(), 0, "bytes left over");
        frames
    }
}

async fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.unwrap());
    }
    read
}

/// Plays the server of a SPDY trace: each chunk goes out when the client has sent as many frames as the
/// recorded client had. Gives the frames that the client sent.
async fn play_spdy(listener: TcpListener, trace: Trace) -> Vec<Frame> {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_head(&mut stream).await;
    let (mut recorded, mut received) = (Decoder::default(), Decoder::default());
    let (mut wanted, mut got) = (0, Vec::new());
    let mut head_seen = false;
    for (side, bytes) in trace.chunks {
        match side {
            Side::Client if !head_seen => head_seen = true,
            Side::Client => {
                recorded.push(&bytes);
                while recorded.next().unwrap().is_some() {
                    wanted += 1;
                }
            }
            Side::Server => {
                let mut buffer = [0; 4096];
                while got.len() < wanted {
                    let n = stream.read(&mut buffer).await.unwrap();
                    assert!(n > 0, "the client left after {} of {wanted} frames", got.len());
                    received.push(&buffer[..n]);
                    while let Some(frame) = received.next().unwrap() {
                        got.push(frame);
                    }
                }
                if stream.write_all(&bytes).await.is_err() {
                    return got;
                }
            }
        }
    }
    got
}

async fn play_ws(listener: TcpListener, trace: Trace) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let head = String::from_utf8(read_head(&mut stream).await).unwrap();
    let key = head.lines().find_map(|l| l.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let protocol = head.lines().find_map(|l| l.strip_prefix("Sec-WebSocket-Protocol: ")).unwrap();
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    // The first bytes of the new protocol come with the head, as they do in the field.
    let mut first = answer.into_bytes();
    first.extend(trace.body(&Side::Server));
    stream.write_all(&first).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

async fn listen(kind: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{kind}/token", listener.local_addr().unwrap());
    (listener, url)
}

fn stream_types(frames: &[Frame]) -> Vec<String> {
    frames
        .iter()
        .filter_map(|f| match f {
            Frame::SynStream { headers, .. } => Some(headers[0].1.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn recorded_frames_decode_and_encode_to_the_same_meaning() {
    for name in
        ["spdy-exec-ok", "spdy-exec-exit7", "spdy-exec-stdin", "spdy-exec-tty-resize", "spdy-portforward"]
    {
        let trace = Trace::load(name);
        for side in [Side::Client, Side::Server] {
            let frames = trace.frames(&side);
            assert!(!frames.is_empty(), "{name}");
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            for frame in &frames {
                decoder.push(&encoder.encode(frame));
                assert_eq!(decoder.next().unwrap().as_ref(), Some(frame), "{name}");
            }
        }
    }
    // Where no compression is involved the bytes must be the same.
    let trace = Trace::load("spdy-portforward");
    let body = trace.body(&Side::Client);
    let fin = Encoder::default().encode(&Frame::Data { id: 1, fin: true, data: bytes::Bytes::new() });
    assert!(body.windows(fin.len()).any(|w| w == fin));
    let reset = Encoder::default().encode(&Frame::Reset { id: 3, status: 5 });
    assert!(body.windows(reset.len()).any(|w| w == reset));
}

#[tokio::test]
async fn spdy_exec_gives_output_and_success() {
    let (listener, url) = listen("exec").await;
    let server = tokio::spawn(play_spdy(listener, Trace::load("spdy-exec-ok")));
    let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
    let session = Session::open(&url, Protocol::SPDY, streams, LIMIT).await.unwrap();
    assert_eq!(session.protocol(), "v4.channel.k8s.io");
    let output = session.run(None, LIMIT, 1 << 20).await.unwrap();
    assert_eq!(output.finish, Some(Finish::Success));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"hello"[..], &b"oops"[..]));
    let sent = server.await.unwrap();
    assert_eq!(stream_types(&sent), ["error", "stdout", "stderr"]);
}

#[tokio::test]
async fn spdy_exec_gives_the_exit_code() {
    let (listener, url) = listen("exec").await;
    let _server = tokio::spawn(play_spdy(listener, Trace::load("spdy-exec-exit7")));
    let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
    let session = Session::open(&url, Protocol::SPDY, streams, LIMIT).await.unwrap();
    let output = session.run(None, LIMIT, 1 << 20).await.unwrap();
    assert_eq!(output.finish, Some(Finish::ExitCode(7)));
}

#[tokio::test]
async fn spdy_exec_sends_and_half_closes_stdin() {
    let recorded = Trace::load("spdy-exec-stdin");
    let frames = recorded.frames(&Side::Client);
    let sent: Vec<u8> = frames
        .iter()
        .filter_map(|f| match f {
            Frame::Data { id: 3, data, .. } => Some(data.to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    let (listener, url) = listen("exec").await;
    let server = tokio::spawn(play_spdy(listener, recorded));
    let streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
    let session = Session::open(&url, Protocol::SPDY, streams, LIMIT).await.unwrap();
    let output = session.run(Some(&sent), LIMIT, 1 << 20).await.unwrap();
    assert_eq!(output.finish, Some(Finish::Success));
    let got = server.await.unwrap();
    assert_eq!(stream_types(&got), ["error", "stdin", "stdout", "stderr"]);
    assert!(
        got.iter().any(|f| matches!(f, Frame::Data { id: 3, fin: true, .. })),
        "stdin was not half-closed"
    );
}

#[tokio::test]
async fn spdy_exec_with_a_terminal_resizes() {
    let recorded = Trace::load("spdy-exec-tty-resize");
    let types = stream_types(&recorded.frames(&Side::Client));
    let (listener, url) = listen("exec").await;
    let server = tokio::spawn(play_spdy(listener, recorded));
    let stdin = types.contains(&"stdin".to_owned());
    let streams = Streams { stdin, stdout: true, stderr: false, tty: true };
    let mut session = Session::open(&url, Protocol::SPDY, streams, LIMIT).await.unwrap();
    let input = session.input();
    input.resize(80, 24).await.unwrap();
    // The recorded client half-closes the resize stream, which the server may wait for.
    let _ = input.send(Channel::Resize, b"").await;
    if stdin {
        let _ = input.close_stdin().await;
    }
    let output = session.gather(LIMIT, 1 << 20).await;
    let got = match output {
        Ok(output) => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("[80x24]"), "{output:?}");
            server.await.unwrap()
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(stream_types(&got), types);
}

#[tokio::test]
async fn spdy_port_forward_exchanges() {
    let (listener, url) = listen("portforward").await;
    let server = tokio::spawn(play_spdy(listener, Trace::load("spdy-portforward")));
    let mut forward = Forward::open(&url, LIMIT).await.unwrap();
    let link = forward.connect(80, LIMIT).await.unwrap();
    forward.send(link, b"ping").await.unwrap();
    let links = forward.until(LIMIT, |links| links[link].finished).await.unwrap();
    assert_eq!(links[link].received, b"port80:ping");
    assert!(links[link].error.is_empty());
    drop(forward);
    let sent = server.await.unwrap();
    assert_eq!(stream_types(&sent), ["error", "data"]);
    assert!(
        matches!(sent[1], Frame::Data { id: 1, fin: true, .. }),
        "the error stream is half-closed at once"
    );
}

#[tokio::test]
async fn websocket_v4_traces_give_output_and_status() {
    let both = Streams { stdout: true, stderr: true, ..Streams::default() };
    let cases = [
        ("ws-exec-v4", both, &b"got:"[..], Finish::Success),
        ("ws-exec-v4-exit7", both, &b"got:"[..], Finish::ExitCode(7)),
        (
            "ws-exec-v4-tty-resize",
            Streams { stdin: true, stdout: true, tty: true, stderr: false },
            &b"got:[80x24]"[..],
            Finish::Success,
        ),
    ];
    for (name, streams, stdout, finish) in cases {
        let (listener, url) = listen("exec").await;
        let server = tokio::spawn(play_ws(listener, Trace::load(name)));
        let session = Session::open(&url, Protocol::WEBSOCKET_V4, streams, LIMIT).await.unwrap();
        let output = session.run(None, LIMIT, 1 << 20).await.unwrap();
        assert_eq!(output.finish, Some(finish), "{name}");
        assert_eq!(output.stdout, stdout, "{name}");
        assert_eq!(output.close_code, Some(1000), "{name}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn websocket_v4_cannot_half_close() {
    let (listener, url) = listen("exec").await;
    let server = tokio::spawn(play_ws(listener, Trace::load("ws-exec-v4")));
    let streams = Streams { stdin: true, stdout: true, ..Streams::default() };
    let session = Session::open(&url, Protocol::WEBSOCKET_V4, streams, LIMIT).await.unwrap();
    let refused = session.input().close_stdin().await.unwrap_err();
    assert!(matches!(refused, StreamError::Refused(_)), "{refused}");
    drop(session);
    server.await.unwrap();
}

#[tokio::test]
async fn refused_handshakes_tell_the_status() {
    for (name, protocol) in
        [("ws-exec-v5-only", Protocol::WEBSOCKET_V5), ("ws-portforward-tunnel", Protocol::WEBSOCKET_V5)]
    {
        let trace = Trace::load(name);
        let (listener, url) = listen("exec").await;
        let answer: Vec<u8> =
            trace.chunks.iter().filter(|(s, _)| *s == Side::Server).flat_map(|(_, b)| b.clone()).collect();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(&answer).await.unwrap();
        });
        let error = Session::open(&url, protocol, Streams::default(), LIMIT).await.err().unwrap();
        assert!(matches!(error, StreamError::Handshake { status: 403, .. }), "{name}: {error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let (listener, url) = listen("exec").await;
    let server = tokio::spawn(async move { listener.accept().await.unwrap() });
    let brief = Duration::from_millis(200);
    let error = Session::open(&url, Protocol::SPDY, Streams::default(), brief).await.err().unwrap();
    assert!(matches!(error, StreamError::Deadline(..)), "{error}");
    drop(server.await.unwrap());
    assert!(matches!(
        Session::open("/cri/exec/x", Protocol::SPDY, Streams::default(), brief).await,
        Err(StreamError::Url { .. })
    ));
}

#[tokio::test]
async fn events_come_one_by_one() {
    let (listener, url) = listen("exec").await;
    let _server = tokio::spawn(play_ws(listener, Trace::load("ws-exec-v4")));
    let streams = Streams { stdout: true, stderr: true, ..Streams::default() };
    let mut session = Session::open(&url, Protocol::WEBSOCKET_V4, streams, LIMIT).await.unwrap();
    let mut seen = Vec::new();
    loop {
        match session.next(LIMIT).await.unwrap() {
            Event::End(code) => {
                assert_eq!(code, Some(1000));
                break;
            }
            event => seen.push(event),
        }
    }
    // The server opens with an empty message on its lowest channel.
    assert_eq!(seen[0], Event::Data(Channel::Stdout, bytes::Bytes::new()));
}
