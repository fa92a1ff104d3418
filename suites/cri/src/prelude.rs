//! What every file of this suite has in scope.

pub use std::time::{Duration, Instant};

pub use plimsoll_kit::cri::stream::exec::{Event, Protocol, Session, Streams};
pub use plimsoll_kit::cri::stream::{Finish, StreamError};
pub use plimsoll_kit::cri::{
    Answered, Code, Container, ContainerBuilder, Cri, Kind, Pod, PodBuilder, cgroup_of, pid_of, pod_pid_of,
    v1,
};
pub use plimsoll_kit::prelude::{
    Case, Cx, Script, Stop, Value, Verdict, case, check, check_eq, check_ne, json, probe, wait_until,
};
pub use plimsoll_kit::probe::{Answers, ask, script};
pub use plimsoll_kit::wait::Poll;

/// An id that no server has given out.
pub const NOBODY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Only standard output.
pub const STDOUT: Streams = Streams { stdin: false, stdout: true, stderr: false, tty: false };

/// Output and error output.
pub const OUTPUTS: Streams = Streams { stdin: false, stdout: true, stderr: true, tty: false };

/// Input and both outputs.
pub const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };

/// A terminal.
pub const TERMINAL: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };

/// Nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

/// The facts of one question, asked in a running container.
pub async fn fact(container: &Container, question: &str) -> Result<Value, Stop> {
    container.ask(&ask([question])).await?.facts(question).cloned()
}

/// One step's answer: the facts, or the kernel's refusal as errno.
pub async fn step(container: &Container, script: &Script, name: &str) -> Result<Result<Value, i32>, Stop> {
    let answers = container.ask(script).await?;
    let answer = answers.first(name)?;
    Ok(answer.result.clone().map_err(|refusal| refusal.errno))
}

/// Writes a file inside a container; errno of a refusal.
pub async fn write(container: &Container, path: &str, data: &str) -> Result<Result<(), i32>, Stop> {
    let script = script().act("write", json!({"path": path, "data": data, "create": true}));
    Ok(step(container, &script, "write").await?.map(|_| ()))
}

/// Reads a file inside a container; errno of a refusal.
pub async fn read(container: &Container, path: &str) -> Result<Result<String, i32>, Stop> {
    let script = script().ask_with("read", json!({"path": path}));
    let answer = step(container, &script, "read").await?;
    Ok(answer.map(|facts| facts["data"].as_str().unwrap_or_default().to_owned()))
}

/// Namespaces of a container's first process, by the probe in it.
pub async fn namespace(container: &Container, kind: &str) -> Result<String, Stop> {
    let facts = fact(container, "namespaces").await?;
    Ok(facts["ns"][kind].as_str().unwrap_or_default().to_owned())
}

/// A namespace of the host.
pub fn host_namespace(kind: &str) -> Result<String, Stop> {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}"))?;
    Ok(link.display().to_string())
}

/// Writes a file on the host below the attempt's directory and gives its path.
pub fn host_file(cri: &Cri, name: &str, text: &str) -> Result<String, Stop> {
    let path = cri.dir().join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// Makes a directory on the host below the attempt's directory and gives its path.
pub fn host_dir(cri: &Cri, name: &str) -> Result<String, Stop> {
    let path = cri.dir().join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path.display().to_string())
}
