//! Interfaces, routes and sockets. Loopback, Unix sockets and own network namespaces only.
mod common;

use common::{Live, is_root, probe, works};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;

#[test]
fn a_new_network_namespace_has_a_loopback_that_is_down() {
    if !is_root() || !works(&["unshare", "--net"]) {
        return;
    }
    let answers =
        common::under(&["unshare", "--net"], &json!([{ "ask": "interfaces" }, { "ask": "routes" }]));
    let all = answers.ok(0)["interfaces"].as_array().expect("list");
    let lo = all.iter().find(|i| i["name"] == "lo").expect("lo");
    assert_eq!((&lo["up"], &lo["index"], &lo["addresses"]), (&json!(false), &json!(1), &json!([])));
    assert_eq!(answers.ok(1)["routes"], json!([]));
    let here = probe(&json!([{ "ask": "interfaces" }]));
    let lo = here.ok(0)["interfaces"]
        .as_array()
        .expect("list")
        .iter()
        .find(|i| i["name"] == "lo")
        .expect("lo")
        .clone();
    assert_eq!((&lo["up"], &lo["mac"]), (&json!(true), &json!("00:00:00:00:00:00")), "{lo}");
    let v4 = json!({ "family": "inet", "address": "127.0.0.1", "prefix": 8, "scope": 254 });
    assert!(lo["addresses"].as_array().expect("list").contains(&v4), "{lo}");
}

#[test]
fn connects_sends_and_receives() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    let server = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("accept");
        let mut got = String::new();
        peer.read_to_string(&mut got).expect("read");
        peer.write_all(got.to_uppercase().as_bytes()).expect("write");
    });
    let closed = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let answers = probe(&json!([
        { "do": "connect", "port": port, "send": "hello", "shutdown": true, "recv": true },
        { "do": "connect", "port": closed }, { "do": "connect", "host": "localhost", "port": 1 },
        { "do": "connect", "path": "/nonexistent/socket" }, { "do": "connect", "port": 70_000 },
        { "do": "connect", "host": "::1", "port": closed, "type": "dgram", "send": "x" },
    ]));
    server.join().expect("join");
    assert_eq!((&answers.ok(0)["data"], &answers.ok(0)["eof"]), (&json!("HELLO"), &json!(true)));
    assert_eq!((answers.errno(1), answers.errno(2), answers.errno(3), answers.errno(4)), (111, 22, 2, 22));
}

#[test]
fn unix_and_abstract_sockets() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("s");
    let _listener = UnixListener::bind(&path).expect("bind");
    let name = format!("plimsoll-test-{}", std::process::id());
    let mut live = Live::steps(&json!([
        { "do": "listen", "path": format!("@{name}"), "accept": 2, "reply": "hi", "read_first": true, "timeout_ms": 30_000 },
    ]));
    assert_eq!(live.next()["event"]["ready"], true);
    let answers = probe(&json!([
        { "do": "connect", "path": path }, { "ask": "abstract_socket", "name": name, "send": "one", "recv": true },
        { "do": "connect", "path": format!("@{name}"), "send": "two", "recv": true },
        { "ask": "abstract_socket", "name": "plimsoll-nobody" }, { "do": "connect", "path": "x".repeat(200) },
    ]));
    answers.ok(0);
    assert_eq!((&answers.ok(1)["data"], &answers.ok(2)["data"]), (&json!("hi"), &json!("hi")));
    assert_eq!((answers.errno(3), answers.errno(4)), (111, 36));
    let line = live.next();
    let received: Vec<_> =
        line["ok"]["received"].as_array().expect("list").iter().map(|r| r["data"].clone()).collect();
    assert_eq!((received, &line["ok"]["accepted"]), (vec![json!("one"), json!("two")], &json!(2)));
}

#[test]
fn listening_ends_in_time() {
    let answers = probe(&json!([
        { "do": "listen", "host": "127.0.0.1", "timeout_ms": 30 }, { "do": "listen", "host": "203.0.113.1", "timeout_ms": 30 },
    ]));
    assert_eq!((&answers.ok(0)["accepted"], &answers.ok(0)["timed_out"]), (&json!(0), &json!(true)));
    assert_eq!(answers.errno(1), 99, "EADDRNOTAVAIL");
}

#[test]
fn echoes_on_many_connections() {
    let mut live = Live::steps(&json!([{ "do": "tcp_echo", "host": "127.0.0.1", "timeout_ms": 60_000 }]));
    let port = live.next()["event"]["port"].as_u64().expect("port") as u16;
    let mut peers: Vec<_> =
        (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("connect")).collect();
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.write_all(&vec![n as u8; 5000]).expect("write");
    }
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.shutdown(Shutdown::Write).expect("shutdown");
        let mut back = Vec::new();
        peer.read_to_end(&mut back).expect("read");
        assert_eq!(back, vec![n as u8; 5000]);
    }
    live.signal("TERM");
    let line: Value = live.next();
    assert_eq!((&line["ok"]["connections"], &line["ok"]["bytes"]), (&json!(20), &json!(100_000)));
    assert_eq!(line["ok"]["terminated"], true);
    assert_eq!(live.next()["done"], 1);
}
