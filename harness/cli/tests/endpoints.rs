//! CRI endpoints that are none: each gets a clear message, the documented exit code, an end in time, and leaves
//! nothing.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, text};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Deadlines are cut to a tenth, so that hanging takes little time.
const SCALE: &[&str] = &["--timeout-scale", "0.1", "-P", "smoke"];
/// The longest that any of these may take, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
/// What the harness may hold in memory while an endpoint floods it, in KiB.
const MEMORY: i64 = 512 << 10;

/// Listens on a socket of `place` and serves each connection in a thread until the test ends.
fn serve(place: &Place, behave: fn(UnixStream)) -> PathBuf {
    let path = place.path().join("cri.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || behave(stream));
        }
    });
    path
}

/// What `plimsoll run` says of an endpoint that behaves like this, and its exit code.
fn judged(behave: fn(UnixStream)) -> (String, i32) {
    let place = Place::new();
    let socket = serve(&place, behave);
    judge_socket(&place, &socket)
}

fn judge_socket(place: &Place, socket: &std::path::Path) -> (String, i32) {
    let target = format!("cri:unix://{}", socket.display());
    let mut args = vec!["run", "-t", &target];
    args.extend(SCALE);
    let start = Instant::now();
    let (output, _) = place.run(&args);
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    place.assert_clean();
    (text(&output), output.status.code().unwrap_or(-1))
}

fn reads_forever(mut stream: UnixStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    bytes.extend_from_slice(payload);
    bytes
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Answers the client's preface and waits for its first request.
fn shake_hands(stream: &mut UnixStream) {
    // The client may have gone already.
    let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[]));
    let _ = stream.write_all(&frame(SETTINGS, ACK, 0, &[]));
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while seen.len() < 1 << 16 {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => seen.extend_from_slice(&buffer[..n]),
            _ => return,
        }
        // 24 bytes of preface, then frames: a request has come when a HEADERS frame has.
        if seen.len() > 24 && has_headers(&seen[24..]) {
            return;
        }
    }
}

fn has_headers(mut bytes: &[u8]) -> bool {
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        if bytes[3] == HEADERS {
            return true;
        }
        if bytes.len() < 9 + length {
            return false;
        }
        bytes = &bytes[9 + length..];
    }
    false
}

/// `:status: 200` and `content-type: application/grpc` (RFC 7541: index 8, and a literal with the name of index 31).
fn response_headers() -> Vec<u8> {
    let mut block = vec![0x88, 0x5f, 16];
    block.extend_from_slice(b"application/grpc");
    frame(HEADERS, END_HEADERS, 1, &block)
}

#[test]
fn no_socket_is_usage() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (path, want) in [(place.path().join("absent"), "does not exist"), (file, "is not a socket")] {
        let (said, code) = judge_socket(&place, &path);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(want), "{said}");
    }
}

#[test]
fn a_socket_that_nobody_serves_is_trouble() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let path = place.path().join("cri.sock");
    drop(UnixListener::bind(&path).unwrap());
    let (said, code) = judge_socket(&place, &path);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("unfit") && said.contains("is the server running"), "{said}");
}

#[test]
fn an_endpoint_that_never_answers_ends_at_the_deadline() {
    if !fit() {
        return;
    }
    let (said, code) = judged(reads_forever);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("got no answer within"), "{said}");
}

#[test]
fn an_endpoint_that_shakes_hands_and_never_answers_ends_at_the_deadline() {
    if !fit() {
        return;
    }
    let (said, code) = judged(|mut stream| {
        shake_hands(&mut stream);
        reads_forever(stream);
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("got no answer within"), "{said}");
}

#[test]
fn an_endpoint_that_speaks_http1_is_unfit() {
    if !fit() {
        return;
    }
    let (said, code) = judged(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\n");
        reads_forever(stream);
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("is this its CRI socket"), "{said}");
}

#[test]
fn an_endpoint_that_closes_is_unfit() {
    if !fit() {
        return;
    }
    let (said, code) = judged(drop);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("could not be sent or answered"), "{said}");
    let (said, code) = judged(|mut stream| {
        shake_hands(&mut stream);
        let _ = stream.write_all(&response_headers());
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("could not be sent or answered"), "{said}");
}

#[test]
fn an_endpoint_that_floods_is_cut_off() {
    if !fit() {
        return;
    }
    // First no protocol at all, then a message that claims 1 GiB and keeps coming.
    let (said, code) = judged(|mut stream| {
        let block = vec![0; 1 << 20];
        for _ in 0..1024 {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
    });
    assert_eq!(code, 3, "{said}");
    let (said, code) = judged(|mut stream| {
        shake_hands(&mut stream);
        let _ = stream.write_all(&response_headers());
        let mut first = vec![0, 0x40, 0, 0, 0];
        first.resize(16 << 10, 0);
        let block = frame(DATA, 0, 1, &vec![0; 16 << 10]);
        let _ = stream.write_all(&frame(DATA, 0, 1, &first));
        for _ in 0..65536 {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("unfit"), "{said}");
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    assert!(used.max_rss() < MEMORY, "a child used {} KiB", used.max_rss());
}

#[test]
fn a_testbed_is_known_inside_one_only() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let output = place.command(&["run", "-t", "@testbed"]).env_remove("PLIMSOLL_TESTBED").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("plimsoll testbed containerd --"), "{}", text(&output));
}
