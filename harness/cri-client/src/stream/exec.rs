//! A session of exec or attach.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use super::spdy;
use super::upgrade::{self, Address};
use super::ws;
use super::{Finish, StreamError};

/// Channels of a session; the numbers are those of the WebSocket protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// To the process.
    Stdin = 0,
    /// From the process.
    Stdout = 1,
    /// From the process, never with a terminal.
    Stderr = 2,
    /// How it ended.
    Error = 3,
    /// Terminal size.
    Resize = 4,
}

impl Channel {
    fn stream_type(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Error => "error",
            Self::Resize => "resize",
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::Error, Self::Resize]
            .into_iter()
            .find(|c| *c as u8 == number)
    }
}

/// Which streams a session has; must be what was asked of Exec or Attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Error output.
    pub stderr: bool,
    /// A terminal, hence resizing.
    pub tty: bool,
}

impl Streams {
    fn channels(self) -> Vec<Channel> {
        let wanted = [
            (true, Channel::Error),
            (self.stdin, Channel::Stdin),
            (self.stdout, Channel::Stdout),
            (self.stderr && !self.tty, Channel::Stderr),
            (self.tty, Channel::Resize),
        ];
        wanted.into_iter().filter(|(on, _)| *on).map(|(_, c)| c).collect()
    }
}

/// How to talk to the streaming server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SPDY/3.1 with these offers, the best first, as the kubelet's proxy does.
    Spdy(&'static [&'static str]),
    /// WebSocket with these offers.
    WebSocket(&'static [&'static str]),
}

impl Protocol {
    /// What the kubelet uses today.
    pub const SPDY: Self = Self::Spdy(&[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ]);
    /// WebSocket, version 4.
    pub const WEBSOCKET_V4: Self = Self::WebSocket(&["v4.channel.k8s.io"]);
    /// WebSocket, version 5.
    pub const WEBSOCKET_V5: Self = Self::WebSocket(&["v5.channel.k8s.io"]);
}

/// One thing that the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Content.
    Data(Channel, Bytes),
    /// A channel was half-closed or reset.
    Closed(Channel),
    /// The session ended; with a WebSocket's close code.
    End(Option<u16>),
}

enum Sending {
    Spdy(spdy::Writer, Vec<(Channel, u32)>),
    WebSocket(ws::Sink, String),
}

enum Receiving {
    Spdy(Box<spdy::Connection>, Vec<(Channel, u32)>),
    WebSocket(ws::Source, String),
}

/// The sending side of a session; clones share it.
#[derive(Clone)]
pub struct Input {
    sending: Arc<Mutex<Sending>>,
}

impl Input {
    /// Sends content on a channel.
    pub async fn send(&self, channel: Channel, data: &[u8]) -> Result<(), StreamError> {
        match &mut *self.sending.lock().await {
            Sending::Spdy(writer, ids) => writer.data(id_of(ids, channel)?, data).await,
            Sending::WebSocket(sink, protocol) => {
                for part in data.chunks(32 << 10) {
                    ws::send(sink, protocol, channel as u8, part).await?;
                }
                Ok(())
            }
        }
    }

    /// Sends input.
    pub async fn stdin(&self, data: &[u8]) -> Result<(), StreamError> {
        self.send(Channel::Stdin, data).await
    }

    /// Half-closes the input, so that the process reads an end of file. WebSocket v4 and older cannot.
    pub async fn close_stdin(&self) -> Result<(), StreamError> {
        match &mut *self.sending.lock().await {
            Sending::Spdy(writer, ids) => writer.finish(id_of(ids, Channel::Stdin)?).await,
            Sending::WebSocket(sink, protocol) if protocol.starts_with("v5.") => {
                ws::close_channel(sink, Channel::Stdin as u8).await
            }
            Sending::WebSocket(_, protocol) => {
                Err(StreamError::Refused(format!("{protocol} has no way to half-close stdin")))
            }
        }
    }

    /// Tells the size of the terminal.
    pub async fn resize(&self, width: u16, height: u16) -> Result<(), StreamError> {
        let text = format!("{{\"Width\":{width},\"Height\":{height}}}");
        self.send(Channel::Resize, text.as_bytes()).await
    }
}

fn id_of(ids: &[(Channel, u32)], channel: Channel) -> Result<u32, StreamError> {
    ids.iter()
        .find(|(c, _)| *c == channel)
        .map(|(_, id)| *id)
        .ok_or_else(|| StreamError::Refused(format!("the session has no {} stream", channel.stream_type())))
}

/// An open session.
pub struct Session {
    input: Input,
    receiving: Receiving,
    protocol: String,
}

/// Everything that a session gave until its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Output.
    pub stdout: Vec<u8>,
    /// Error output.
    pub stderr: Vec<u8>,
    /// Content of the error channel, as sent.
    pub error: Vec<u8>,
    /// The same, read; `None` if the server said nothing.
    pub finish: Option<Finish>,
    /// Code of a WebSocket's close message.
    pub close_code: Option<u16>,
}

impl Session {
    /// Upgrades and opens every stream, within `limit`.
    pub async fn open(
        url: &str,
        protocol: Protocol,
        streams: Streams,
        limit: Duration,
    ) -> Result<Self, StreamError> {
        let address = Address::parse(url)?;
        let opening = async {
            match protocol {
                Protocol::Spdy(offers) => Self::spdy(&address, offers, streams, limit).await,
                Protocol::WebSocket(offers) => Self::websocket(&address, offers, limit).await,
            }
        };
        timeout(limit, opening).await.unwrap_or_else(|_| {
            Err(StreamError::Deadline(
                limit,
                "opening the session: the server did not accept all streams".into(),
            ))
        })
    }

    async fn spdy(
        address: &Address,
        offers: &[&str],
        streams: Streams,
        limit: Duration,
    ) -> Result<Self, StreamError> {
        let mut headers = vec![("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Content-Length", "0")];
        headers.extend(offers.iter().map(|offer| ("X-Stream-Protocol-Version", *offer)));
        let answer = upgrade::request("POST", address, &headers, limit).await?.switched("SPDY/3.1").await?;
        let chosen = answer.header("x-stream-protocol-version").unwrap_or_default().to_owned();
        if !offers.contains(&chosen.as_str()) {
            return Err(StreamError::Head(format!("the server chose {chosen:?}, which was not offered")));
        }
        let mut connection = spdy::Connection::new(answer.stream, &answer.rest);
        let mut ids = Vec::new();
        for channel in streams.channels() {
            let headers = vec![("streamtype".to_owned(), channel.stream_type().to_owned())];
            ids.push((channel, connection.open(headers).await?));
        }
        let sending = Sending::Spdy(connection.writer(), ids.clone());
        let input = Input { sending: Arc::new(Mutex::new(sending)) };
        Ok(Self { input, receiving: Receiving::Spdy(Box::new(connection), ids), protocol: chosen })
    }

    async fn websocket(address: &Address, offers: &[&str], limit: Duration) -> Result<Self, StreamError> {
        let socket = ws::connect(address, offers, &[], limit).await?;
        let protocol = socket.protocol;
        let sending = Sending::WebSocket(socket.sink, protocol.clone());
        let input = Input { sending: Arc::new(Mutex::new(sending)) };
        Ok(Self { input, receiving: Receiving::WebSocket(socket.source, protocol.clone()), protocol })
    }

    /// The protocol version that the server chose.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The sending side.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// The next event within `limit`.
    pub async fn next(&mut self, limit: Duration) -> Result<Event, StreamError> {
        let wait = async {
            match &mut self.receiving {
                Receiving::Spdy(connection, ids) => spdy_event(connection, ids).await,
                Receiving::WebSocket(source, protocol) => ws_event(source, protocol).await,
            }
        };
        timeout(limit, wait).await.unwrap_or_else(|_| Err(StreamError::Deadline(limit, "no event".into())))
    }

    /// Sends `stdin`, half-closes it if the session has one and the protocol can, and gathers all until
    /// the end: within `limit`, and at most `most` bytes.
    pub async fn run(
        mut self,
        stdin: Option<&[u8]>,
        limit: Duration,
        most: usize,
    ) -> Result<Output, StreamError> {
        let input = self.input();
        let writing = async {
            let Some(data) = stdin else { return Ok(()) };
            input.stdin(data).await?;
            match input.close_stdin().await {
                Err(StreamError::Refused(_)) => Ok(()),
                other => other,
            }
        };
        // A process may end without reading its input, which breaks writing: not an error by itself.
        let gathering = self.gather(limit, most);
        let (_, output) = tokio::join!(async { timeout(limit, writing).await.unwrap_or(Ok(())) }, gathering);
        output
    }

    /// Gathers all until the end.
    pub async fn gather(&mut self, limit: Duration, most: usize) -> Result<Output, StreamError> {
        let end = Instant::now() + limit;
        let mut output = Output::default();
        loop {
            let next = timeout_at(end, self.next(limit)).await;
            let Ok(event) = next else {
                let seen = format!(
                    "{} bytes of stdout, {} of stderr, error channel {:?}",
                    output.stdout.len(),
                    output.stderr.len(),
                    String::from_utf8_lossy(&output.error)
                );
                return Err(StreamError::Deadline(limit, seen));
            };
            match event? {
                Event::Data(Channel::Stdout, data) => output.stdout.extend_from_slice(&data),
                Event::Data(Channel::Stderr, data) => output.stderr.extend_from_slice(&data),
                Event::Data(Channel::Error, data) => output.error.extend_from_slice(&data),
                Event::Data(..) | Event::Closed(_) => {}
                Event::End(code) => {
                    output.close_code = code;
                    output.finish = Finish::parse(&output.error);
                    return Ok(output);
                }
            }
            if output.stdout.len() + output.stderr.len() + output.error.len() > most {
                return Err(StreamError::TooLarge(most));
            }
        }
    }
}

async fn spdy_event(
    connection: &mut spdy::Connection,
    ids: &mut Vec<(Channel, u32)>,
) -> Result<Event, StreamError> {
    loop {
        let channel = |id: u32| ids.iter().find(|(_, i)| *i == id).map(|(c, _)| *c);
        match connection.next().await? {
            spdy::Event::Data { id, data, fin } => match channel(id) {
                None => return Err(StreamError::Refused(format!("data for stream {id}, which is not open"))),
                Some(channel) if fin && data.is_empty() => return Ok(Event::Closed(channel)),
                Some(channel) => return Ok(Event::Data(channel, data)),
            },
            spdy::Event::Reset { id, .. } => {
                let closed = channel(id);
                ids.retain(|(_, i)| *i != id);
                if let Some(closed) = closed {
                    return Ok(Event::Closed(closed));
                }
            }
            spdy::Event::GoAway => {}
            spdy::Event::End(true) => {
                let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "ended inside a frame");
                return Err(StreamError::Broken(error));
            }
            spdy::Event::End(false) => return Ok(Event::End(None)),
        }
    }
}

async fn ws_event(source: &mut ws::Source, protocol: &str) -> Result<Event, StreamError> {
    let known = |number| {
        Channel::of(number).ok_or_else(|| StreamError::WebSocket(format!("channel {number} does not exist")))
    };
    Ok(match ws::receive(source, protocol).await? {
        ws::Received::Data(number, data) => Event::Data(known(number)?, data),
        ws::Received::ChannelClosed(number) => Event::Closed(known(number)?),
        ws::Received::Closed(code) => Event::End(code),
    })
}
