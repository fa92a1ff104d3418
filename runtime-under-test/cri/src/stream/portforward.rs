//! Port forwarding over SPDY: a pair of streams (data, error) per connection, paired by `requestid`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::spdy::{Decoder, Encoder, Frame, header};
use crate::error::{Context as _, Error, Result};
use crate::net::{in_netns, open_netns};
use crate::pods::Daemon;

const IDLE: Duration = Duration::from_secs(4 * 3600);
const CONNECT: Duration = Duration::from_secs(10);
/// Connections at once in one session.
const LIMIT: usize = 256;

/// Connects to a port of the pod's loopback, IPv4 first (`portforward.reaches-localhost-only-listener`).
pub async fn connect(daemon: &Arc<Daemon>, pod: &str, port: u16) -> Result<TcpStream> {
    let pause = daemon.pod(pod)?.pause();
    let job = move || {
        let namespace = open_netns(pause)?;
        in_netns(&namespace, || {
            let mut last = None;
            for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
                match std::net::TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = last.or(Some(error)),
                }
            }
            let why = last.map_or_else(String::new, |error| error.to_string());
            Err(Error::internal(format!("failed to connect to port {port} of the pod: {why}")))
        })
    };
    let stream = tokio::task::spawn_blocking(job).await.doing("connecting")??;
    stream.set_nonblocking(true).doing("connecting")?;
    TcpStream::from_std(stream).doing("connecting")
}

enum Write {
    Reply(u32),
    Data(u32, Vec<u8>, bool),
    Reset(u32),
    Ping(u32),
}

#[derive(Default)]
struct Pair {
    data: Option<u32>,
    error: Option<u32>,
    port: u16,
    early: Option<mpsc::Receiver<(Vec<u8>, bool)>>,
}

/// Serves one session after the handshake; a refused port does not end it.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    daemon: &Arc<Daemon>,
    pod: &str,
    io: S,
) -> std::io::Result<()> {
    let (mut reader, writer) = tokio::io::split(io);
    let (out, queue) = mpsc::channel::<Write>(32);
    let writing = write(writer, queue);
    let reading = async move {
        let mut decoder = Decoder::new();
        let mut pairs: HashMap<String, Pair> = HashMap::new();
        let mut feeds: HashMap<u32, mpsc::Sender<(Vec<u8>, bool)>> = HashMap::new();
        let mut tasks = tokio::task::JoinSet::new();
        while let Ok(Ok(Some(frame))) = timeout(IDLE, decoder.read(&mut reader)).await {
            match frame {
                Frame::SynStream { id, headers, .. } => {
                    let wanted = header(&headers, "port").and_then(|p| p.parse::<u16>().ok());
                    let Some(port) = wanted.filter(|p| *p > 0) else {
                        let _ = out.send(Write::Reset(id)).await;
                        continue;
                    };
                    let _ = out.send(Write::Reply(id)).await;
                    let key = header(&headers, "requestid")
                        .map_or_else(|| id.div_ceil(4).to_string(), str::to_owned);
                    if pairs.len() >= LIMIT {
                        let _ = out.send(Write::Reset(id)).await;
                        continue;
                    }
                    let pair = pairs.entry(key.clone()).or_default();
                    pair.port = port;
                    if header(&headers, "streamtype") == Some("error") {
                        pair.error = Some(id);
                    } else {
                        pair.data = Some(id);
                        let (feed, early) = mpsc::channel(64);
                        feeds.insert(id, feed);
                        pair.early = Some(early);
                    }
                    if let Pair { data: Some(data), error: Some(error), port, early } = pair
                        && let Some(input) = early.take()
                    {
                        tasks.spawn(connection(
                            Arc::clone(daemon),
                            pod.to_owned(),
                            *port,
                            (*data, *error),
                            input,
                            out.clone(),
                        ));
                        pairs.remove(&key);
                    }
                }
                Frame::Data { id, data, fin } => {
                    if let Some(feed) = feeds.get(&id) {
                        let _ = feed.send((data, fin)).await;
                    }
                }
                Frame::Reset(id) => drop(feeds.remove(&id)),
                Frame::Ping(id) => drop(out.send(Write::Ping(id)).await),
                Frame::GoAway | Frame::Other => {}
            }
            while tasks.try_join_next().is_some() {}
            feeds.retain(|_, feed| !feed.is_closed());
        }
    };
    tokio::select! {
        result = writing => result,
        () = reading => Ok(()),
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut queue: mpsc::Receiver<Write>,
) -> std::io::Result<()> {
    let mut encoder = Encoder::new();
    while let Some(message) = queue.recv().await {
        let bytes = match message {
            Write::Reply(id) => encoder.syn_reply(id),
            Write::Data(id, data, fin) => Encoder::data(id, &data, fin),
            Write::Reset(id) => Encoder::reset(id),
            Write::Ping(id) => Encoder::ping(id),
        };
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    Ok(())
}

async fn connection(
    daemon: Arc<Daemon>,
    pod: String,
    port: u16,
    ids: (u32, u32),
    mut input: mpsc::Receiver<(Vec<u8>, bool)>,
    out: mpsc::Sender<Write>,
) {
    let (data_id, error_id) = ids;
    let target = if port == 0 {
        Err(Error::invalid("the port must be within 1..=65535"))
    } else {
        connect(&daemon, &pod, port).await
    };
    match target {
        Ok(stream) => {
            let (mut from, mut to) = stream.into_split();
            let up = async {
                while let Some((data, fin)) = input.recv().await {
                    if to.write_all(&data).await.is_err() {
                        break;
                    }
                    if fin {
                        break;
                    }
                }
                let _ = to.shutdown().await;
            };
            let down = async {
                let mut buffer = vec![0_u8; 32 << 10];
                while let Ok(got @ 1..) = from.read(&mut buffer).await {
                    if out.send(Write::Data(data_id, buffer[..got].to_vec(), false)).await.is_err() {
                        return;
                    }
                }
                let _ = out.send(Write::Data(data_id, Vec::new(), true)).await;
            };
            // When the pod's side has ended there is nobody left to send to.
            tokio::select! {
                () = down => {}
                () = async { up.await; std::future::pending::<()>().await } => {}
            }
        }
        Err(error) => drop(out.send(Write::Data(error_id, error.message.into_bytes(), false)).await),
    }
    let _ = out.send(Write::Data(error_id, Vec::new(), true)).await;
    for id in [data_id, error_id] {
        let _ = out.send(Write::Reset(id)).await;
    }
}
