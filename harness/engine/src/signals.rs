//! The two signals that end a run early.

use crate::run::Interrupt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Streams of both signals; they keep what came before anybody asked.
#[derive(Debug)]
pub(crate) struct Signals {
    int: Option<Signal>,
    term: Option<Signal>,
}

impl Signals {
    /// Starts to watch. Without it both signals end the process at once.
    pub(crate) fn new() -> Self {
        Self { int: signal(SignalKind::interrupt()).ok(), term: signal(SignalKind::terminate()).ok() }
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Interrupt {
        let (Some(int), Some(term)) = (&mut self.int, &mut self.term) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = int.recv() => Interrupt::Int,
            _ = term.recv() => Interrupt::Term,
        }
    }
}
