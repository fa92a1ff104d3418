//! Exec and attach over SPDY: streams by their `streamtype` header, protocols v1 to v4.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::session::{self, Input, parse_resize, status_json, status_text};
use super::spdy::{Decoder, Encoder, Frame, header};
use super::tokens::Ticket;
use crate::error::Result;
use crate::pods::Daemon;

/// All expected streams must come within this time (`streaming.spdy.stream-creation-timeout`).
const CREATION: Duration = Duration::from_secs(30);
/// After the last frame the client gets this long to hang up.
const GOODBYE: Duration = Duration::from_secs(2);
/// An idle connection ends after this time.
const IDLE: Duration = Duration::from_secs(4 * 3600);

#[allow(clippy::too_many_lines, reason = "one connection: its parts share the two halves of the socket")]
/// Serves one connection after the handshake. `version` is 1..=4.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    daemon: &Arc<Daemon>,
    ticket: &Ticket,
    io: S,
    version: u8,
) -> std::io::Result<()> {
    let wants = session::wants(ticket);
    let (mut reader, mut writer) = tokio::io::split(io);
    let (mut decoder, mut encoder) = (Decoder::new(), Encoder::new());
    let mut expected = vec!["error"];
    let optional = [
        (wants.stdin, "stdin"),
        (wants.stdout, "stdout"),
        (wants.stderr, "stderr"),
        (wants.tty && version >= 3, "resize"),
    ];
    expected.extend(optional.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name));
    let mut ids: HashMap<String, u32> = HashMap::new();
    let mut early: Vec<(u32, Vec<u8>, bool)> = Vec::new();
    let mut last = 0;
    let collect = async {
        while !expected.iter().all(|name| ids.contains_key(*name)) {
            match decoder.read(&mut reader).await? {
                Some(Frame::SynStream { id, headers, .. }) => {
                    writer.write_all(&encoder.syn_reply(id)).await?;
                    last = id;
                    ids.insert(header(&headers, "streamtype").unwrap_or_default().to_owned(), id);
                }
                Some(Frame::Data { id, data, fin }) if early.len() < 64 => early.push((id, data, fin)),
                Some(Frame::Ping(id)) => writer.write_all(&Encoder::ping(id)).await?,
                Some(_) => {}
                None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        }
        writer.flush().await
    };
    timeout(CREATION, collect).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let id_of = |name: &str| ids.get(name).copied().unwrap_or(0);
    let (error_id, stdin_id, resize_id) = (id_of("error"), id_of("stdin"), id_of("resize"));
    let channels = [0, id_of("stdout"), id_of("stderr")];
    let (input_tx, input_rx) = mpsc::channel(16);
    let (output_tx, mut output_rx) = mpsc::channel::<session::Output>(16);
    let (pong_tx, mut pong_rx) = mpsc::channel(8);
    let read = async {
        let mut sizes = Vec::new();
        for (id, data, fin) in early {
            give(&input_tx, stdin_id, resize_id, (id, data, fin), &mut sizes).await;
        }
        loop {
            match timeout(IDLE, decoder.read(&mut reader)).await {
                Ok(Ok(Some(Frame::Data { id, data, fin }))) => {
                    give(&input_tx, stdin_id, resize_id, (id, data, fin), &mut sizes).await;
                }
                Ok(Ok(Some(Frame::Ping(id)))) => drop(pong_tx.send(id).await),
                Ok(Ok(Some(_))) => {}
                _ => return,
            }
        }
    };
    let work = async {
        let run = session::run(daemon, ticket, input_rx, output_tx);
        let send = async {
            loop {
                tokio::select! {
                    message = output_rx.recv() => match message {
                        Some((channel, data)) => writer.write_all(&Encoder::data(channels[usize::from(channel.min(2))], &data, false)).await?,
                        None => return Ok::<(), std::io::Error>(()),
                    },
                    Some(id) = pong_rx.recv() => writer.write_all(&Encoder::ping(id)).await?,
                }
            }
        };
        let (result, sent) = tokio::join!(run, send);
        sent?;
        finish(&mut writer, &result, version, error_id, &ids, last).await
    };
    tokio::pin!(read);
    tokio::select! {
        // The client hung up: dropping the work ends the command.
        () = &mut read => return Ok(()),
        result = work => result?,
    }
    let _ = timeout(GOODBYE, read).await;
    Ok(())
}

/// Status on the error stream, then the end of everything.
async fn finish<W: AsyncWrite + Unpin>(
    writer: &mut W,
    result: &Result<i32>,
    version: u8,
    error_id: u32,
    ids: &HashMap<String, u32>,
    last: u32,
) -> std::io::Result<()> {
    let text = if version >= 4 { status_json(result) } else { status_text(result) };
    if !text.is_empty() {
        writer.write_all(&Encoder::data(error_id, text.as_bytes(), false)).await?;
    }
    let mut all: Vec<u32> = ids.values().copied().collect();
    all.sort_unstable();
    for id in all {
        writer.write_all(&Encoder::reset(id)).await?;
    }
    writer.write_all(&Encoder::go_away(last)).await?;
    writer.flush().await?;
    writer.shutdown().await
}

async fn give(
    input: &mpsc::Sender<Input>,
    stdin: u32,
    resize: u32,
    frame: (u32, Vec<u8>, bool),
    sizes: &mut Vec<u8>,
) {
    let (id, data, fin) = frame;
    if id == stdin && id != 0 {
        if !data.is_empty() {
            let _ = input.send(Input::Data(data)).await;
        }
        if fin {
            let _ = input.send(Input::End).await;
        }
    } else if id == resize && id != 0 {
        sizes.extend(data);
        let mut stream = serde_json::Deserializer::from_slice(sizes).into_iter::<serde_json::Value>();
        let mut found = Vec::new();
        while let Some(Ok(value)) = stream.next() {
            found.extend(parse_resize(&value));
        }
        let used = stream.byte_offset();
        sizes.drain(..used);
        sizes.truncate(4096);
        for (columns, rows) in found {
            let _ = input.send(Input::Resize(columns, rows)).await;
        }
    }
}
