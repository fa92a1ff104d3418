//! The same streams over WebSocket: a channel number in front of each message, binary or base64,
//! protocols base, v4 and v5; port forwarding as v4 channels or as a SPDY tunnel.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::portforward;
use super::session::{self, Input, parse_resize, status_json, status_text};
use super::tokens::Ticket;
use crate::pods::Daemon;

/// Subprotocols of exec and attach, best first.
pub const EXEC: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
/// Subprotocols of port forwarding.
pub const FORWARD: [&str; 5] = [
    "SPDY/3.1+portforward.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "portforward.k8s.io",
    "",
];

type Socket = WebSocketStream<TcpStream>;

/// Wraps a connection after the handshake.
async fn open(stream: TcpStream, rest: Vec<u8>) -> Socket {
    let config = WebSocketConfig::default().max_message_size(Some(4 << 20)).max_frame_size(Some(4 << 20));
    WebSocketStream::from_partially_read(stream, rest, Role::Server, Some(config)).await
}

/// One message for a channel.
fn encode(base64: bool, channel: u8, data: &[u8]) -> Message {
    if base64 {
        Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data)))
    } else {
        let mut bytes = Vec::with_capacity(data.len() + 1);
        bytes.push(channel);
        bytes.extend_from_slice(data);
        Message::binary(bytes)
    }
}

/// Channel and bytes of a message.
fn decode(base64: bool, message: &Message) -> Option<(u8, Vec<u8>)> {
    let bytes: &[u8] = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => text.as_bytes(),
        _ => return None,
    };
    let (first, rest) = bytes.split_first()?;
    if base64 {
        Some((first.checked_sub(b'0')?, STANDARD.decode(rest).ok()?))
    } else {
        Some((*first, rest.to_vec()))
    }
}

/// Serves exec or attach.
pub async fn serve(
    daemon: &Arc<Daemon>,
    ticket: &Ticket,
    stream: TcpStream,
    rest: Vec<u8>,
    protocol: &str,
) -> Result<(), WsError> {
    let base64 = protocol.contains("base64");
    let (v5, versioned) = (protocol.starts_with("v5"), protocol.starts_with('v'));
    let wants = session::wants(ticket);
    let (mut sink, mut source) = open(stream, rest).await.split();
    let lowest = if wants.stdout || wants.tty {
        1
    } else if wants.stderr {
        2
    } else {
        3
    };
    sink.send(encode(base64, lowest, b"")).await?;
    let (input_tx, input_rx) = mpsc::channel(16);
    let (output_tx, mut output_rx) = mpsc::channel::<session::Output>(16);
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
            let Some((channel, data)) = decode(base64, &message) else { continue };
            let input = match channel {
                0 if wants.stdin && !data.is_empty() => Some(Input::Data(data)),
                4 => serde_json::from_slice(&data)
                    .ok()
                    .and_then(|v| parse_resize(&v))
                    .map(|(c, r)| Input::Resize(c, r)),
                255 if v5 && data == [0] => Some(Input::End),
                _ => None,
            };
            if let Some(input) = input {
                let _ = input_tx.send(input).await;
            }
        }
    };
    let work = async {
        let run = session::run(daemon, ticket, input_rx, output_tx);
        let send = async {
            while let Some((channel, data)) = output_rx.recv().await {
                sink.send(encode(base64, channel, &data)).await?;
            }
            Ok::<(), WsError>(())
        };
        let (result, sent) = tokio::join!(run, send);
        sent?;
        let text = if versioned { status_json(&result) } else { status_text(&result) };
        if !text.is_empty() {
            sink.send(encode(base64, 3, text.as_bytes())).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await
    };
    tokio::pin!(read);
    tokio::select! {
        () = &mut read => return Ok(()),
        result = work => result?,
    }
    let _ = timeout(Duration::from_secs(2), read).await;
    Ok(())
}

/// Serves port forwarding: channel 2n carries data of port n, 2n+1 its errors; each begins with the port.
pub async fn forward(
    daemon: &Arc<Daemon>,
    pod: &str,
    ports: &[u16],
    stream: TcpStream,
    rest: Vec<u8>,
    protocol: &str,
) -> Result<(), WsError> {
    if protocol.starts_with("SPDY") {
        return tunnel(daemon, pod, stream, rest).await;
    }
    let base64 = protocol.contains("base64");
    let (mut sink, mut source) = open(stream, rest).await.split();
    let (out, mut queue) = mpsc::channel::<(u8, Vec<u8>)>(32);
    let mut feeds = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (at, port) in ports.iter().take(127).enumerate() {
        let channel = (at * 2) as u8;
        for channel in [channel, channel + 1] {
            sink.send(encode(base64, channel, &port.to_le_bytes())).await?;
        }
        let (feed, input) = mpsc::channel(32);
        feeds.push(feed);
        tasks.spawn(one_port(Arc::clone(daemon), pod.to_owned(), *port, channel, input, out.clone()));
    }
    drop(out);
    let read = async {
        while let Some(Ok(message)) = source.next().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
            if let Some((channel, data)) = decode(base64, &message)
                && channel % 2 == 0
                && let Some(feed) = feeds.get(usize::from(channel / 2))
            {
                let _ = feed.send(data).await;
            }
        }
    };
    let write = async {
        while let Some((channel, data)) = queue.recv().await {
            sink.send(encode(base64, channel, &data)).await?;
        }
        sink.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).await
    };
    tokio::select! {
        () = read => Ok(()),
        result = write => result,
    }
}

async fn one_port(
    daemon: Arc<Daemon>,
    pod: String,
    port: u16,
    channel: u8,
    mut input: mpsc::Receiver<Vec<u8>>,
    out: mpsc::Sender<(u8, Vec<u8>)>,
) {
    let stream = match portforward::connect(&daemon, &pod, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = out.send((channel + 1, error.message.into_bytes())).await;
            return;
        }
    };
    let (mut from, mut to) = stream.into_split();
    let up = async {
        while let Some(data) = input.recv().await {
            if to.write_all(&data).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0_u8; 32 << 10];
        while let Ok(got @ 1..) = from.read(&mut buffer).await {
            if out.send((channel, buffer[..got].to_vec())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// SPDY inside binary messages.
async fn tunnel(daemon: &Arc<Daemon>, pod: &str, stream: TcpStream, rest: Vec<u8>) -> Result<(), WsError> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut sink, mut source) = open(stream, rest).await.split();
    let (mut from, mut to) = tokio::io::split(near);
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) if to.write_all(&bytes).await.is_ok() => {}
                Message::Ping(_) | Message::Pong(_) => {}
                _ => return,
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0_u8; 32 << 10];
        while let Ok(got @ 1..) = from.read(&mut buffer).await {
            sink.send(Message::binary(buffer[..got].to_vec())).await?;
        }
        Ok(())
    };
    tokio::select! {
        () = inward => Ok(()),
        result = outward => result,
        _ = portforward::serve(daemon, pod, far) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_in_both_codings() {
        for base64 in [false, true] {
            let message = encode(base64, 2, b"\x00a");
            assert_eq!(decode(base64, &message), Some((2, b"\x00a".to_vec())));
        }
        assert_eq!(encode(true, 1, b"hi"), Message::text("1aGk="));
        assert_eq!(decode(true, &Message::text("1***")), None);
        assert_eq!(decode(false, &Message::binary(vec![])), None);
    }
}
