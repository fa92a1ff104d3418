//! Every report, rendered from a run file.
//!
//! Each renderer is a pure function over [`plimsoll_model::Run`]: no input or output, no clock, no network, and no
//! judging of its own. The same run gives the same bytes. All text that came out of a runtime is hostile: it passes
//! [`text`] and the escaping of the format before it is written.

pub mod coverage;
pub mod diff;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod tap;
pub mod terminal;
pub mod text;
pub mod verdict;
mod view;
