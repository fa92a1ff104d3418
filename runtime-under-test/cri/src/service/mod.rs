//! The two gRPC services.

mod image;
mod runtime;

pub use self::image::IMPORT;

use std::pin::Pin;
use std::sync::Arc;

use prost::Message;
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

/// Items per message of a list stream, and bytes after which a message is full: far below the 16 MiB that clients
/// take.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 2 << 20;

/// Cuts a list into non-empty messages (`*.stream.*`).
fn batches<I: Message + 'static, M: Send + 'static>(items: Vec<I>, wrap: fn(Vec<I>) -> M) -> Answers<M> {
    let mut messages = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for item in items {
        let size = item.encoded_len();
        if !batch.is_empty() && (batch.len() >= BATCH || bytes + size > BATCH_BYTES) {
            messages.push(Ok(wrap(std::mem::take(&mut batch))));
            bytes = 0;
        }
        bytes += size;
        batch.push(item);
    }
    if !batch.is_empty() {
        messages.push(Ok(wrap(batch)));
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

/// Runs work that makes something to its end; when the client has gone away meanwhile, what was made is undone
/// (`transport.deadline-honoured`).
async fn undone_if_unwanted<T: Send + 'static, U: Future<Output = ()> + Send>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
    undo: impl FnOnce(T) -> U + Send + 'static,
) -> std::result::Result<T, Status> {
    let (answer, wanted) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let result = blocking(work).await;
        if let Err(Ok(made)) = answer.send(result) {
            undo(made).await;
        }
    });
    match wanted.await {
        Ok(result) => result,
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
