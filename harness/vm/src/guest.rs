//! Process 1 of the guest: makes it a system, runs the job, sends the results, switches the machine off.

use crate::frame::Frame;
use crate::job::{INIT, JOB_FILE, Job, OUT, PLACE, PROGRAM, WORK};
use crate::root;
use flate2::Compression;
use flate2::write::GzEncoder;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{SetArg, cfmakeraw, tcdrain, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The serial line to the host.
const LINE: &str = "/dev/ttyS1";
/// Exit code when the guest itself fails: trouble.
const TROUBLE: u8 = 3;
/// Time between asking the command to end and killing it.
const GRACE: Duration = Duration::from_secs(20);

/// Whether this process is process 1 of such a guest.
pub fn is_guest(program: &Path) -> bool {
    std::process::id() == 1 && program.file_name().is_some_and(|n| n == INIT)
}

/// Runs as process 1; does not come back, but for a failure to switch off.
pub fn main(again: bool) {
    if again {
        second();
    } else {
        first();
    }
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

/// In the initramfs: leave it, and start again from the new root.
fn first() {
    let result = root::move_to_tmpfs().and_then(|()| {
        let program = format!("/{PLACE}/{INIT}");
        Err(std::os::unix::process::CommandExt::exec(Command::new(program).arg("again")))
    });
    if let Err::<(), _>(e) = result {
        console(&format!("plimsoll: cannot leave the initramfs: {e}"));
    }
}

/// In the root file system.
fn second() {
    let job = match prepare() {
        Ok(job) => job,
        Err(e) => return console(&format!("plimsoll: cannot set the guest up: {e}")),
    };
    let line = match open_line() {
        Ok(file) => Line(Arc::new(Mutex::new(file))),
        Err(e) => return console(&format!("plimsoll: cannot open {LINE}: {e}")),
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    line.send(&Frame::Hello(kernel.trim().to_owned()));
    {
        let line = line.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(2));
                line.send(&Frame::Beat);
            }
        });
    }
    load_modules(&job, &line);
    let code = work(&job, &line).unwrap_or_else(|e| {
        line.send(&Frame::Note(format!("the command could not be run: {e}")));
        TROUBLE
    });
    let code = match send_results(&job, &line) {
        Ok(()) => code,
        Err(e) => {
            line.send(&Frame::Note(format!("the results could not be sent: {e}")));
            TROUBLE
        }
    };
    line.send(&Frame::Exit(code));
    line.drain();
}

/// Writes to the kernel's console, where the host finds what happened when the channel says nothing.
fn console(text: &str) {
    for path in ["/dev/kmsg", "/dev/console"] {
        if let Ok(mut file) = OpenOptions::new().write(true).open(path)
            && writeln!(file, "{text}").is_ok()
        {
            return;
        }
    }
}

fn prepare() -> io::Result<Job> {
    let text = fs::read_to_string(Path::new("/").join(PLACE).join(JOB_FILE))?;
    let job: Job = serde_json::from_str(&text)?;
    root::mount_all(job.cgroups)?;
    nix::unistd::sethostname(&job.hostname)?;
    for dir in [OUT, WORK, "/var/lib", "/root"] {
        fs::create_dir_all(dir)?;
    }
    Ok(job)
}

fn open_line() -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(LINE)?;
    let mut settings = tcgetattr(&file)?;
    cfmakeraw(&mut settings);
    tcsetattr(&file, SetArg::TCSANOW, &settings)?;
    Ok(file)
}

/// The sending side; frames of several threads do not mix.
#[derive(Clone)]
struct Line(Arc<Mutex<File>>);

impl Line {
    fn send(&self, frame: &Frame) {
        let mut bytes = Vec::new();
        if frame.write(&mut bytes).is_ok()
            && let Ok(mut file) = self.0.lock()
            && let Err(e) = file.write_all(&bytes)
        {
            console(&format!("plimsoll: cannot write to {LINE}: {e}"));
        }
    }

    fn drain(&self) {
        if let Ok(file) = self.0.lock() {
            let _ = tcdrain(&*file);
        }
    }
}

fn load_modules(job: &Job, line: &Line) {
    for name in &job.modules {
        let result = Command::new("/sbin/modprobe").arg("-q").arg(name).stdin(Stdio::null()).output();
        if let Err(e) = result {
            // Without modprobe there are no modules: the kernel has what it needs built in, or lacks it.
            line.send(&Frame::Note(format!("no kernel module is loaded: /sbin/modprobe: {e}")));
            return;
        }
    }
    // The loopback interface of a new machine is down. Programs listen on it.
    let _ = Command::new("/sbin/ip").args(["link", "set", "lo", "up"]).stdin(Stdio::null()).output();
}

/// Runs the command and reaps everything; gives its exit code.
fn work(job: &Job, line: &Line) -> io::Result<u8> {
    let program = format!("/{PLACE}/{PROGRAM}");
    let mut child = Command::new(program)
        .args(&job.arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("PLIMSOLL_OUT", OUT)
        .env("PLIMSOLL_WORK_DIR", WORK)
        .envs(&job.environment)
        .current_dir("/root")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let readers = [
        child.stdout.take().map(|out| forward(out, line.clone(), Frame::Stdout)),
        child.stderr.take().map(|err| forward(err, line.clone(), Frame::Stderr)),
    ];
    let pid = Pid::from_raw(child.id() as i32);
    let code = reap_until(pid, job, line)?;
    // What the command left behind may hold its output open: it gets a moment, then the machine ends anyway.
    let end = Instant::now() + Duration::from_secs(5);
    for reader in readers.into_iter().flatten() {
        while !reader.is_finished() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(code)
}

fn forward(
    mut from: impl Read + Send + 'static,
    line: Line,
    frame: fn(Vec<u8>) -> Frame,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            line.send(&frame(buffer[..n].to_vec()));
        }
    })
}

/// Reaps children until `main` has ended: process 1 inherits every orphan. Meanwhile a thread watches the time.
fn reap_until(main: Pid, job: &Job, line: &Line) -> io::Result<u8> {
    let ended = Arc::new(AtomicBool::new(false));
    watch(main, Duration::from_secs(job.seconds), line.clone(), Arc::clone(&ended));
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => {
                ended.store(true, Ordering::SeqCst);
                return Ok(code as u8);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                ended.store(true, Ordering::SeqCst);
                line.send(&Frame::Note(format!("the command was ended by {signal}")));
                return Ok(128 + signal as i32 as u8);
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn watch(main: Pid, limit: Duration, line: Line, ended: Arc<AtomicBool>) {
    thread::spawn(move || {
        for (time, signal) in [(limit, Signal::SIGTERM), (GRACE, Signal::SIGKILL)] {
            thread::sleep(time);
            if ended.load(Ordering::SeqCst) {
                return;
            }
            line.send(&Frame::Note(format!("its time is over: the command gets {signal}")));
            let _ = kill(main, signal);
        }
    });
}

/// Sends the directory of results as an archive.
fn send_results(job: &Job, line: &Line) -> io::Result<()> {
    let sink =
        Sink { line: line.clone(), digest: Sha256::new(), sent: 0, largest: job.largest, buffer: Vec::new() };
    let mut archive = tar::Builder::new(GzEncoder::new(sink, Compression::new(4)));
    archive.follow_symlinks(false);
    archive.append_dir_all("", OUT)?;
    let mut sink = archive.into_inner()?.finish()?;
    sink.flush()?;
    let digest = crate::hex(&sink.digest.finalize());
    line.send(&Frame::ArchiveEnd(sink.sent, digest));
    Ok(())
}

struct Sink {
    line: Line,
    digest: Sha256,
    sent: u64,
    largest: u64,
    buffer: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 16 * 1024 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        for chunk in std::mem::take(&mut self.buffer).chunks(16 * 1024) {
            self.sent += chunk.len() as u64;
            if self.sent > self.largest {
                return Err(io::Error::other(format!("they are larger than {} bytes", self.largest)));
            }
            self.digest.update(chunk);
            self.line.send(&Frame::Archive(chunk.to_vec()));
        }
        Ok(())
    }
}
