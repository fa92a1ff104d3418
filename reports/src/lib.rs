//! Every report, rendered from a run file.
//!
//! Each renderer is a pure function over [`plimsoll_model::Run`]: no input or output, no clock, no network, and no
//! judging of its own. The same run gives the same bytes. All text that came out of a runtime is hostile: it passes
//! [`text`] and the escaping of the format before it is written.

pub mod advice;
pub mod badge;
pub mod bench;
pub mod certificate;
pub mod coverage;
pub mod ctrf;
pub mod diff;
pub mod embargo;
pub mod github;
pub mod html;
pub mod junit;
pub mod junit_bench;
pub mod markdown;
pub mod merge;
pub mod nodes;
pub mod openmetrics;
pub mod submission;
pub mod summary;
pub mod tap;
pub mod terminal;
pub mod text;
pub mod trend;
pub mod verdict;
mod view;
