//! The two gRPC services.

mod image;
mod runtime;

pub use self::image::IMPORT;

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::Status;

use crate::error::{Error, Result};
use crate::pods::Daemon;

/// Both services share the daemon.
#[derive(Clone)]
pub struct Service {
    /// Everything.
    pub daemon: Arc<Daemon>,
}

/// A server stream.
pub type Answers<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

/// Items per message of a list stream: far below the 16 MiB that clients take.
const BATCH: usize = 64;

/// Cuts a list into non-empty messages (`*.stream.*`).
fn batches<I: Send + 'static, M: Send + 'static>(items: Vec<I>, wrap: fn(Vec<I>) -> M) -> Answers<M> {
    let mut messages = Vec::new();
    let mut items = items.into_iter().peekable();
    while items.peek().is_some() {
        messages.push(Ok(wrap(items.by_ref().take(BATCH).collect())));
    }
    Box::pin(tokio_stream::iter(messages))
}

/// Runs blocking work; it finishes even if the client goes away.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> std::result::Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Status::from),
        Err(_) => {
            Err(Error::internal("the server failed while it handled this request; its log tells where")
                .into())
        }
    }
}

/// Runs a future to its end even if the client goes away.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> std::result::Result<T, Status> {
    match tokio::spawn(work).await {
        Ok(result) => result.map_err(Status::from),
        Err(_) => {
            Err(Error::internal("the server failed while it handled this request; its log tells where")
                .into())
        }
    }
}

/// Refuses an empty id: it would be a prefix of everything.
fn need(what: &str, id: &str) -> Result<()> {
    if id.is_empty() { Err(Error::invalid(format!("{what} is empty"))) } else { Ok(()) }
}
