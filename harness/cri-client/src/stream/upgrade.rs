//! The HTTP/1.1 handshake, by hand, so that tests can also say it wrongly.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::StreamError;

/// Bytes of the head of an answer.
const HEAD_LIMIT: usize = 64 << 10;
/// Bytes of a refusal's body that are kept.
const BODY_LIMIT: usize = 1024;

/// A stream URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`.
    pub host: String,
    /// Path with its query.
    pub path: String,
}

impl Address {
    /// Takes `http://host:port/path` apart. TLS is not supported; a relative URL has no server.
    pub fn parse(url: &str) -> Result<Self, StreamError> {
        let bad = |reason| StreamError::Url { url: url.to_owned(), reason };
        if url.starts_with("https://") {
            return Err(bad("it wants TLS, which this client does not speak: turn off TLS streaming"));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| bad("it is not a full http:// URL"))?;
        let slash = rest.find('/').ok_or_else(|| bad("it has no path"))?;
        let (host, path) = rest.split_at(slash);
        if host.is_empty() || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("it has no host or an invalid path"));
        }
        let bare = if host.ends_with(']') { !host.contains("]:") } else { !host.contains(':') };
        let host = if bare { format!("{host}:80") } else { host.to_owned() };
        Ok(Self { host, path: path.to_owned() })
    }
}

/// The answer to a handshake.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// What was read behind the head: first bytes of the new protocol, or of the body.
    pub rest: Vec<u8>,
    /// The connection.
    pub stream: TcpStream,
}

impl Answer {
    /// The first header with this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Turns an answer that is not 101 into an error with the first part of its body.
    pub async fn switched(mut self, wanted: &str) -> Result<Self, StreamError> {
        if self.status == 101 {
            return Ok(self);
        }
        let mut buffer = [0; 512];
        while self.rest.len() < BODY_LIMIT {
            match timeout(Duration::from_millis(200), self.stream.read(&mut buffer)).await {
                Ok(Ok(n)) if n > 0 => self.rest.extend_from_slice(&buffer[..n]),
                _ => break,
            }
        }
        self.rest.truncate(BODY_LIMIT);
        let body = String::from_utf8_lossy(&self.rest).trim().to_owned();
        Err(StreamError::Handshake { status: self.status, wanted: wanted.to_owned(), body })
    }
}

/// Sends one request with these header lines and reads the head of the answer.
pub async fn request(
    method: &str,
    address: &Address,
    headers: &[(&str, &str)],
    limit: Duration,
) -> Result<Answer, StreamError> {
    let mut text = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", address.path, address.host);
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            text.push_str(part);
        }
    }
    text.push_str("\r\n");
    raw(address, text.as_bytes(), limit).await
}

/// Sends these bytes as they are and reads the head of the answer.
pub async fn raw(address: &Address, bytes: &[u8], limit: Duration) -> Result<Answer, StreamError> {
    let exchange = async {
        let connect = |source| StreamError::Connect { address: address.host.clone(), source };
        let mut stream = TcpStream::connect(&address.host).await.map_err(connect)?;
        let _ = stream.set_nodelay(true);
        stream.write_all(bytes).await.map_err(StreamError::Broken)?;
        let mut read = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            if let Some(end) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = read.split_off(end + 4);
                let (status, headers) = head(&read)?;
                return Ok(Answer { status, headers, rest, stream });
            }
            if read.len() > HEAD_LIMIT {
                return Err(StreamError::Head("over 64 KiB without an end".into()));
            }
            match stream.read(&mut buffer).await.map_err(StreamError::Broken)? {
                0 => return Err(StreamError::Head("the connection was closed".into())),
                n => read.extend_from_slice(&buffer[..n]),
            }
        }
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(StreamError::Deadline(limit, "handshake".into())))
}

type Head = (u16, Vec<(String, String)>);

fn head(bytes: &[u8]) -> Result<Head, StreamError> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| StreamError::Head(format!("first line is {first:?}")))?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    Ok((status, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused() {
        let address = Address::parse("http://127.0.0.1:1234/exec/abc?x=1").unwrap();
        assert_eq!((address.host.as_str(), address.path.as_str()), ("127.0.0.1:1234", "/exec/abc?x=1"));
        assert_eq!(Address::parse("http://host/p").unwrap().host, "host:80");
        assert_eq!(Address::parse("http://[::1]/p").unwrap().host, "[::1]:80");
        assert_eq!(Address::parse("http://[::1]:9/p").unwrap().host, "[::1]:9");
        for bad in ["", "/cri/exec/abc", "https://a/b", "http://a", "http:///x", "http://a/b c"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn heads_are_read() {
        let (status, headers) =
            head(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n").unwrap();
        assert_eq!((status, headers[0].0.as_str(), headers[0].1.as_str()), (101, "upgrade", "SPDY/3.1"));
        assert!(head(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
