//! CRI endpoints: a pod with one container is what a place holds.
//!
//! Everything is asked through the gRPC services, as a kubelet asks; nothing here knows a product. What an
//! endpoint costs besides is looked up on the host: the daemon is whoever listens on the socket, and what belongs
//! to it is what runs in its cgroup.

mod daemon;
mod images;
mod link;
mod pod;
mod start;
mod stop;
mod work;

pub use images::Images;
pub use pod::{Home, Pod};

use crate::plan::CriTarget;
use crate::session::{Identity, digest};
use crate::slot::Failure;
use daemon::Daemon;
use link::Link;
use plimsoll_cri_client::v1::VersionRequest;
use std::path::PathBuf;
use std::time::Duration;

/// Asks an endpoint who it is.
pub(crate) fn identity(target: &CriTarget) -> Result<Identity, Failure> {
    let link = Link::open(target, Duration::from_secs(10))?;
    let said = link.run(link.client.version(VersionRequest::default())).map_err(link::failure("Version"))?;
    let daemon = Daemon::behind(target)?;
    let (digest, bytes) = digest(&PathBuf::from(format!("/proc/{}/exe", daemon.pid)))
        .map_err(|e| Failure::new("daemon", e.to_string()))?;
    let handler = if target.handler.is_empty() { "default" } else { &target.handler };
    let note = daemon.slice.is_none().then(|| {
        "its daemon has no cgroup of its own, so its CPU time is not known; start it in one".to_owned()
    });
    Ok(Identity {
        version: format!("{} {}, handler {handler}", said.runtime_name, said.runtime_version),
        digest,
        bytes,
        note,
    })
}
