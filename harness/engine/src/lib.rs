//! Plan, preflight, run, judge, events.
//!
//! The engine decides which cases run where and when, runs each attempt in a worker process of its own, judges what
//! comes back against what was expected, and emits events. It knows no specification and no product; planning and
//! judging are pure functions, and everything that touches the host is in `worker`, `pool`, `gc` and `doctor`.

mod between;
pub mod doctor;
pub mod filter;
pub mod gc;
pub mod journal;
pub mod partition;
pub mod plan;
pub mod pool;
pub mod preflight;
mod preflight_cri;
mod prepare;
pub mod reference;
pub mod run;
pub mod sandbox;
mod signals;
mod sys;
pub mod target;
mod turn;
pub mod worker;

pub use between::Between;
pub use filter::{Filter, FilterError};
pub use partition::{Cut, Partition, Timings};
pub use plan::{Plan, PlanError, Profile, Selection};
pub use run::{EngineError, RunOptions, run};
