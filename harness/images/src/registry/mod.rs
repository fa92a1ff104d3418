//! An OCI distribution registry inside this process, on a loopback address, over plain HTTP.
//!
//! It serves what it was given from memory, asks for credentials when told to, misbehaves on
//! request ([`fault`]) and remembers what it was asked for. It runs on a thread of its own, so that it
//! can be used from any runtime or from none, and stops when it is dropped.

mod auth;
pub mod fault;
mod serve;
mod store;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use auth::{Access, Credentials};
pub use fault::{Action, Rule, Target};

use crate::ImageSet;
use auth::Tokens;
use store::Store;

/// Requests remembered at most; older ones are dropped first, counters stay right.
pub const LOG_LIMIT: usize = 10_000;

/// One request as served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// HTTP method.
    pub method: String,
    /// Path with its query.
    pub path: String,
    /// What kind of object was asked for.
    pub target: Target,
    /// `none`, `basic` or `bearer`.
    pub authorization: &'static str,
    /// User agent, or empty.
    pub agent: String,
    /// Status answered; 0 when the connection was cut instead.
    pub status: u16,
}

/// Number of requests by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `GET` or `HEAD` of a manifest.
    pub manifests: u64,
    /// `GET` or `HEAD` of a blob.
    pub blobs: u64,
    /// Token requests.
    pub tokens: u64,
    /// All requests.
    pub total: u64,
    /// Requests answered with 401.
    pub unauthorized: u64,
    /// Requests that a fault rule answered or changed.
    pub faulted: u64,
}

#[derive(Default)]
struct Inner {
    store: Store,
    access: Access,
    tokens: Tokens,
    rules: Vec<Rule>,
    seen: std::collections::VecDeque<Seen>,
    counters: Counters,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    address: SocketAddr,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a handler leaves plain data behind, which is still usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running registry.
pub struct Registry {
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    /// Starts on a free port of 127.0.0.1.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Shared { inner: Arc::default(), address };
        let (stop, stopped) = oneshot::channel();
        let state = shared.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("registry".into()).spawn(move || {
            // Dropping the runtime cuts connections that a stall still holds open.
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    serve::run(listener, state, stopped).await;
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// `127.0.0.1:port`, the first part of an image reference.
    pub fn host(&self) -> String {
        self.shared.address.to_string()
    }

    /// Serves `image` as `repository:tag` and returns the full reference.
    pub fn add(&self, repository: &str, tag: &str, image: &ImageSet) -> String {
        self.shared.lock().store.add(repository, tag, image);
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Forgets a tag; blobs stay.
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        self.shared.lock().store.remove_tag(repository, tag);
    }

    /// Forgets a repository with its tags and blobs.
    pub fn remove_repository(&self, repository: &str) {
        self.shared.lock().store.remove_repository(repository);
    }

    /// Who may read from now on.
    pub fn set_access(&self, access: Access) {
        self.shared.lock().access = access;
    }

    /// Makes every token issued so far invalid.
    pub fn expire_tokens(&self) {
        self.shared.lock().tokens.expire();
    }

    /// Adds a fault. The first rule that matches a request is used.
    pub fn fault(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.lock().rules.clear();
    }

    /// Counts since the start or the last [`Registry::reset`].
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters
    }

    /// The newest requests, oldest first, at most [`LOG_LIMIT`].
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.iter().cloned().collect()
    }

    /// Forgets counts and the request log; images, access and faults stay.
    pub fn reset(&self) {
        let mut inner = self.shared.lock();
        inner.seen.clear();
        inner.counters = Counters::default();
    }

    /// Stops serving and waits for the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}
