//! Streaming connections (exec, attach, port-forward): a relay on the loopback that spoils bytes.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::script::StreamFault;

/// How long a relay waits for its client, and lives at most.
const LIFE: Duration = Duration::from_secs(300);

/// Opens a relay to the address in `url` and gives the URL that leads through it.
pub async fn relay(url: &str, fault: StreamFault) -> io::Result<String> {
    let strange = || io::Error::other(format!("{url:?} is no http URL with a port"));
    let (scheme, rest) = url.split_once("://").ok_or_else(strange)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority.rsplit_once(':').and_then(|(_, p)| p.parse::<u16>().ok()).ok_or_else(strange)?;
    let host = authority.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    // A server that listens everywhere is reached on the loopback.
    let host = if matches!(host, "" | "::" | "0.0.0.0") { "127.0.0.1" } else { host }.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(tokio::time::timeout(LIFE, async move {
        while let Ok((client, _)) = listener.accept().await {
            if let Ok(server) = TcpStream::connect((host.as_str(), port)).await {
                tokio::spawn(tokio::time::timeout(LIFE, join(client, server, fault)));
            }
        }
    }));
    Ok(format!("{scheme}://{address}{path}"))
}

async fn join(client: TcpStream, server: TcpStream, fault: StreamFault) {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let up = async {
        if fault == StreamFault::Deaf {
            let mut head = vec![0; 16 << 10];
            if let Ok(n) = from_client.read(&mut head).await {
                let _ = to_server.write_all(&head[..n]).await;
            }
            while from_client.read(&mut head).await.is_ok_and(|n| n > 0) {}
        } else {
            let _ = copy(&mut from_client, &mut to_server).await;
        }
        let _ = to_server.shutdown().await;
    };
    let down = spoil(from_server, to_client, fault);
    tokio::select! {
        // When the server is done, so is the connection.
        () = down => {}
        () = async { up.await; std::future::pending::<()>().await } => {}
    }
}

async fn spoil(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: StreamFault) {
    let mut passed = 0_u64;
    let mut buffer = vec![0; 32 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let mut piece = buffer[..n].to_vec();
        let place = |at: u64| at.checked_sub(passed).and_then(|i| usize::try_from(i).ok());
        match fault {
            StreamFault::Flip(at) => {
                if let Some(byte) = place(at).and_then(|i| piece.get_mut(i)) {
                    *byte ^= 1;
                }
            }
            StreamFault::Skip(at) => {
                if let Some(i) = place(at).filter(|i| *i < piece.len()) {
                    piece.remove(i);
                }
            }
            StreamFault::Cut(limit) | StreamFault::Stall(limit) => {
                piece.truncate(usize::try_from(limit.saturating_sub(passed)).unwrap_or(usize::MAX));
            }
            StreamFault::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            StreamFault::Deaf => {}
        }
        passed += n as u64;
        if to.write_all(&piece).await.is_err() {
            return;
        }
        match fault {
            StreamFault::Cut(limit) if passed >= limit => return,
            StreamFault::Stall(limit) if passed >= limit => std::future::pending::<()>().await,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn through(fault: StreamFault) -> Vec<u8> {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/exec/token", server.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.write_all(b"0123456789").await.unwrap();
        });
        let spoilt = relay(&url, fault).await.unwrap();
        assert!(spoilt.ends_with("/exec/token") && spoilt != url);
        let address = spoilt.strip_prefix("http://").unwrap().strip_suffix("/exec/token").unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut got = Vec::new();
        let _ = tokio::time::timeout(Duration::from_millis(500), client.read_to_end(&mut got)).await;
        got
    }

    #[tokio::test]
    async fn bytes_are_spoilt_as_told() {
        assert_eq!(through(StreamFault::Cut(4)).await, b"0123");
        assert_eq!(through(StreamFault::Stall(4)).await, b"0123");
        assert_eq!(through(StreamFault::Flip(0)).await, b"1123456789");
        assert_eq!(through(StreamFault::Skip(9)).await, b"012345678");
        assert_eq!(through(StreamFault::Slow(1)).await, b"0123456789");
        assert_eq!(through(StreamFault::Deaf).await, b"0123456789");
        assert!(relay("nonsense", StreamFault::Deaf).await.is_err());
    }
}
