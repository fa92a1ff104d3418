//! The HTTP side of streaming: one small server that redeems a token and switches protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::tokens::Ticket;
use super::{portforward, spdy_exec, ws};
use crate::error::{Context as _, Result};
use crate::pods::Daemon;

const HEAD_LIMIT: usize = 16 << 10;
const HEAD_TIME: Duration = Duration::from_secs(30);
/// SPDY protocols of exec and attach with their version.
const PROTOCOLS: [(&str, u8); 4] =
    [("v4.channel.k8s.io", 4), ("v3.channel.k8s.io", 3), ("v2.channel.k8s.io", 2), ("channel.k8s.io", 1)];
const FORWARD: &str = "portforward.k8s.io";

/// A request head.
struct Head {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        first.next().filter(|v| v.starts_with("HTTP/1."))?;
        let header = |line: &str| {
            line.split_once(':').map(|(k, v)| (k.trim().to_ascii_lowercase(), v.trim().to_owned()))
        };
        Some(Self { method, path, headers: lines.filter_map(header).collect() })
    }

    /// All words of a header, which may come several times and hold lists.
    fn words(&self, name: &str) -> Vec<String> {
        let values = self.headers.iter().filter(|(key, _)| key == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .map(|w| w.trim().to_owned())
            .filter(|w| !w.is_empty())
            .collect()
    }

    fn has(&self, name: &str, word: &str) -> bool {
        self.words(name).iter().any(|w| w.eq_ignore_ascii_case(word))
    }
}

/// Starts listening; returns the address.
pub async fn start(daemon: &Arc<Daemon>) -> Result<SocketAddr> {
    let wanted = daemon.config.stream_address;
    let listener =
        TcpListener::bind(wanted).await.doing(format_args!("listening on {wanted} for streams"))?;
    let address = listener.local_addr().doing("listening for streams")?;
    daemon.streams.set_address(address);
    let daemon = Arc::downgrade(daemon);
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let Some(daemon) = daemon.upgrade() else { return };
                    tokio::spawn(async move {
                        if let Err(error) = serve(&daemon, stream).await {
                            tracing::debug!(%error, "a stream ended");
                        }
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    Ok(address)
}

async fn serve(daemon: &Arc<Daemon>, mut stream: TcpStream) -> Result<()> {
    let _ = stream.set_nodelay(true);
    let Ok(Some((head, rest))) = timeout(HEAD_TIME, read_head(&mut stream)).await else {
        return refuse(&mut stream, "400 Bad Request", "", "the request cannot be read\n").await;
    };
    if head.method != "GET" && head.method != "POST" {
        return refuse(&mut stream, "405 Method Not Allowed", "Allow: GET, POST\r\n", "use GET or POST\n")
            .await;
    }
    let Some(ticket) = daemon.streams.take(&head.path) else {
        return refuse(&mut stream, "404 Not Found", "", "unknown, used or expired token\n").await;
    };
    if head.has("upgrade", "SPDY/3.1") && head.has("connection", "upgrade") {
        spdy(daemon, &ticket, stream, &head, rest).await
    } else if head.has("upgrade", "websocket") && head.has("connection", "upgrade") {
        websocket(daemon, &ticket, stream, &head, rest).await
    } else {
        refuse(&mut stream, "400 Bad Request", "", "an upgrade to SPDY/3.1 or websocket is needed\n").await
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<(Head, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = Head::parse(std::str::from_utf8(&bytes[..end]).ok()?)?;
            return Some((head, bytes[end + 4..].to_vec()));
        }
        if bytes.len() > HEAD_LIMIT || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn refuse(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> Result<()> {
    let text = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.doing("answering")?;
    stream.shutdown().await.doing("answering")
}

async fn spdy(
    daemon: &Arc<Daemon>,
    ticket: &Ticket,
    mut stream: TcpStream,
    head: &Head,
    rest: Vec<u8>,
) -> Result<()> {
    let offers = head.words("x-stream-protocol-version");
    if offers.is_empty() {
        return refuse(
            &mut stream,
            "400 Bad Request",
            "",
            "unable to upgrade: X-Stream-Protocol-Version is missing\n",
        )
        .await;
    }
    let forward = matches!(ticket, Ticket::PortForward { .. });
    let known: Vec<(&str, u8)> = if forward { vec![(FORWARD, 1)] } else { PROTOCOLS.to_vec() };
    let chosen = offers.iter().find_map(|offer| known.iter().find(|(name, _)| name == offer));
    let Some((name, version)) = chosen else {
        let accepted: String = known
            .iter()
            .map(|(name, _)| format!("X-Accepted-Stream-Protocol-Versions: {name}\r\n"))
            .collect();
        return refuse(&mut stream, "403 Forbidden", &accepted, "unable to upgrade: no protocol in common\n")
            .await;
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {name}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.doing("answering")?;
    let (reader, writer) = stream.into_split();
    // What came behind the head belongs to the stream.
    let io = tokio::io::join(std::io::Cursor::new(rest).chain(reader), writer);
    match ticket {
        Ticket::PortForward { pod, .. } => {
            portforward::serve(daemon, pod, io).await.doing("forwarding ports")
        }
        _ => spdy_exec::serve(daemon, ticket, io, *version).await.doing("streaming"),
    }
}

async fn websocket(
    daemon: &Arc<Daemon>,
    ticket: &Ticket,
    mut stream: TcpStream,
    head: &Head,
    rest: Vec<u8>,
) -> Result<()> {
    let Some(key) = head.words("sec-websocket-key").into_iter().next() else {
        return refuse(&mut stream, "400 Bad Request", "", "Sec-WebSocket-Key is missing\n").await;
    };
    let offers = head.words("sec-websocket-protocol");
    let forward = matches!(ticket, Ticket::PortForward { .. });
    let known: &[&str] = if forward { &ws::FORWARD } else { &ws::EXEC };
    let chosen = if offers.is_empty() {
        Some("")
    } else {
        offers.iter().find(|o| known.contains(&o.as_str())).map(String::as_str)
    };
    let Some(protocol) = chosen else {
        return refuse(&mut stream, "403 Forbidden", "", "no subprotocol in common\n").await;
    };
    let line =
        if protocol.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {protocol}\r\n") };
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{line}\r\n"
    );
    stream.write_all(answer.as_bytes()).await.doing("answering")?;
    match ticket {
        Ticket::PortForward { pod, ports } => {
            let ports = if ports.is_empty() { query_ports(&head.path) } else { ports.clone() };
            ws::forward(daemon, pod, &ports, stream, rest, protocol).await.doing("forwarding ports")
        }
        _ => ws::serve(daemon, ticket, stream, rest, protocol).await.doing("streaming"),
    }
}

/// `?port=1&port=2,3`.
fn query_ports(path: &str) -> Vec<u16> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("port="));
    values.flat_map(|v| v.split(',')).filter_map(|p| p.parse().ok()).filter(|p| *p > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let head = Head::parse("POST /exec/t HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nX-Stream-Protocol-Version: v5, v4\r\nx-stream-protocol-version: v3").unwrap();
        assert!(head.has("connection", "upgrade"));
        assert_eq!(head.words("x-stream-protocol-version"), vec!["v5", "v4", "v3"]);
        assert!(Head::parse("nonsense").is_none());
        assert_eq!(query_ports("/portforward/t?port=80&port=81,82&x=1"), vec![80, 81, 82]);
    }
}
