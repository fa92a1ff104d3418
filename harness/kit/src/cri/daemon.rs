//! The server behind an endpoint as a process that a case may kill.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Cri, v1};
use crate::stop::{Stop, Verdict};
use crate::wait::{Poll, wait_until};

/// Fact of a target whose server is started again when it dies: the path of a file that holds the restart back as
/// long as it exists. A case that uses it names `daemon` among its exclusive resources, which keeps every other
/// case from the target.
pub const DAEMON_HOLD: &str = "cri.daemon.hold";
/// Fact of such a target: the path of the server\'s own socket, which is not the endpoint\'s when something stands before it.
pub const DAEMON_SOCKET: &str = "cri.daemon.socket";

/// Longest time for the server's end, and for its first answer when it comes back.
const LIMIT: Duration = Duration::from_secs(30);

/// A server that somebody brings back when it is killed. Dropping it lets it come back.
#[derive(Debug)]
pub struct Daemon {
    cri: Cri,
    hold: PathBuf,
    socket: PathBuf,
}

impl Cri {
    /// The server behind the endpoint. Not applicable where nobody brings it back.
    pub fn daemon(&self) -> Result<Daemon, Stop> {
        let path = |name: &str| self.fact(name).and_then(serde_json::Value::as_str).map(PathBuf::from);
        let (Some(hold), Some(socket)) = (path(DAEMON_HOLD), path(DAEMON_SOCKET)) else {
            return self.not_applicable(
                "restartable-server",
                "the server is not the run's own, so no case may kill it",
            );
        };
        Ok(Daemon { cri: self.clone(), hold, socket })
    }
}

impl Daemon {
    /// Kills the server without warning and waits for its end. It stays away until [`Daemon::back`].
    pub async fn kill(&self) -> Verdict {
        std::fs::write(&self.hold, "")?;
        let pid = self.pid().await?;
        kill_process(pid, Signal::KILL)?;
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let start = Instant::now();
        while lives(&stat) {
            if start.elapsed() > LIMIT {
                return Err(Stop::setup("the killed server does not end"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Lets the server come back and waits for its first answer.
    pub async fn back(&self) -> Verdict {
        match std::fs::remove_file(&self.hold) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        wait_until("the server answers after its restart", LIMIT, async || {
            let client = self.cri.client().with_deadline(Duration::from_secs(5));
            match client.version(v1::VersionRequest::default()).await {
                Ok(_) => Ok(Poll::Ready(())),
                Err(error) => Ok(Poll::NotYet(format!("{:?}", error.code))),
            }
        })
        .await
    }

    /// Kills the server and waits until another one answers.
    pub async fn restart(&self) -> Verdict {
        self.kill().await?;
        self.back().await
    }

    async fn pid(&self) -> Result<Pid, Stop> {
        let connect = timeout(Duration::from_secs(5), UnixStream::connect(&self.socket)).await;
        let stream = connect.map_err(|_| Stop::setup("connecting to the server takes over 5 s"))??;
        let pid = stream.peer_cred()?.pid().and_then(Pid::from_raw);
        pid.ok_or_else(|| Stop::setup("the server's process is not in sight"))
    }
}

/// Whether the process of this stat file runs; a zombie does not.
fn lives(stat: &Path) -> bool {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    text.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.hold);
    }
}
