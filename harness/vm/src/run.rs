//! One machine from boot to power-off, with a deadline on every phase.

use crate::VmError;
use crate::frame::{Decoder, Frame};
use crate::image::{Copied, Image};
use crate::job::Job;
use crate::qemu::{Accelerator, Machine, Running};
use crate::receive::Archive;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// How to execute the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// KVM when it boots a guest in time, otherwise emulation.
    Auto,
    /// This one.
    Only(Accelerator),
}

/// What to boot, how, and where its results go.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is booted.
    pub image: Image,
    /// The emulator.
    pub qemu: PathBuf,
    /// How to execute.
    pub wanted: Wanted,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// More words for the kernel's command line.
    pub append: String,
    /// Files for the guest.
    pub copies: Vec<Copied>,
    /// The guest's job.
    pub job: Job,
    /// The executable that goes into the guest: this one.
    pub program: PathBuf,
    /// Where the results go.
    pub out: PathBuf,
    /// Where the console is written to as well.
    pub console: Option<PathBuf>,
    /// How long each phase may last.
    pub deadlines: Deadlines,
}

/// How long each phase of a machine may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From start to greeting with KVM, which boots in a second or two, or not at all.
    pub boot_kvm: Duration,
    /// From start to greeting with emulation, on a busy host.
    pub boot_tcg: Duration,
    /// Longest silence: a guest says something every two seconds, but emulation on a busy host stalls.
    pub silence: Duration,
    /// After the command's own deadline: it is asked to end, killed, and the results are sent.
    pub after: Duration,
    /// From the last frame to the end of the emulator.
    pub power_off: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            boot_kvm: seconds(12),
            boot_tcg: seconds(240),
            silence: seconds(180),
            after: seconds(180),
            power_off: seconds(60),
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Exit code of the command.
    pub code: u8,
    /// How the guest was executed.
    pub accelerator: Accelerator,
    /// From the start of the emulator to the first message.
    pub boot: Duration,
    /// From the first message to the end of the results.
    pub work: Duration,
    /// Until the emulator had ended by itself.
    pub off: Duration,
}

/// What a caller sees of the guest while it runs.
pub trait Watcher {
    /// Bytes of the command's standard output.
    fn stdout(&mut self, bytes: &[u8]);
    /// Bytes of the command's standard error.
    fn stderr(&mut self, bytes: &[u8]);
    /// What the guest or the host has to say about the machine.
    fn note(&mut self, text: &str);
}

/// What is kept of the console.
const CONSOLE: usize = 4000;
/// The console is written to a file up to this length.
const CONSOLE_FILE: u64 = 64 << 20;

/// Boots, runs the job, brings the results, and ends with the machine gone.
pub fn run(options: &Options, watcher: &mut dyn Watcher) -> Result<Report, VmError> {
    let initramfs = options.image.initramfs(&options.program, &options.job, &options.copies)?;
    let usable = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let order = match options.wanted {
        Wanted::Only(one) => vec![one],
        Wanted::Auto if usable => vec![Accelerator::Kvm, Accelerator::Tcg],
        Wanted::Auto => vec![Accelerator::Tcg],
    };
    let console = match &options.console {
        Some(path) => Some(File::create(path).map_err(VmError::file("write", path))?),
        None => None,
    };
    let last = order.len() - 1;
    for (i, accelerator) in order.into_iter().enumerate() {
        let mut machine = Session::start(options, accelerator, &initramfs, console.as_ref())?;
        let limit = match accelerator {
            Accelerator::Kvm => options.deadlines.boot_kvm,
            Accelerator::Tcg => options.deadlines.boot_tcg,
        };
        match machine.boot(limit, watcher) {
            Ok(()) => return machine.work(watcher),
            Err(e) if i < last => {
                let reason: String = e.to_string().replace('\n', " ").chars().take(300).collect();
                watcher.note(&format!("{} does not work here ({reason}): emulation", accelerator.word()));
                machine.end()?;
            }
            Err(e) => return Err(e),
        }
    }
    Err(VmError::Usage("no way to execute a guest".into()))
}

enum Input {
    Channel(Vec<u8>),
    Console(Vec<u8>),
}

struct Session<'a> {
    options: &'a Options,
    accelerator: Accelerator,
    running: Running,
    input: Receiver<Input>,
    decoder: Decoder,
    console: Vec<u8>,
    console_file: Option<(File, u64)>,
    started: Instant,
    booted: Instant,
    archive: Archive,
}

impl<'a> Session<'a> {
    fn start(
        options: &'a Options,
        accelerator: Accelerator,
        initramfs: &File,
        console: Option<&File>,
    ) -> Result<Self, VmError> {
        let machine = Machine {
            qemu: &options.qemu,
            accelerator,
            cpus: options.cpus,
            memory: options.memory,
            kernel: &options.image.kernel,
            initramfs,
            append: &options.append,
        };
        let archive = Archive::new(options.job.largest)?;
        let console_file = match console.map(File::try_clone).transpose() {
            Ok(file) => file.map(|f| (f, CONSOLE_FILE)),
            Err(e) => return Err(VmError::file("write", Path::new("the console's file"))(e)),
        };
        let mut running = machine.start()?;
        // Few and small: a guest that writes more than is read waits.
        let (sender, input) = mpsc::sync_channel(64);
        if let Some(channel) = running.child.stdout.take() {
            pump(channel, sender.clone(), Input::Channel);
        }
        if let Some(console) = running.child.stderr.take() {
            pump(console, sender, Input::Console);
        }
        let now = Instant::now();
        let (decoder, console) = (Decoder::default(), Vec::new());
        Ok(Self {
            options,
            accelerator,
            running,
            input,
            decoder,
            console,
            console_file,
            started: now,
            booted: now,
            archive,
        })
    }

    /// Waits for the first message.
    fn boot(&mut self, limit: Duration, watcher: &mut dyn Watcher) -> Result<(), VmError> {
        let end = self.started + limit;
        match self.next(end)? {
            Some(Frame::Hello(kernel)) => {
                self.booted = Instant::now();
                let seconds = self.started.elapsed().as_secs_f64();
                watcher.note(&format!(
                    "guest: Linux {kernel}, {}, up in {seconds:.1} s",
                    self.accelerator.word()
                ));
                Ok(())
            }
            Some(_) => Err(VmError::Channel("the guest does not begin with its greeting".into())),
            None => Err(self.fail(format!("no sign of the guest within {} s", limit.as_secs()))),
        }
    }

    /// From the first message to the end of the emulator.
    fn work(mut self, watcher: &mut dyn Watcher) -> Result<Report, VmError> {
        let limits = self.options.deadlines;
        let limit = Duration::from_secs(self.options.job.seconds) + limits.after;
        let end = self.booted + limit;
        let code = loop {
            let quiet = Instant::now() + limits.silence;
            match self.next(end.min(quiet))? {
                Some(Frame::Hello(_)) => return Err(self.fail("the guest started again".into())),
                Some(Frame::Beat) => {}
                Some(Frame::Stdout(bytes)) => watcher.stdout(&bytes),
                Some(Frame::Stderr(bytes)) => watcher.stderr(&bytes),
                Some(Frame::Note(text)) => watcher.note(&format!("guest: {text}")),
                Some(Frame::Archive(bytes)) => self.archive.push(&bytes)?,
                Some(Frame::ArchiveEnd(length, digest)) => self.archive.complete(length, &digest)?,
                Some(Frame::Exit(code)) => break code,
                None if Instant::now() >= end => {
                    return Err(self.fail(format!("the guest did not end within {} s", limit.as_secs())));
                }
                None => {
                    return Err(
                        self.fail(format!("the guest said nothing for {} s", limits.silence.as_secs()))
                    );
                }
            }
        };
        let worked = Instant::now();
        if !self.running.wait(limits.power_off) {
            watcher.note(&format!(
                "the guest does not switch off within {} s: ended",
                limits.power_off.as_secs()
            ));
        }
        let (boot, work) = (self.booted - self.started, worked - self.booted);
        let (accelerator, out) = (self.accelerator, self.options.out.clone());
        let archive = self.end()?;
        archive.unpack(&out)?;
        Ok(Report { code, accelerator, boot, work, off: worked.elapsed() })
    }

    /// Kills the emulator when it still runs.
    fn end(mut self) -> Result<Archive, VmError> {
        match self.running.kill() {
            Ok(()) => Ok(self.archive),
            Err(pid) => Err(VmError::Machine {
                what: format!("the emulator, process {pid}, cannot be killed"),
                console: self.tail(),
            }),
        }
    }

    /// The next frame; `None` when the time is over.
    fn next(&mut self, end: Instant) -> Result<Option<Frame>, VmError> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(VmError::Channel)? {
                return Ok(Some(frame));
            }
            match self.input.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Input::Channel(bytes)) => self.decoder.push(&bytes),
                Ok(Input::Console(bytes)) => self.keep(&bytes),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.fail("the emulator ended before the guest had ended its work".into()));
                }
            }
            if Instant::now() >= end {
                return Ok(None);
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some((file, left)) = &mut self.console_file {
            let part = &bytes[..bytes.len().min(*left as usize)];
            *left -= part.len() as u64;
            let _ = file.write_all(part);
        }
        self.console.extend_from_slice(bytes);
        let over = self.console.len().saturating_sub(CONSOLE);
        self.console.drain(..over);
    }

    fn fail(&self, what: String) -> VmError {
        VmError::Machine { what, console: self.tail() }
    }

    /// The last lines of the console, with what could move the cursor of a terminal taken out.
    fn tail(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.console)
            .chars()
            .filter(|c| *c == '\n' || !c.is_control())
            .collect();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Reads until the end in a thread of its own; it ends with the emulator.
fn pump(mut from: impl Read + Send + 'static, to: SyncSender<Input>, wrap: fn(Vec<u8>) -> Input) {
    thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if to.send(wrap(buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// The path of an executable that goes into the guest.
pub fn own_program() -> Result<PathBuf, VmError> {
    std::env::current_exe().map_err(VmError::file("find", Path::new("/proc/self/exe")))
}
