//! Servers that are started for a benchmark: the bundled reference CRI server, `ref:cri[?PARAMETERS]`.
//!
//! The same as for a run of the suites: a journal names what they leave, so `plimsoll gc` finds it even after `kill -9`.

use crate::output;
use crate::run::{bundled, fresh_seed, targets};
use crate::usage::{self, Failure};
use plimsoll_engine::gc;
use plimsoll_engine::journal::RunDir;
use plimsoll_engine::reference::Server;
use plimsoll_engine::target::{Resolved, resolve_all};
use plimsoll_kit::job::Limits;
use std::path::Path;

/// Whether a target has to be started.
pub fn is_ours(target: &str) -> bool {
    target.starts_with("ref:cri")
}

/// The running servers, and the targets with their endpoints.
pub struct Daemons {
    runtime: tokio::runtime::Runtime,
    run: RunDir,
    servers: Vec<Server>,
    targets: Vec<String>,
}

impl Daemons {
    /// Starts what the targets need.
    pub fn start(texts: &[String], work: &Path) -> Result<Self, Failure> {
        let specs = targets(texts)?;
        let resolved = resolve_all(&specs, &bundled()?).map_err(|e| Failure::usage(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::trouble(format!("the event loop cannot be made: {e}")))?;
        let id = format!("{:08x}", fresh_seed() as u32);
        let run = RunDir::create(work, &id).map_err(|e| usage::file("make", work, &e))?;
        let mut all = Self { runtime, run, servers: Vec::new(), targets: Vec::new() };
        for (text, resolved) in texts.iter().zip(&resolved) {
            if let Err(failure) = all.add(text, resolved) {
                all.stop();
                return Err(failure);
            }
        }
        Ok(all)
    }

    fn add(&mut self, text: &str, resolved: &Resolved) -> Result<(), Failure> {
        let Some(wanted) = &resolved.server else {
            self.targets.push(text.to_owned());
            return Ok(());
        };
        let (bundled, n) = (bundled()?, self.servers.len());
        let started = self.runtime.block_on(Server::start(&bundled, &mut self.run, n, wanted, 1.0));
        let server = started.map_err(|e| Failure::trouble(e.to_string()))?;
        self.targets.push(format!("cri:{}?name={}", server.endpoint(), resolved.info.label));
        self.servers.push(server);
        Ok(())
    }

    /// The targets, all of them running.
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// Stops the servers and removes all that they made; says what is stuck.
    pub fn stop(mut self) {
        let mut stuck: Vec<String> =
            self.servers.iter_mut().flat_map(Server::stop).map(|p| p.display().to_string()).collect();
        let Ok(bundled) = bundled() else { return };
        let limits = Limits::default();
        let removal = gc::remove(self.run.path(), &self.run.intent, &self.run.made, &bundled.program, limits);
        if let gc::Found::Stuck(_, what) = self.runtime.block_on(removal) {
            stuck.extend(what);
        }
        if !stuck.is_empty() {
            output::note(&format!("could not be removed: {}; try `plimsoll gc`", stuck.join(", ")));
        }
    }
}
