//! The connection of a place: a client and the loop that runs its calls on the calling thread.

use crate::plan::CriTarget;
use crate::slot::Failure;
use plimsoll_cri_client::{CallError, Client, Options, Target};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A connection with the loop that drives it. Calls run on the thread that asks: no other thread stands between
/// an answer and its stamp.
pub(super) struct Link {
    /// The client.
    pub client: Client,
    runtime: Mutex<Runtime>,
}

impl Link {
    /// Connects with the first call; each call has `timeout`.
    pub fn open(target: &CriTarget, timeout: Duration) -> Result<Arc<Self>, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::io("connect"))?;
        let mut endpoint = Target::new(&target.socket).with_handler(&target.handler);
        endpoint.image.clone_from(&target.image_socket);
        // Records are evidence for cases; here they would only cost time.
        let options = Options { records: 0, ..Options::default() };
        let client = {
            let _inside = runtime.enter();
            Client::lazy(&endpoint, options).with_deadline(timeout)
        };
        Ok(Arc::new(Self { client, runtime: Mutex::new(runtime) }))
    }

    /// Runs calls to their end.
    pub fn run<F: Future>(&self, work: F) -> F::Output {
        // A panic in a call leaves the loop usable.
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).block_on(work)
    }
}

/// A call that failed, as the failure of a step.
pub(super) fn failure(step: &'static str) -> impl FnOnce(CallError) -> Failure {
    move |error| Failure::new(step, error.to_string())
}
