//! config-linux.md, seccomp: the listener, and the container process state that it gets.

use crate::runtime::support::{state_defects, strict_json};
use plimsoll_kit::console::{receive_message, receive_part};
use plimsoll_kit::prelude::*;
use plimsoll_kit::wait::Poll;
use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    state_is_sent_to_the_listener,
    each_process_has_a_connection_of_its_own,
    metadata_is_forwarded,
    unreachable_listener_is_error,
    listener_without_notification_is_ignored,
    metadata_without_listener_is_error,
];

/// A filter whose only notification is for a call that nobody makes: no listener has to answer.
fn filter(listener: &str) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener,
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_NOTIFY" }]
    })
}

/// A listener that takes what comes as soon as it comes: a runtime may wait for that.
struct Listener {
    path: PathBuf,
    connections: Receiver<Result<Received, Stop>>,
}

/// What a connection carried: the payloads together, and how many descriptors came with its first byte and with each
/// message behind it.
struct Received {
    text: String,
    messages: Vec<usize>,
}

impl Listener {
    fn new(cx: &Cx) -> Result<Self, Stop> {
        let path = cx.dir().join("notify.sock");
        let socket = UnixListener::bind(&path)?;
        let (sender, connections) = channel();
        // Ends with the listener's last connection, or else with the attempt's process.
        std::thread::spawn(move || {
            while let Ok((stream, _)) = socket.accept() {
                if sender.send(drain(&stream)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { path, connections })
    }

    fn text(&self) -> String {
        self.path.display().to_string()
    }

    /// What the next connection carries, up to its end.
    async fn receive(&self, cx: &Cx) -> Result<Received, Stop> {
        wait_until("a connection to the listener, and its end", cx.limits().wait(), async || {
            match self.connections.try_recv() {
                Ok(received) => received.map(Poll::Ready),
                Err(_) => Ok(Poll::NotYet("none".into())),
            }
        })
        .await
    }

    fn is_quiet(&self) -> bool {
        self.connections.try_recv().is_err()
    }
}

/// Reads a connection to its end.
fn drain(stream: &UnixStream) -> Result<Received, Stop> {
    let (mut text, mut messages) = (String::new(), Vec::new());
    loop {
        // A connection that stays open makes the read time out after 5 s.
        let next = if messages.is_empty() { receive_part(stream, 1) } else { receive_message(stream) };
        let (payload, fds) = match next {
            Err(_) if !messages.is_empty() => {
                let seen = format!("it is open 5 s after {} bytes", text.len());
                let stop = Stop::violation("the runtime closes the connection once the state is sent", seen);
                return Err(stop.of("seccomp.listener-path.closed"));
            }
            received => received?,
        };
        if payload.is_empty() {
            return Ok(Received { text, messages });
        }
        text.push_str(&payload);
        messages.push(fds.len());
    }
}

fn parse(text: &str) -> Result<Value, Stop> {
    strict_json(text).map_err(|e| {
        Stop::violation("exactly one JSON document per connection", format!("{e}: {text:?}"))
            .of("seccomp.process-state.json-payload")
    })
}

/// The listener gets one process state with the version, the descriptor's name, the pid and the container's state.
#[case(
    covers = [
        "seccomp.listener-path", "seccomp.listener-path.one-state-per-connection", "seccomp.listener-path.closed",
        "seccomp.listener-path.seccomp-fd", "seccomp.process-state.json-payload",
        "seccomp.process-state.oci-version", "seccomp.process-state.fds", "seccomp.process-state.pid",
        "seccomp.process-state.metadata", "seccomp.process-state.state", "seccomp.listener-path.socket-type",
        "seccomp.process-state.fds-scm-rights", "seccomp.process-state.fds-first-only",
        "seccomp.process-state.many-sendmsg"
    ]
)]
async fn state_is_sent_to_the_listener(cx: &mut Cx) -> Verdict {
    let listener = Listener::new(cx)?;
    let builder = cx.container(probe::pause()).set("/linux/seccomp", filter(&listener.text()));
    let container = builder.running().await?;
    let Received { text, messages } = listener.receive(cx).await?;
    let state = parse(&text)?;
    check!(of "seccomp.process-state.oci-version"; state["ociVersion"].is_string(), "ociVersion", "{text}");
    let fds = state["fds"].as_array().cloned().unwrap_or_default();
    check_eq!(of "seccomp.process-state.fds-scm-rights"; messages.first().copied(), Some(fds.len()), "descriptors");
    let later = messages.iter().skip(1).sum::<usize>();
    check_eq!(of "seccomp.process-state.fds-first-only"; later, 0, "descriptors with later messages");
    cx.record("seccomp.process-state.messages", messages.len());
    check!(of "seccomp.listener-path.seccomp-fd"; fds.contains(&json!("seccompFd")), "a descriptor seccompFd", "{text}");
    check_eq!(of "seccomp.process-state.pid"; state["pid"], json!(container.pid()?), "pid");
    let metadata = state.get("metadata").and_then(Value::as_str).unwrap_or_default();
    check_eq!(of "seccomp.process-state.metadata"; metadata, "", "metadata that nobody configured");
    let inner = &state["state"];
    check_eq!(of "seccomp.process-state.state"; inner["id"], json!(container.id()), "state.id");
    let alive = ["creating", "created", "running"].map(|s| json!(s)).contains(&inner["status"]);
    check!(of "seccomp.process-state.state"; alive, "the status of a living container", "{}", inner["status"]);
    // A state while creating may lack a pid of its own; the rest has to be there.
    let defects: Vec<String> =
        state_defects(inner).into_iter().filter(|d| !d.contains("pid") && !d.contains("status")).collect();
    check!(of "seccomp.process-state.state"; defects.is_empty(), "a state of the container", "{defects:?}");
    check!(of "seccomp.listener-path.one-state-per-connection"; listener.is_quiet(), "one connection", "another one");
    Ok(())
}

/// A process that joins sends its state over a connection of its own.
#[case(covers = ["seccomp.listener-path.not-reused", "seccomp.process-state.pid"])]
async fn each_process_has_a_connection_of_its_own(cx: &mut Cx) -> Verdict {
    let listener = Listener::new(cx)?;
    let builder = cx.container(probe::pause()).set("/linux/seccomp", filter(&listener.text()));
    let container = builder.running().await?;
    let first = parse(&listener.receive(cx).await?.text)?;
    for _ in 0..2 {
        let (exec, _) = container.exec(&[], &probe::exit(0)).await?;
        exec.must_succeed()?;
        let next = parse(&listener.receive(cx).await?.text)?;
        check_ne!(next["pid"], first["pid"], "the pid of a joined process");
        check_eq!(next["state"]["id"], json!(container.id()), "the container that it joined");
    }
    Ok(())
}

const METADATA: &[Variant] = &[
    Variant::new("word", &[]),
    Variant::new("quotes", &[]),
    Variant::new("json", &[]),
    Variant::new("long", &[]),
];

/// The listener's metadata arrives as it was configured.
#[case(covers = ["seccomp.listener-metadata", "seccomp.process-state.metadata"], matrix(metadata = METADATA))]
async fn metadata_is_forwarded(cx: &mut Cx) -> Verdict {
    let metadata = match cx.param("metadata") {
        "word" => "plimsoll".to_owned(),
        "quotes" => "a \"b\" \\ c\n\u{e9}\u{1F600}".to_owned(),
        "json" => json!({ "MKNOD": "/dev/null", "n": [1, 2] }).to_string(),
        _ => "x".repeat(2000),
    };
    let listener = Listener::new(cx)?;
    let mut filter = filter(&listener.text());
    filter["listenerMetadata"] = json!(metadata);
    cx.container(probe::pause()).set("/linux/seccomp", filter).running().await?;
    let state = parse(&listener.receive(cx).await?.text)?;
    check_eq!(state["metadata"], json!(metadata), "metadata");
    Ok(())
}

const UNREACHABLE: &[Variant] = &[
    Variant::new("missing", &["seccomp.listener-path.send-failure-errors"]),
    Variant::new("nobody-listens", &["seccomp.listener-path.send-failure-errors"]),
    Variant::new("file", &["seccomp.listener-path.socket-type"]),
    Variant::new("datagram", &["seccomp.listener-path.socket-type"]),
];

/// A listener that cannot be reached, or is no stream socket, is an error.
#[case(covers = ["seccomp.listener-path.send-failure-errors"], matrix(listener = UNREACHABLE))]
async fn unreachable_listener_is_error(cx: &mut Cx) -> Verdict {
    let good = Listener::new(cx)?;
    let builder = cx.container(probe::pause()).set("/linux/seccomp", filter(&good.text()));
    builder.running().await?.delete_force().await?.ready("delete")?;
    let path = cx.dir().join("other.sock");
    let _held = match cx.param("listener") {
        "nobody-listens" => {
            drop(UnixListener::bind(&path)?);
            None
        }
        "file" => {
            fs::write(&path, "")?;
            None
        }
        "datagram" => Some(UnixDatagram::bind(&path)?),
        _ => None,
    };
    let filter = filter(&path.display().to_string());
    cx.container(probe::exit(0)).set("/linux/seccomp", filter).rejected().await?;
    Ok(())
}

/// A listener path that no notification needs is ignored.
#[case(covers = ["seccomp.listener-path.ignored-without-notify"])]
async fn listener_without_notification_is_ignored(cx: &mut Cx) -> Verdict {
    let mut filter = filter("/plimsoll/missing.sock");
    filter["syscalls"][0]["action"] = json!("SCMP_ACT_ERRNO");
    let answers = cx.container(probe::ask(["seccomp"])).set("/linux/seccomp", filter).answers().await?;
    check_eq!(answers.facts("seccomp")?["mode"], json!(2), "the seccomp mode");
    Ok(())
}

/// Metadata without a listener is an error.
#[case(covers = ["seccomp.listener-metadata.needs-path"])]
async fn metadata_without_listener_is_error(cx: &mut Cx) -> Verdict {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "plimsoll",
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ERRNO" }]
    });
    cx.container(probe::exit(0)).set("/linux/seccomp", filter).rejected().await?;
    Ok(())
}
