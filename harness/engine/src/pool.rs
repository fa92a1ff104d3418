//! Spawns a worker per attempt, holds it to its deadline, and clears up after it.

use crate::sandbox;
use plimsoll_kit::job::{Job, JobResult, Target};
use plimsoll_model::{Outcome, Trouble, TroubleKind};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The hidden verb under which the executable is a worker.
pub const WORKER_VERB: &str = "__worker";
/// What a worker may need for its clean-up beyond the case's own deadline.
fn clean_up(job: &Job) -> Duration {
    match job.target {
        Target::Oci(_) => Duration::from_secs(20),
        // Stopping pods takes an endpoint longer, and what it does in the background is waited for.
        Target::Cri(_) => Duration::from_secs(40),
    }
}
/// The largest result that is read from a worker, in bytes.
const RESULT_BYTES: u64 = 8 << 20;

/// Runs one attempt in a worker process. Always gives a result; whatever is left of the attempt's cgroups and its
/// directory is gone afterwards.
pub async fn attempt(program: &Path, job: Job, mut cancel: watch::Receiver<bool>) -> (JobResult, Duration) {
    let start = Instant::now();
    let result = match spawn(program, &job).await {
        Err(e) => trouble(TroubleKind::Harness, format!("the worker could not be started: {e}")),
        Ok(child) => supervise(child, &job, &mut cancel).await,
    };
    let duration = start.elapsed();
    let (cgroup, dir) = (job.cgroup.clone(), job.dir.clone());
    let stuck = tokio::task::spawn_blocking(move || {
        let stuck = sandbox::clear_cgroups(&cgroup);
        let _ = std::fs::remove_dir_all(&dir);
        stuck
    })
    .await
    .unwrap_or_default();
    let result = match (stuck.is_empty(), &result.outcome) {
        (false, Outcome::Pass) => {
            trouble(TroubleKind::Host, format!("cgroups that cannot be removed: {stuck:?}"))
        }
        _ => result,
    };
    (result, duration)
}

async fn spawn(program: &Path, job: &Job) -> std::io::Result<Child> {
    std::fs::create_dir_all(&job.dir)?;
    let mut child = Command::new(program)
        .arg(WORKER_VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(serde_json::to_string(job)?.as_bytes()).await?;
    }
    Ok(child)
}

async fn supervise(mut child: Child, job: &Job, cancel: &mut watch::Receiver<bool>) -> JobResult {
    let pid = child.id().map(|p| nix::unistd::Pid::from_raw(p as i32));
    let mut stdout = child.stdout.take();
    let read = async {
        let mut text = String::new();
        if let Some(out) = &mut stdout {
            let _ = out.take(RESULT_BYTES).read_to_string(&mut text).await;
        }
        text
    };
    let limit = Duration::from_millis(job.limits.case_ms) + clean_up(job);
    let cancelled = async {
        // An error means that the sender is gone: then nobody can cancel.
        if cancel.wait_for(|c| *c).await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some(pid) = pid {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        tokio::time::sleep(clean_up(job)).await;
    };
    let text = tokio::select! {
        text = read => text,
        () = tokio::time::sleep(limit) => {
            let _ = child.kill().await;
            let what = format!("the worker did not end within {} s and was killed", limit.as_secs());
            return trouble(TroubleKind::Timeout, what);
        }
        () = cancelled => {
            let _ = child.kill().await;
            return trouble(TroubleKind::Harness, "cancelled, and the worker was killed".into());
        }
    };
    // Who writes on after the bound has nobody to read it any more, and who does not leave is shown out.
    drop(stdout);
    let status = match tokio::time::timeout(clean_up(job), child.wait()).await {
        Ok(status) => status,
        Err(_) => child.kill().await.and(child.wait().await),
    };
    if let Ok(result) = serde_json::from_str(text.trim()) {
        return result;
    }
    let end = status.map_or_else(|e| e.to_string(), |s| s.to_string());
    trouble(TroubleKind::WorkerDied, format!("the worker ended without a result ({end})"))
}

fn trouble(kind: TroubleKind, what: String) -> JobResult {
    let outcome = Outcome::Error { trouble: Trouble::new(kind, what) };
    JobResult { outcome, facts: BTreeMap::new(), commands: vec![], config: None, calls_ms: 0.0 }
}
