//! A SPDY connection from the client's side.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use super::frame::{Decoder, Encoder, Frame, Headers};
use crate::stream::StreamError;

/// What the other side sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Content of a stream; `fin` ends its sending side.
    Data {
        /// Stream id.
        id: u32,
        /// Content.
        data: Bytes,
        /// Half-closed with it.
        fin: bool,
    },
    /// A stream was reset.
    Reset {
        /// Stream id.
        id: u32,
        /// Its status.
        status: u32,
    },
    /// The other side says that it ends.
    GoAway,
    /// The connection ended; `true` when it broke off inside a frame.
    End(bool),
}

struct Sending {
    half: OwnedWriteHalf,
    encoder: Encoder,
    next: u32,
}

/// The sending side; clones share it.
#[derive(Clone)]
pub struct Writer {
    sending: Arc<Mutex<Sending>>,
}

impl Writer {
    /// Sends one frame.
    pub async fn frame(&self, frame: &Frame) -> Result<(), StreamError> {
        let mut sending = self.sending.lock().await;
        let bytes = sending.encoder.encode(frame);
        sending.half.write_all(&bytes).await.map_err(StreamError::Broken)
    }

    /// Sends bytes that need not be a frame.
    pub async fn raw(&self, bytes: &[u8]) -> Result<(), StreamError> {
        self.sending.lock().await.half.write_all(bytes).await.map_err(StreamError::Broken)
    }

    /// Sends content in pieces of at most 32 KiB, so that other writers get their turn.
    pub async fn data(&self, id: u32, data: &[u8]) -> Result<(), StreamError> {
        for part in data.chunks(32 << 10) {
            let data = Bytes::copy_from_slice(part);
            self.frame(&Frame::Data { id, fin: false, data }).await?;
        }
        Ok(())
    }

    /// Half-closes a stream.
    pub async fn finish(&self, id: u32) -> Result<(), StreamError> {
        self.frame(&Frame::Data { id, fin: true, data: Bytes::new() }).await
    }
}

/// A connection after its upgrade.
pub struct Connection {
    reading: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
    waiting: VecDeque<Event>,
    replied: Vec<u32>,
    writer: Writer,
    ended: bool,
}

impl Connection {
    /// Takes over an upgraded connection; `rest` was read behind the head of the answer.
    pub fn new(stream: TcpStream, rest: &[u8]) -> Self {
        let (reading, half) = stream.into_split();
        let sending = Sending { half, encoder: Encoder::default(), next: 1 };
        let mut decoder = Decoder::default();
        decoder.push(rest);
        let writer = Writer { sending: Arc::new(Mutex::new(sending)) };
        Self {
            reading,
            decoder,
            buffer: vec![0; 16 << 10],
            waiting: VecDeque::new(),
            replied: Vec::new(),
            writer,
            ended: false,
        }
    }

    /// The sending side.
    pub fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Opens a stream and waits until the other side accepts it. What arrives meanwhile is kept.
    pub async fn open(&mut self, headers: Headers) -> Result<u32, StreamError> {
        let id = {
            let mut sending = self.writer.sending.lock().await;
            let id = sending.next;
            sending.next += 2;
            let bytes = sending.encoder.encode(&Frame::SynStream { id, headers, fin: false });
            sending.half.write_all(&bytes).await.map_err(StreamError::Broken)?;
            id
        };
        while !self.replied.contains(&id) {
            match self.read().await? {
                Some(Event::Reset { id: reset, status }) if reset == id => {
                    return Err(StreamError::Refused(format!("stream {id} was reset with status {status}")));
                }
                Some(Event::End(_)) => {
                    return Err(StreamError::Refused(format!(
                        "connection ended before stream {id} was accepted"
                    )));
                }
                Some(event) => self.waiting.push_back(event),
                None => {}
            }
        }
        Ok(id)
    }

    /// The next event. After [`Event::End`] it is given again and again.
    pub async fn next(&mut self) -> Result<Event, StreamError> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(event);
        }
        loop {
            if let Some(event) = self.read().await? {
                return Ok(event);
            }
        }
    }

    /// Reads one frame; `None` when it was for the connection itself.
    async fn read(&mut self) -> Result<Option<Event>, StreamError> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(StreamError::Frame)? {
                return self.event(frame).await;
            }
            if self.ended {
                return Ok(Some(Event::End(self.decoder.pending() > 0)));
            }
            match self.reading.read(&mut self.buffer).await {
                Ok(0) => self.ended = true,
                Ok(n) => self.decoder.push(&self.buffer[..n]),
                // A server that closes with unread data resets the connection: an end all the same.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => self.ended = true,
                Err(e) => return Err(StreamError::Broken(e)),
            }
        }
    }

    async fn event(&mut self, frame: Frame) -> Result<Option<Event>, StreamError> {
        Ok(match frame {
            Frame::Data { id, data, fin } => Some(Event::Data { id, data, fin }),
            Frame::Reset { id, status } => Some(Event::Reset { id, status }),
            Frame::GoAway { .. } => Some(Event::GoAway),
            Frame::SynReply { id, .. } => {
                self.replied.push(id);
                None
            }
            // Even ids are the server's own; odd ones would be answers to pings of ours.
            Frame::Ping(id) if id % 2 == 0 => {
                self.writer.frame(&Frame::Ping(id)).await?;
                None
            }
            Frame::Ping(_) | Frame::Headers { .. } | Frame::Other { .. } => None,
            Frame::SynStream { id, .. } => {
                return Err(StreamError::Refused(format!("the server opened stream {id}; only clients do")));
            }
        })
    }
}
