//! A connection to a service manager: its private socket, or a bus.

use super::wire::{self, Kind, Message, Method, Writer};
use crate::bail;
use crate::error::{Context, Error, Result};
use rustix::net::SocketType;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for an answer or the end of a job.
const DEADLINE: Duration = Duration::from_secs(20);

const MANAGER: Method<'static> = Method {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    name: "",
};

/// An open connection to a service manager.
pub struct Bus {
    stream: File,
    serial: u32,
    signals: VecDeque<Message>,
}

/// The sockets at which a service manager may answer, the direct ones first, and whether each is a bus.
pub fn places(user: bool) -> Vec<(PathBuf, bool)> {
    if !user {
        return vec![("/run/systemd/private".into(), false), ("/run/dbus/system_bus_socket".into(), true)];
    }
    let mut all = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map_or_else(|| format!("/run/user/{}", rustix::process::geteuid().as_raw()).into(), PathBuf::from);
    all.push((runtime.join("systemd/private"), false));
    all.push((runtime.join("bus"), true));
    all
}

impl Bus {
    /// Connects to the system's service manager, or to that of the calling user.
    pub fn open(user: bool) -> Result<Self> {
        let places = places(user);
        let mut said = Vec::new();
        for (path, is_bus) in &places {
            match Self::at(path, *is_bus) {
                Ok(bus) => return Ok(bus),
                Err(e) => said.push(format!("{}: {e}", path.display())),
            }
        }
        bail!("no systemd answers on this host ({}); use cgroupfs", said.join("; "))
    }

    fn at(path: &Path, is_bus: bool) -> Result<Self> {
        let socket = crate::socket::connect(path, SocketType::STREAM)?;
        for which in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, which, Some(DEADLINE))?;
        }
        let mut bus = Self { stream: socket.into(), serial: 0, signals: VecDeque::new() };
        bus.authenticate()?;
        if is_bus {
            let daemon = Method {
                service: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                name: "Hello",
            };
            bus.call(daemon, &Writer::default())?;
            let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            bus.call(Method { name: "AddMatch", ..daemon }, &Writer::default().text(rule))?;
        }
        bus.manager("Subscribe", &Writer::default())?;
        Ok(bus)
    }

    /// SASL EXTERNAL: the kernel tells the other side who we are.
    fn authenticate(&mut self) -> Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let mut greeting = String::from("\0AUTH EXTERNAL ");
        for byte in uid.bytes() {
            let _ = write!(greeting, "{byte:02x}");
        }
        // Everything at once: systemd does not look at a message that comes together with the last line.
        self.stream.write_all((greeting + "\r\nBEGIN\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            if line.len() > 512 || self.stream.read(&mut byte)? == 0 {
                bail!("the bus ended the greeting");
            }
            line.push(byte[0]);
        }
        if !line.starts_with(b"OK ") {
            bail!("the bus refuses us: {}", String::from_utf8_lossy(&line).trim());
        }
        Ok(())
    }

    /// Calls a method of the manager.
    pub fn manager(&mut self, name: &str, body: &Writer) -> Result<Message> {
        self.call(Method { name, ..MANAGER }, body).with_context(|| format!("systemd: {name}"))
    }

    /// A property of the manager that is a text.
    pub fn property(&mut self, name: &str) -> Result<String> {
        let method = Method { interface: "org.freedesktop.DBus.Properties", name: "Get", ..MANAGER };
        let body = Writer::default().text(MANAGER.interface).text(name);
        let answer = self.call(method, &body).with_context(|| format!("systemd: property {name}"))?;
        answer.texts()?.into_iter().next().ok_or_else(|| Error::new(format!("systemd: no property {name}")))
    }

    fn call(&mut self, method: Method<'_>, body: &Writer) -> Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&wire::call(serial, method, body)).map_err(late)?;
        let end = Instant::now() + DEADLINE;
        loop {
            let message = self.read(end)?;
            match message.kind {
                Kind::Return(to) if to == serial => return Ok(message),
                Kind::Error(to) if to == serial => {
                    bail!("{} ({})", message.texts()?.join(" "), message.error)
                }
                Kind::Other if message.member == "JobRemoved" => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job that a call has answered with.
    pub fn finish(&mut self, job: &Message) -> Result<()> {
        let job = job.texts()?.into_iter().next().unwrap_or_default();
        let end = Instant::now() + DEADLINE;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None => self.read(end).context("waiting for systemd's job")?,
            };
            if signal.member != "JobRemoved" {
                continue;
            }
            // The job's number, its path, the unit, the result.
            match signal.texts()?.as_slice() {
                [path, _, result] if *path == job && result == "done" => return Ok(()),
                [path, unit, result] if *path == job => bail!("systemd: {unit}: the job ended as {result:?}"),
                _ => {}
            }
        }
    }

    fn read(&mut self, end: Instant) -> Result<Message> {
        if Instant::now() > end {
            bail!("no answer within {DEADLINE:?}");
        }
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).map_err(late)?;
        let mut rest = vec![0; wire::rest_length(&head)?];
        self.stream.read_exact(&mut rest).map_err(late)?;
        Message::parse(&head, &rest)
    }
}

/// A socket's deadline shows as "try again", which tells a reader nothing.
fn late(e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::WouldBlock => Error::new(format!("no answer within {DEADLINE:?}")),
        std::io::ErrorKind::UnexpectedEof => Error::new("the bus closed the connection"),
        _ => e.into(),
    }
}
