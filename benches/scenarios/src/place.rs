//! A place: where one container (or pod) at a time lives, whatever interface is behind it.
//!
//! The drivers know only this. [`crate::slot::Slot`] is a place of an OCI runtime, [`crate::cri::Pod`] one of a
//! CRI endpoint.

use crate::slot::{Failure, Sample};
use std::io;

/// What a place can be told to do. Each is one verified lifecycle; one that a place does not have is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Everything from nothing to the entrypoint, its end, and the removal.
    ColdStart,
    /// The same after the runtime's files were evicted from the page cache.
    ColdCache,
    /// The shortest whole life of one container: `run`, or a container in the resident pod.
    Once,
    /// The unit of throughput: `run`, or a whole pod.
    Cycle,
    /// Starts what stays until [`Step::Dismiss`].
    Settle,
    /// Removes what stays; nothing to do when nothing is there.
    Dismiss,
    /// A process in the resident container.
    Exec,
    /// The same through a streaming server.
    ExecStream,
    /// Stopping, and noticing an end.
    Stop,
    /// A pod with a network of its own and one without.
    Network,
    /// An image: pulled, pulled again under another name, started, removed.
    Pull,
    /// Output through the log.
    Log,
    /// Work inside the container and natively.
    Inside,
}

/// Something counted after a batch of cycles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residue {
    /// Stable name of the curve.
    pub name: &'static str,
    /// What is counted, with its unit.
    pub y: &'static str,
    /// Whether any growth at all is a leak; otherwise its slope decides.
    pub exact: bool,
    /// The count.
    pub value: f64,
}

/// A reading at a number of live containers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Stable name of the curve.
    pub name: &'static str,
    /// What is read, with its unit.
    pub y: &'static str,
    /// The value; a reading that failed is no number.
    pub value: f64,
}

/// A place in which one container at a time lives.
pub trait Place: Send {
    /// Does one step.
    fn perform(&mut self, step: Step) -> Result<Sample, Failure>;

    /// Whether the guest's stamps share the host's clock; found out by whoever proves the target.
    fn set_guest_clock(&mut self, shared: bool);

    /// Other places will work at the same time, on other threads.
    fn set_concurrent(&mut self);

    /// Called on the thread that will perform: gives it the view that the target needs.
    fn enter(&mut self) -> io::Result<()>;

    /// Called on the same thread at its end: removes what a runtime left where only this thread sees it.
    fn tidy(&mut self);

    /// Another place of the same target that shares its state; `name` must be unique in the run.
    fn sibling(&self, name: &str) -> io::Result<Box<dyn Place>>;

    /// What could grow with the number of cycles.
    fn residue(&mut self) -> Vec<Residue>;

    /// What grows with the number of live containers.
    fn readings(&mut self) -> Vec<Reading>;
}

/// The best of three timed calls, in milliseconds: what a thing costs, not what the host was doing. Not a number
/// when one fails.
pub(crate) fn best_of_three(mut call: impl FnMut() -> Result<f64, Failure>) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        match call() {
            Ok(ms) => best = best.min(ms),
            Err(_) => return f64::NAN,
        }
    }
    best
}
