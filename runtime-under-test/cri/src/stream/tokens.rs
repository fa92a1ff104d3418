//! Single-use tokens: what a client asked for over gRPC waits here for its HTTP connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};
use crate::pods::exec::Wants;
use crate::pods::lock;
use crate::util;

/// An unused token expires (`exec.url-expires`).
const LIFE: Duration = Duration::from_secs(60);
/// Tokens at most (`exec.too-many-in-flight`).
const LIMIT: usize = 1000;

/// What a token stands for.
#[derive(Debug, Clone)]
pub enum Ticket {
    /// Run a command.
    Exec {
        /// Container id.
        container: String,
        /// Command line.
        command: Vec<String>,
        /// Streams.
        wants: Wants,
    },
    /// Connect to the first process.
    Attach {
        /// Container id.
        container: String,
        /// Streams.
        wants: Wants,
    },
    /// Connect to ports of a pod.
    PortForward {
        /// Sandbox id.
        pod: String,
        /// Ports asked for over gRPC; SPDY clients name them later.
        ports: Vec<u16>,
    },
}

/// All outstanding tokens.
#[derive(Default)]
pub struct Tokens {
    map: Mutex<HashMap<String, (Instant, Ticket)>>,
    address: OnceLock<SocketAddr>,
}

impl Tokens {
    /// Where the streaming server listens.
    pub fn set_address(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    /// A fresh URL for a ticket.
    pub fn issue(&self, kind: &str, ticket: Ticket) -> Result<String> {
        let address = self
            .address
            .get()
            .ok_or_else(|| Error::new(tonic::Code::Unavailable, "the streaming server is not up"))?;
        let token = URL_SAFE_NO_PAD.encode(util::random_bytes::<16>()?);
        let mut map = lock(&self.map);
        map.retain(|_, (made, _)| made.elapsed() < LIFE);
        if map.len() >= LIMIT {
            return Err(Error::new(
                tonic::Code::ResourceExhausted,
                format!("{LIMIT} streaming requests wait for their clients; try again in a minute"),
            ));
        }
        map.insert(token.clone(), (Instant::now(), ticket));
        Ok(format!("http://{address}/{kind}/{token}"))
    }

    /// Redeems the token of a path `/kind/token`; it works once.
    pub fn take(&self, path: &str) -> Option<Ticket> {
        let mut parts = path.split('?').next()?.trim_start_matches('/').split('/');
        let (kind, token, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
        let (made, ticket) = lock(&self.map).remove(token)?;
        let fits = match ticket {
            Ticket::Exec { .. } => kind == "exec",
            Ticket::Attach { .. } => kind == "attach",
            Ticket::PortForward { .. } => kind == "portforward",
        };
        (fits && made.elapsed() < LIFE).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_work_once_and_are_bounded() {
        let tokens = Tokens::default();
        tokens.set_address(([127, 0, 0, 1], 9).into());
        let ticket = || Ticket::PortForward { pod: "p".into(), ports: vec![] };
        let url = tokens.issue("portforward", ticket()).unwrap();
        let path = url.strip_prefix("http://127.0.0.1:9").unwrap().to_owned();
        assert!(tokens.take(&path).is_some());
        assert!(tokens.take(&path).is_none());
        assert!(tokens.take("/portforward/guess").is_none());
        let other = tokens.issue("portforward", ticket()).unwrap();
        assert!(tokens.take(&other.replace("http://127.0.0.1:9/portforward", "/exec")).is_none());
        for _ in 0..LIMIT {
            tokens.issue("portforward", ticket()).unwrap();
        }
        assert_eq!(tokens.issue("portforward", ticket()).unwrap_err().code, tonic::Code::ResourceExhausted);
    }
}
