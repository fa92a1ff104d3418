//! Everything that a case may touch: the context, bundles, the OCI driver, checks, waits, the host's view.
//!
//! A case gets a [`Cx`], builds what it needs from it, and returns a [`Verdict`]. Trouble while preparing and
//! violations of a requirement are different variants of [`Stop`], and nothing converts one into the other.

// Lets the attribute's output name this crate by its public name from inside as well.
extern crate self as plimsoll_kit;

pub mod bundle;
pub mod case;
pub mod check;
pub mod console;
pub mod container;
pub mod cri;
pub mod cx;
pub mod exec;
pub mod hook;
pub mod host;
pub mod job;
pub mod leak;
pub mod net;
pub mod patch;
pub mod probe;
pub mod reaper;
pub mod runtime;
pub mod state;
pub mod stop;
mod sys;
pub mod wait;

pub use case::{Case, Section, Suite, Variant};
pub use container::{Builder, Container};
pub use cx::Cx;
pub use exec::{Call, CallStatus};
pub use hook::{Hook, HookKind};
pub use plimsoll_case::case;
pub use probe::{Answers, Script};
pub use serde_json::{Value, json};
pub use state::State;
pub use stop::{Stop, Verdict};
pub use wait::wait_until;

/// What nearly every file of a suite wants in scope.
pub mod prelude {
    pub use crate::case::{Case, Section, Suite, Variant};
    pub use crate::check::describe;
    pub use crate::container::{Builder, Container};
    pub use crate::cx::Cx;
    pub use crate::exec::Call;
    pub use crate::hook::{Hook, HookKind};
    pub use crate::probe::{self, Answers, Script};
    pub use crate::state::State;
    pub use crate::stop::{Stop, Verdict};
    pub use crate::wait::wait_until;
    pub use crate::{check, check_eq, check_ne};
    pub use plimsoll_case::case;
    pub use serde_json::{Value, json};
}
