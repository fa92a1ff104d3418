//! WebSocket handshake and messages with channels.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::StreamError;
use super::upgrade::{self, Address};

/// Bytes of one message.
const MESSAGE_LIMIT: usize = 32 << 20;

/// Sending half.
pub type Sink = SplitSink<WebSocketStream<TcpStream>, Message>;
/// Receiving half.
pub type Source = SplitStream<WebSocketStream<TcpStream>>;

/// An open WebSocket.
pub struct Socket {
    /// Sending half.
    pub sink: Sink,
    /// Receiving half.
    pub source: Source,
    /// Subprotocol that the server chose; empty for none.
    pub protocol: String,
}

/// One thing received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Content of a channel.
    Data(u8, Bytes),
    /// v5: a channel was closed.
    ChannelClosed(u8),
    /// The socket was closed, with its code if there was one.
    Closed(Option<u16>),
}

/// Opens a WebSocket and offers these subprotocols.
pub async fn connect(
    address: &Address,
    offers: &[&str],
    extra: &[(&str, &str)],
    limit: Duration,
) -> Result<Socket, StreamError> {
    // Any 16 bytes will do: the key only proves that the server understood the handshake.
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let key = STANDARD.encode(nanos.to_le_bytes());
    let offered = offers.join(", ");
    // Servers refuse a WebSocket whose Origin is not their own host.
    let origin = format!("http://{}", address.host);
    let mut headers = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.as_str()),
        ("Origin", origin.as_str()),
    ];
    if !offers.is_empty() {
        headers.push(("Sec-WebSocket-Protocol", offered.as_str()));
    }
    headers.extend_from_slice(extra);
    let answer = upgrade::request("GET", address, &headers, limit).await?.switched("WebSocket").await?;
    let accept = answer.header("sec-websocket-accept").unwrap_or_default();
    if accept != derive_accept_key(key.as_bytes()) {
        return Err(StreamError::Head(format!("Sec-WebSocket-Accept is {accept:?}, which is not the key's")));
    }
    let protocol = answer.header("sec-websocket-protocol").unwrap_or_default().to_owned();
    if !protocol.is_empty() && !offers.contains(&protocol.as_str()) {
        return Err(StreamError::Head(format!("the server chose {protocol:?}, which was not offered")));
    }
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
    let socket =
        WebSocketStream::from_partially_read(answer.stream, answer.rest, Role::Client, Some(config)).await;
    let (sink, source) = socket.split();
    Ok(Socket { sink, source, protocol })
}

fn broken(error: &tokio_tungstenite::tungstenite::Error) -> StreamError {
    StreamError::WebSocket(error.to_string())
}

/// Whether this subprotocol carries base64 in text messages.
fn is_base64(protocol: &str) -> bool {
    protocol.contains("base64")
}

/// Sends content on a channel.
pub async fn send(sink: &mut Sink, protocol: &str, channel: u8, data: &[u8]) -> Result<(), StreamError> {
    let message = if is_base64(protocol) {
        Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data)))
    } else {
        let mut bytes = vec![channel];
        bytes.extend_from_slice(data);
        Message::binary(bytes)
    };
    sink.send(message).await.map_err(|e| broken(&e))
}

/// v5: closes one channel.
pub async fn close_channel(sink: &mut Sink, channel: u8) -> Result<(), StreamError> {
    sink.send(Message::binary(vec![255, channel])).await.map_err(|e| broken(&e))
}

/// The next content; pings are answered on the way.
pub async fn receive(source: &mut Source, protocol: &str) -> Result<Received, StreamError> {
    use tokio_tungstenite::tungstenite::Error;
    loop {
        let message = match source.next().await {
            None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                return Ok(Received::Closed(None));
            }
            Some(Err(Error::Io(e))) if e.kind() == std::io::ErrorKind::ConnectionReset => {
                return Ok(Received::Closed(None));
            }
            Some(Err(error)) => return Err(broken(&error)),
            Some(Ok(message)) => message,
        };
        return match message {
            Message::Binary(data) if is_base64(protocol) => Err(StreamError::WebSocket(format!(
                "binary message of {} bytes in a base64 protocol",
                data.len()
            ))),
            Message::Binary(data) if data.is_empty() => {
                Err(StreamError::WebSocket("message without a channel byte".into()))
            }
            Message::Binary(data) if data[0] == 255 && data.len() == 2 => {
                Ok(Received::ChannelClosed(data[1]))
            }
            Message::Binary(data) => Ok(Received::Data(data[0], data.slice(1..))),
            Message::Text(text) if is_base64(protocol) => decode(text.as_str()),
            Message::Text(_) => Err(StreamError::WebSocket("text message in a binary protocol".into())),
            Message::Close(frame) => Ok(Received::Closed(frame.map(|f| f.code.into()))),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
    }
}

fn decode(text: &str) -> Result<Received, StreamError> {
    let mut chars = text.chars();
    let channel = chars.next().and_then(|c| c.to_digit(10));
    let data = STANDARD.decode(chars.as_str());
    match (channel, data) {
        (Some(channel), Ok(data)) => Ok(Received::Data(channel as u8, data.into())),
        _ => Err(StreamError::WebSocket(format!("not a channel digit and base64: {text:?}"))),
    }
}
