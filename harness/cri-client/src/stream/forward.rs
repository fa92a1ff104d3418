//! Port forwarding.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::StreamError;
use super::spdy::{self, Event};
use super::upgrade::{self, Address};
use super::ws;

/// The protocol's name in both handshakes.
pub const PROTOCOL: &str = "portforward.k8s.io";

/// One forwarded connection over SPDY: a data stream and an error stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Port in the pod.
    pub port: u16,
    /// Stream with content.
    pub data_stream: u32,
    /// Stream with an error text.
    pub error_stream: u32,
    /// Content received.
    pub received: Vec<u8>,
    /// Error text received; empty is success.
    pub error: Vec<u8>,
    /// The pod's side sent all.
    pub finished: bool,
    /// The error stream is complete.
    pub error_finished: bool,
    /// The server ended the streams at once.
    pub reset: bool,
}

/// A port-forward session over SPDY; it can have many connections, one after another or at once.
pub struct Forward {
    connection: spdy::Connection,
    links: Vec<Link>,
}

impl Forward {
    /// Upgrades within `limit`.
    pub async fn open(url: &str, limit: Duration) -> Result<Self, StreamError> {
        let address = Address::parse(url)?;
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            ("Content-Length", "0"),
            ("X-Stream-Protocol-Version", PROTOCOL),
        ];
        let answer = upgrade::request("POST", &address, &headers, limit).await?.switched("SPDY/3.1").await?;
        let connection = spdy::Connection::new(answer.stream, &answer.rest);
        Ok(Self { connection, links: Vec::new() })
    }

    /// Opens a connection to a port and gives its index. The error stream is half-closed at once, as the
    /// usual clients do.
    pub async fn connect(&mut self, port: u16, limit: Duration) -> Result<usize, StreamError> {
        let request = self.links.len();
        let header = |kind: &str| {
            vec![
                ("streamtype".to_owned(), kind.to_owned()),
                ("port".to_owned(), port.to_string()),
                ("requestid".to_owned(), request.to_string()),
            ]
        };
        let opening = async {
            let error_stream = self.connection.open(header("error")).await?;
            self.connection.writer().finish(error_stream).await?;
            let data_stream = self.connection.open(header("data")).await?;
            Ok(Link { port, data_stream, error_stream, ..Link::default() })
        };
        let link = timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(StreamError::Deadline(limit, format!("opening port {port}"))))?;
        self.links.push(link);
        Ok(request)
    }

    /// Sends content on a connection.
    pub async fn send(&self, link: usize, data: &[u8]) -> Result<(), StreamError> {
        self.connection.writer().data(self.link(link)?.data_stream, data).await
    }

    /// Says that no more content comes.
    pub async fn finish(&self, link: usize) -> Result<(), StreamError> {
        self.connection.writer().finish(self.link(link)?.data_stream).await
    }

    fn link(&self, index: usize) -> Result<&Link, StreamError> {
        self.links.get(index).ok_or_else(|| StreamError::Refused(format!("there is no connection {index}")))
    }

    /// What every connection has received so far.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Reads until `done` holds or the session ends; within `limit` and at most 64 MiB.
    pub async fn until(
        &mut self,
        limit: Duration,
        done: impl Fn(&[Link]) -> bool,
    ) -> Result<&[Link], StreamError> {
        const MOST: usize = 64 << 20;
        let end = Instant::now() + limit;
        let mut total = 0;
        while !done(&self.links) {
            let event = timeout_at(end, self.connection.next())
                .await
                .map_err(|_| StreamError::Deadline(limit, format!("connections: {:?}", self.summary())))??;
            match event {
                Event::Data { id, data, fin } => {
                    total += data.len();
                    if total > MOST {
                        return Err(StreamError::TooLarge(MOST));
                    }
                    for link in &mut self.links {
                        if link.data_stream == id {
                            link.received.extend_from_slice(&data);
                            link.finished |= fin;
                        } else if link.error_stream == id {
                            link.error.extend_from_slice(&data);
                            link.error_finished |= fin;
                        }
                    }
                }
                Event::Reset { id, .. } => {
                    for link in self.links.iter_mut().filter(|l| l.data_stream == id || l.error_stream == id)
                    {
                        link.reset = true;
                    }
                }
                Event::GoAway => {}
                Event::End(_) => break,
            }
        }
        Ok(&self.links)
    }

    fn summary(&self) -> Vec<(u16, usize, bool, bool)> {
        self.links.iter().map(|l| (l.port, l.received.len(), l.finished, l.reset)).collect()
    }

    /// One exchange: sends, half-closes, and reads until the pod's side has sent all.
    pub async fn exchange(&mut self, port: u16, data: &[u8], limit: Duration) -> Result<Link, StreamError> {
        let index = self.connect(port, limit).await?;
        let writer = self.connection.writer();
        let stream = self.link(index)?.data_stream;
        let sending = async {
            writer.data(stream, data).await?;
            writer.finish(stream).await
        };
        let over =
            |links: &[Link]| links.get(index).is_none_or(|l| l.finished || l.reset || !l.error.is_empty());
        let receiving = self.until(limit, over);
        let (_, received) = tokio::join!(async { timeout(limit, sending).await }, receiving);
        received?;
        Ok(self.link(index)?.clone())
    }
}

/// A port-forward session over WebSocket v4: the ports were named in the `PortForward` call.
pub struct WebSocketForward {
    socket: ws::Socket,
    ports: Vec<u16>,
}

impl WebSocketForward {
    /// Upgrades and reads the port numbers that open each channel.
    pub async fn open(url: &str, ports: &[u16], limit: Duration) -> Result<Self, StreamError> {
        let address = Address::parse(url)?;
        let offers = ["v4.channel.k8s.io"];
        let socket = ws::connect(&address, &offers, &[], limit).await?;
        let mut forward = Self { socket, ports: ports.to_vec() };
        let greeting = async {
            for _ in 0..2 * ports.len() {
                forward.greeting().await?;
            }
            Ok(())
        };
        timeout(limit, greeting)
            .await
            .unwrap_or_else(|_| Err(StreamError::Deadline(limit, "waiting for port numbers".into())))?;
        Ok(forward)
    }

    async fn greeting(&mut self) -> Result<(), StreamError> {
        match ws::receive(&mut self.socket.source, &self.socket.protocol).await? {
            ws::Received::Data(channel, data) => {
                let port = self.ports.get(usize::from(channel / 2)).copied().unwrap_or_default();
                let said = data.first_chunk::<2>().map(|b| u16::from_le_bytes(*b));
                if data.len() == 2 && said == Some(port) {
                    return Ok(());
                }
                let text =
                    format!("channel {channel} opens with {data:?}, expected port {port} as two bytes");
                Err(StreamError::WebSocket(text))
            }
            other => Err(StreamError::WebSocket(format!("{other:?} instead of port numbers"))),
        }
    }

    /// Sends content to the port with this index.
    pub async fn send(&mut self, index: u8, data: &[u8]) -> Result<(), StreamError> {
        ws::send(&mut self.socket.sink, &self.socket.protocol, 2 * index, data).await
    }

    /// The next content: index of the port, whether it is its error channel, content. `None` at the end.
    pub async fn next(&mut self, limit: Duration) -> Result<Option<(u8, bool, bytes::Bytes)>, StreamError> {
        let receiving = ws::receive(&mut self.socket.source, &self.socket.protocol);
        let received = timeout(limit, receiving)
            .await
            .unwrap_or_else(|_| Err(StreamError::Deadline(limit, "no content".into())))?;
        Ok(match received {
            ws::Received::Data(channel, data) => Some((channel / 2, channel % 2 == 1, data)),
            ws::Received::ChannelClosed(_) | ws::Received::Closed(_) => None,
        })
    }
}
