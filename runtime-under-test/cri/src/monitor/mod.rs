//! The monitor: one small, single-threaded process per pod. It is the parent of the pod's processes,
//! holds their standard streams, writes their logs and records how they end, so that the server may
//! come and go.

pub mod client;
mod conn;
pub mod container;
mod log;
mod pause;
pub mod proto;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use self::conn::{Conn, Kind};
use self::container::Container;
use self::log::Stream;
use self::proto::{CreateRequest, Exit, PodSpec, Reply, Request, decode_frame, encode_frame, frame};
use crate::error::{Context as _, Error, Result};
use crate::sys;
use crate::util::now_ns;

/// An attached client that takes nothing for this long is cut off: it must not stall the container.
const STALL_LIMIT: Duration = Duration::from_secs(20);
/// Output waiting for one attached client at most.
const OUTPUT_LIMIT: usize = 1 << 20;

/// What a child process of the monitor is.
enum Role {
    Pause,
    Creating(String),
    Init(String),
    ExecStarting { conn: usize, pid_file: PathBuf, log: PathBuf },
    Exec { conn: usize },
}

struct Monitor {
    listener: UnixListener,
    signals: OwnedFd,
    conns: BTreeMap<usize, Conn>,
    next_conn: usize,
    containers: BTreeMap<String, Container>,
    children: HashMap<i32, Role>,
    /// Ends of processes that are not known yet (they were faster than their runtime).
    strays: HashMap<i32, Exit>,
    pause: Option<i32>,
    quit: bool,
}

/// Entry point of `plimsoll-cri monitor`.
pub fn main() -> Result<()> {
    let mut text = String::new();
    std::io::stdin().take(16 << 20).read_to_string(&mut text).doing("reading the pod's description")?;
    let spec: PodSpec = serde_json::from_str(&text).doing("reading the pod's description")?;
    drop(text);
    let result = start(&spec);
    let reply = match &result {
        Ok(monitor) => Reply { pid: monitor.pause, ..Default::default() },
        Err(error) => Reply { error: Some(error.message.clone()), ..Default::default() },
    };
    let line = serde_json::to_string(&reply).doing("answering")?;
    writeln!(std::io::stdout(), "{line}").doing("answering")?;
    std::io::stdout().flush().doing("answering")?;
    let mut monitor = result?;
    detach()?;
    drop(spec);
    while !monitor.quit {
        monitor.turn()?;
    }
    Ok(())
}

fn start(spec: &PodSpec) -> Result<Monitor> {
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing("becoming a subreaper")?;
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE])
        .doing("blocking signals")?;
    let _ = rustix::thread::set_name(c"cri-monitor");
    let pause = pause::start(spec)?;
    let _ = std::fs::remove_file(&spec.socket);
    let listener = UnixListener::bind(&spec.socket).with_path("listening on", &spec.socket)?;
    listener.set_nonblocking(true).doing("listening")?;
    Ok(Monitor {
        listener,
        signals,
        conns: BTreeMap::new(),
        next_conn: 0,
        containers: BTreeMap::new(),
        children: HashMap::from([(pause, Role::Pause)]),
        strays: HashMap::new(),
        pause: Some(pause),
        quit: false,
    })
}

/// Lets go of the server's streams and directory.
fn detach() -> Result<()> {
    let null =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").doing("opening /dev/null")?;
    rustix::stdio::dup2_stdin(&null).doing("detaching")?;
    rustix::stdio::dup2_stdout(&null).doing("detaching")?;
    rustix::stdio::dup2_stderr(&null).doing("detaching")?;
    std::env::set_current_dir("/").doing("detaching")
}

/// What a polled descriptor stands for.
enum Source {
    Listener,
    Signals,
    Conn(usize),
    Output(String, Stream),
    Input(String),
}

impl Monitor {
    /// Waits once and handles everything that is ready.
    fn turn(&mut self) -> Result<()> {
        let ready = self.wait()?;
        for source in ready {
            match source {
                Source::Listener => self.accept(),
                Source::Signals => self.signal(),
                Source::Conn(at) => self.conn_ready(at),
                Source::Output(id, stream) => self.output_ready(&id, stream),
                Source::Input(id) => {
                    if let Some(container) = self.containers.get_mut(&id) {
                        container.write_input();
                    }
                }
            }
        }
        let gone: Vec<usize> =
            self.conns.iter_mut().filter_map(|(at, conn)| dead(conn).then_some(*at)).collect();
        for at in gone {
            self.drop_conn(at);
        }
        Ok(())
    }

    fn wait(&self) -> Result<Vec<Source>> {
        let mut fds =
            vec![PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        let mut sources = vec![Source::Listener, Source::Signals];
        let mut busy = false;
        for (at, conn) in &self.conns {
            let mut flags = PollFlags::empty();
            if self.may_read(conn) {
                flags |= PollFlags::IN;
            }
            if !conn.output.is_empty() {
                flags |= PollFlags::OUT;
                busy = true;
            }
            fds.push(PollFd::new(&conn.fd, flags));
            sources.push(Source::Conn(*at));
        }
        for (id, container) in &self.containers {
            if container.pid.is_none() || self.clogged(id) {
                continue;
            }
            for stream in [Stream::Out, Stream::Err] {
                if let Some(fd) = &container.output[stream as usize] {
                    fds.push(PollFd::new(fd, PollFlags::IN));
                    sources.push(Source::Output(id.clone(), stream));
                }
            }
            if let Some(fd) = container.input.as_ref().filter(|_| !container.pending_input.is_empty()) {
                fds.push(PollFd::new(fd, PollFlags::OUT));
                sources.push(Source::Input(id.clone()));
            }
        }
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match poll(&mut fds, busy.then_some(&second)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::internal(format!("waiting: {error}"))),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        Ok(sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect())
    }

    fn may_read(&self, conn: &Conn) -> bool {
        match &conn.kind {
            Kind::Attach { id, .. } => self.containers.get(id).is_none_or(Container::accepts_input),
            _ => true,
        }
    }

    /// Whether an attached client is so far behind that the container has to wait for it.
    fn clogged(&self, id: &str) -> bool {
        self.conns.values().any(|conn| {
            conn.output.len() > OUTPUT_LIMIT && matches!(&conn.kind, Kind::Attach { id: of, .. } if of == id)
        })
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.conns.insert(self.next_conn, Conn::new(stream.into()));
                self.next_conn += 1;
            }
        }
    }

    fn signal(&mut self) {
        let mut buffer = [0_u8; 128 * 8];
        while let Ok(1..) = rustix::io::read(&self.signals, &mut buffer) {}
        while let Some((pid, status)) = sys::reap() {
            self.child_ended(pid, Exit { code: sys::exit_code(status), at: now_ns(), oom: false });
        }
    }

    fn child_ended(&mut self, pid: i32, exit: Exit) {
        match self.children.remove(&pid) {
            Some(Role::Pause) => {
                self.pause = None;
                self.tell(Some(String::new()), exit);
            }
            Some(Role::Creating(id)) => self.creation_ended(&id, exit),
            Some(Role::Init(id)) => self.init_ended(&id, exit),
            Some(Role::ExecStarting { conn, pid_file, log }) => {
                self.exec_started(conn, &pid_file, &log, exit);
            }
            Some(Role::Exec { conn }) => self.exec_ended(conn, exit),
            None => {
                self.strays.insert(pid, exit);
            }
        }
        let starting =
            self.children.values().any(|role| matches!(role, Role::Creating(_) | Role::ExecStarting { .. }));
        if !starting {
            self.strays.clear();
        }
    }

    fn creation_ended(&mut self, id: &str, exit: Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let result = if exit.code == 0 {
            container.created()
        } else {
            let noise = container.take_noise();
            Err(Error::internal(container::error_text(
                &container::runtime_log(&container.request.dir),
                &noise,
            )))
        };
        let creator = container.creator.take();
        let reply = match result {
            Ok(pid) => {
                self.children.insert(pid, Role::Init(id.to_owned()));
                Reply { pid: Some(pid), ..Default::default() }
            }
            Err(error) => {
                self.containers.remove(id);
                Reply { error: Some(error.message), ..Default::default() }
            }
        };
        let early = reply.pid.and_then(|pid| self.strays.remove(&pid).map(|exit| (pid, exit)));
        self.reply(creator, &reply);
        if let Some((pid, exit)) = early {
            self.child_ended(pid, exit);
        }
    }

    fn init_ended(&mut self, id: &str, exit: Exit) {
        if let Some(dir) = self.containers.get(id).and_then(|container| container.request.cgroup.as_deref()) {
            container::kill_cgroup(dir);
        }
        // All output is in the log before the exit is known (`log.file.complete-on-exit`); bounded, in case
        // a process that escaped the cgroup keeps writing.
        for stream in [Stream::Out, Stream::Err] {
            let _ = (0..8192).all(|_| self.pump(id, stream));
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        container.log.flush();
        let exit = container.ended(exit.code);
        for conn in self.conns.values_mut() {
            if matches!(&conn.kind, Kind::Attach { id: of, .. } if of == id) {
                conn.output.extend(encode_frame(frame::END, &[]));
                conn.closing = true;
            }
        }
        self.tell(Some(id.to_owned()), exit);
    }

    fn exec_started(&mut self, at: usize, pid_file: &std::path::Path, log: &std::path::Path, exit: Exit) {
        let pid = std::fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok());
        let _ = std::fs::remove_file(pid_file);
        let (0, Some(pid)) = (exit.code, pid) else {
            let text = container::error_text(log, "");
            return self
                .reply(Some(at), &Reply { error: Some(text), exit: Some(exit), ..Default::default() });
        };
        let early = self.strays.remove(&pid);
        match self.conns.get_mut(&at) {
            Some(conn) => {
                conn.kind = Kind::Exec { pid: Some(pid) };
                conn.reply(&Reply { pid: Some(pid), ..Default::default() });
            }
            None => kill_tree(pid), // the client went away meanwhile
        }
        self.children.insert(pid, Role::Exec { conn: at });
        if let Some(exit) = early {
            self.child_ended(pid, exit);
        }
    }

    fn exec_ended(&mut self, at: usize, exit: Exit) {
        if let Some(conn) = self.conns.get_mut(&at) {
            conn.kind = Kind::Exec { pid: None };
        }
        self.reply(Some(at), &Reply { exit: Some(exit), ..Default::default() });
    }

    fn reply(&mut self, at: Option<usize>, reply: &Reply) {
        if let Some(conn) = at.and_then(|at| self.conns.get_mut(&at)) {
            conn.reply(reply);
            conn.send();
        }
    }

    fn tell(&mut self, id: Option<String>, exit: Exit) {
        let event = Reply { id, exit: Some(exit), ..Default::default() };
        for conn in self.conns.values_mut().filter(|conn| conn.kind == Kind::Watch) {
            conn.reply(&event);
            conn.send();
        }
    }

    fn output_ready(&mut self, id: &str, stream: Stream) {
        // A few pieces per turn, so that one loud container does not silence the rest.
        for _ in 0..4 {
            if !self.pump(id, stream) {
                break;
            }
        }
    }

    /// Moves one piece of output to the log and to the attached clients; false when there is none.
    fn pump(&mut self, id: &str, stream: Stream) -> bool {
        let mut buffer = [0_u8; 16 << 10];
        let Some(container) = self.containers.get_mut(id) else { return false };
        let Some(got @ 1..) = container.read(stream, &mut buffer) else { return false };
        let kind = if stream == Stream::Out { frame::STDOUT } else { frame::STDERR };
        for conn in self.conns.values_mut() {
            if let Kind::Attach { id: of, stdout, stderr, .. } = &conn.kind
                && of == id
                && (if stream == Stream::Out { *stdout } else { *stderr })
            {
                conn.output.extend(encode_frame(kind, &buffer[..got]));
                conn.send();
            }
        }
        true
    }

    fn conn_ready(&mut self, at: usize) {
        let Some(mut conn) = self.conns.remove(&at) else { return };
        let alive = conn.receive() && conn.send();
        self.conns.insert(at, conn);
        if !alive {
            return self.drop_conn(at);
        }
        while let Some(conn) = self.conns.get_mut(&at) {
            if matches!(conn.kind, Kind::Attach { .. }) {
                return self.frames(at);
            }
            let Some(line) = conn.line() else { return };
            let result = match serde_json::from_slice::<Request>(&line) {
                Ok(request) => self.request(at, request),
                Err(error) => Err(Error::internal(format!("unreadable request: {error}"))),
            };
            if let Err(error) = result {
                self.reply(Some(at), &Reply { error: Some(error.message), ..Default::default() });
            }
        }
    }

    fn request(&mut self, at: usize, request: Request) -> Result<()> {
        match request {
            Request::Create(request) => return self.create(at, request),
            Request::Exec { argv, pid_file } => return self.exec(at, &argv, pid_file),
            Request::Attach { id, stdout, stderr, stdin } => {
                let running = self.containers.get(&id).is_some_and(|c| c.pid.is_some() && c.exit.is_none());
                if !running {
                    return Err(Error::precondition("the container is not running"));
                }
                if let Some(conn) = self.conns.get_mut(&at) {
                    conn.kind = Kind::Attach { id, stdout, stderr, stdin };
                }
            }
            Request::Reopen { id } => {
                self.containers
                    .get_mut(&id)
                    .ok_or_else(|| Error::not_found("no such container"))?
                    .log
                    .reopen()?;
            }
            Request::Watch => {
                if let Some(conn) = self.conns.get_mut(&at) {
                    conn.kind = Kind::Watch;
                }
            }
            Request::Forget { id } => {
                self.containers.remove(&id);
            }
            Request::StopPause => {
                if let Some(pid) = self.pause.and_then(Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            Request::Quit => self.quit = true,
        }
        self.reply(Some(at), &Reply::default());
        Ok(())
    }

    fn create(&mut self, at: usize, request: CreateRequest) -> Result<()> {
        let id = request.id.clone();
        let (container, pid) = Container::create(request, at)?;
        self.containers.insert(id.clone(), container);
        self.children.insert(pid, Role::Creating(id));
        Ok(())
    }

    fn exec(&mut self, at: usize, argv: &[String], pid_file: PathBuf) -> Result<()> {
        let conn = self.conns.get_mut(&at).ok_or_else(|| Error::internal("no connection"))?;
        if conn.descriptors.len() != 3 {
            return Err(Error::internal("three descriptors must come with an exec"));
        }
        let mut stdio = std::mem::take(&mut conn.descriptors).into_iter().map(Stdio::from);
        let mut next = || stdio.next().unwrap_or_else(Stdio::null);
        let mut command = Command::new(argv.first().ok_or_else(|| Error::internal("empty command line"))?);
        command.args(&argv[1..]).stdin(next()).stdout(next()).stderr(next());
        sys::with_clear_signals(&mut command);
        let child = command.spawn().doing(format_args!("starting {}", argv[0]))?;
        conn.kind = Kind::Exec { pid: None };
        let log = pid_file.with_extension("log");
        self.children.insert(child.id() as i32, Role::ExecStarting { conn: at, pid_file, log });
        Ok(())
    }

    fn frames(&mut self, at: usize) {
        loop {
            let Some(conn) = self.conns.get_mut(&at) else { return };
            let Kind::Attach { id, stdin, .. } = conn.kind.clone() else { return };
            let Ok(next) = decode_frame(&mut conn.input) else { return self.drop_conn(at) };
            let (Some((kind, data)), Some(container)) = (next, self.containers.get_mut(&id)) else { return };
            match kind {
                frame::STDIN if stdin => container.give_input(&data),
                frame::STDIN_EOF if stdin && container.request.stdin_once => container.end_input(),
                frame::RESIZE => {
                    if let [a, b, c, d] = data[..] {
                        container.resize(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                    }
                }
                _ => {}
            }
        }
    }

    fn drop_conn(&mut self, at: usize) {
        let Some(conn) = self.conns.remove(&at) else { return };
        match conn.kind {
            Kind::Exec { pid: Some(pid) } => kill_tree(pid),
            Kind::Attach { id, stdin: true, .. } => {
                if let Some(container) = self.containers.get_mut(&id)
                    && container.request.stdin_once
                {
                    container.end_input();
                }
            }
            _ => {}
        }
    }
}

fn dead(conn: &Conn) -> bool {
    let stalled = conn.stalled.is_some_and(|since| now_ns() - since > STALL_LIMIT.as_nanos() as i64);
    stalled || (conn.closing && conn.output.is_empty())
}

/// Kills a process, its session and its descendants: an exec'd command may have forked.
fn kill_tree(root: i32) {
    let mut all: Vec<(i32, i32, i32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<i32> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .take(3)
            .filter_map(|f| f.parse().ok())
            .collect();
        if let [parent, _, session] = fields[..] {
            all.push((pid, parent, session));
        }
    }
    let mut doomed = vec![root];
    let mut at = 0;
    while at < doomed.len() {
        let parent = doomed[at];
        for (pid, _, _) in all.iter().filter(|(_, ppid, session)| *ppid == parent || *session == root) {
            if !doomed.contains(pid) {
                doomed.push(*pid);
            }
        }
        at += 1;
    }
    for pid in doomed.into_iter().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}
