//! The emulator: its command line and its life.

use crate::VmError;
use crate::sys;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the processor, through `/dev/kvm`.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accelerator {
    /// The word of qemu and of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// A machine to boot.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The emulator's executable.
    pub qemu: &'a Path,
    /// How to execute.
    pub accelerator: Accelerator,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The kernel.
    pub kernel: &'a Path,
    /// The initramfs; may have no name.
    pub initramfs: &'a File,
    /// More words for the kernel's command line.
    pub append: &'a str,
}

/// What the kernel of an emulated guest does without, because it costs more there than it is worth. A guest lives for
/// minutes and runs only what its user gave it, so it needs no hardening.
const EMULATED: &[&str] = &[
    // Emulated processors do not run in step; the watchdog of clocks would take that for a bad time-stamp counter, and
    // every look at the clock would go to an emulated device.
    "tsc=reliable",
    // Every start of a program would fill pages of 2 MiB, and whatever is allocated would be filled twice.
    "transparent_hugepage=never",
    "init_on_alloc=0",
    "hardened_usercopy=off",
    "randomize_kstack_offset=off",
    "audit=0",
];

impl Machine<'_> {
    /// The emulator's arguments.
    pub fn arguments(&self) -> Vec<String> {
        let accelerator = match self.accelerator {
            Accelerator::Kvm => "kvm".to_owned(),
            Accelerator::Tcg => "tcg,thread=multi".to_owned(),
        };
        // Five levels of page tables only make emulation slower; and string instructions are emulated byte by byte: a
        // kernel that is told that they are fast spends a third of the time on empty pages.
        let cpu =
            if self.accelerator == Accelerator::Kvm { "host" } else { "max,la57=off,erms=off,fsrm=off" };
        let init = format!("/{}/{}", crate::job::PLACE, crate::job::INIT);
        // A guest that lives for minutes and runs only what its user gave it needs no mitigations.
        let mut append = format!("console=ttyS0 rdinit={init} panic=-1 loglevel=4 mitigations=off nokaslr");
        let own = if self.accelerator == Accelerator::Tcg { EMULATED } else { &[] };
        // The user's words come last: of two that contradict each other the kernel takes the later.
        for word in own.iter().copied().chain([self.append]).filter(|w| !w.is_empty()) {
            append.push(' ');
            append.push_str(word);
        }
        let initramfs = format!("/proc/self/fd/{}", self.initramfs.as_raw_fd());
        [
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
            "-nic",
            "none",
            "-machine",
            "pc,usb=off,vmport=off,hpet=off",
            "-accel",
            &accelerator,
            "-cpu",
            cpu,
            "-smp",
            &self.cpus.to_string(),
            "-m",
            &format!("{}M", self.memory),
            "-kernel",
            &self.kernel.display().to_string(),
            "-initrd",
            &initramfs,
            "-append",
            &append,
            // The console on standard error, the channel on standard output.
            "-chardev",
            "file,id=console,path=/dev/stderr",
            "-serial",
            "chardev:console",
            "-chardev",
            "stdio,id=channel,signal=off",
            "-serial",
            "chardev:channel",
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Starts the emulator.
    pub fn start(&self) -> Result<Running, VmError> {
        let fail = |error: std::io::Error| VmError::Program {
            program: self.qemu.display().to_string(),
            why: format!("it does not start: {error}"),
        };
        let mut command = Command::new(self.qemu);
        command
            .args(self.arguments())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        sys::bind_to_parent(&mut command, &[self.initramfs.as_fd()]).map_err(fail)?;
        Ok(Running { child: command.spawn().map_err(fail)? })
    }
}

/// A running emulator; killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    /// The process; its output is the channel, its error output the console.
    pub child: Child,
}

impl Running {
    /// Waits for the end; whether it came in time.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }

    /// Kills the emulator by its pid.
    ///
    /// # Errors
    /// The pid, when it is still there ten seconds later: it hangs in the kernel.
    pub fn kill(&mut self) -> Result<(), u32> {
        let _ = self.child.kill();
        if self.wait(Duration::from_secs(10)) { Ok(()) } else { Err(self.child.id()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The emulator: the one that is named, or the one on the search path.
pub fn find(named: Option<&Path>) -> Result<PathBuf, VmError> {
    const NAME: &str = "qemu-system-x86_64";
    if let Some(path) = named {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            Err(VmError::Usage(format!("{} is no emulator", path.display())))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(NAME))
        .find(|p| p.is_file())
        .ok_or_else(|| VmError::Program { program: NAME.into(), why: "it is not on the search path".into() })
}
