//! `plimsoll vm` and `plimsoll node`: other places to run in.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `plimsoll vm ...`.
#[derive(Debug, Clone, Subcommand)]
pub enum VmVerb {
    /// Build an image from Debian packages, with apt-get and dpkg-deb; nothing is installed.
    Build(VmBuildArgs),
    /// Boot, run one command of this program in the guest, bring its results to --out, power off.
    Run(Box<VmRunArgs>),
}

/// `plimsoll vm build`.
#[derive(Debug, Clone, Args)]
pub struct VmBuildArgs {
    /// Directory for the image; kept when it holds what is asked for.
    pub dir: PathBuf,
    /// A further package: NAME, NAME=VERSION or NAME/SUITE; repeat for more.
    #[arg(long)]
    pub package: Vec<String>,
    /// Suite that packages are taken from.
    #[arg(long)]
    pub suite: Option<String>,
    /// Package of the kernel: linux-image-cloud-amd64 when absent.
    #[arg(long)]
    pub kernel_package: Option<String>,
    /// Suite of the kernel; backports where apt knows them, when absent.
    #[arg(long)]
    pub kernel_suite: Option<String>,
    /// Build again even if it is there.
    #[arg(long)]
    pub fresh: bool,
}

/// How a guest is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accelerate {
    /// KVM when it boots the guest within seconds, otherwise emulation.
    Auto,
    /// KVM only.
    Kvm,
    /// Emulation only.
    Tcg,
}

/// How cgroups are mounted in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cgroups {
    /// Version 2 only, with every controller.
    V2,
    /// Version 1 only.
    V1,
    /// Version 1, and version 2 with what is left.
    Hybrid,
}

/// `plimsoll vm run`.
#[derive(Debug, Clone, Args)]
pub struct VmRunArgs {
    /// Image that `plimsoll vm build` made.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_VM_IMAGE", conflicts_with_all = ["kernel", "rootfs"])]
    pub image: Option<PathBuf>,
    /// A kernel.
    #[arg(long, value_name = "FILE", requires = "rootfs")]
    pub kernel: Option<PathBuf>,
    /// A root file system: a directory, or a cpio archive.
    #[arg(long, value_name = "PATH", requires = "kernel")]
    pub rootfs: Option<PathBuf>,
    /// Memory in MiB.
    #[arg(long, default_value_t = 2048)]
    pub memory: u32,
    /// Processors; as many as here when absent.
    #[arg(long)]
    pub cpus: Option<u32>,
    /// Longest time for the command, in seconds.
    #[arg(long, default_value_t = 900)]
    pub timeout: u64,
    /// How the guest is executed.
    #[arg(long, default_value = "auto")]
    pub accel: Accelerate,
    /// How cgroups are mounted in the guest.
    #[arg(long, default_value = "v2")]
    pub cgroups: Cgroups,
    /// Name of the guest in reports.
    #[arg(long, default_value = "vm", value_parser = host_name)]
    pub name: String,
    /// A file for the guest: FILE, which becomes /plimsoll/files/NAME there, or FILE=/PATH; repeat for more.
    #[arg(long, value_name = "FILE[=PATH]")]
    pub copy: Vec<String>,
    /// A variable for the command: NAME=VALUE; repeat for more.
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// More words for the kernel's command line.
    #[arg(long, default_value = "")]
    pub append: String,
    /// The emulator; qemu-system-x86_64 on the search path when absent.
    #[arg(long, value_name = "FILE")]
    pub qemu: Option<PathBuf>,
    /// Write the guest's console to this file.
    #[arg(long, value_name = "FILE")]
    pub console: Option<PathBuf>,
    /// The command of this program, as in `-- run -t runc -P must`.
    #[arg(last = true, required = true)]
    pub arguments: Vec<String>,
}

/// What Linux takes as a host's name, and reports as a part of a column's name.
fn host_name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if text.is_empty() || text.len() > 63 || !text.chars().all(fine) {
        return Err("a name holds letters, digits, `-` and `.`, 63 at the most".into());
    }
    Ok(text.to_owned())
}

/// `plimsoll node`.
#[derive(Debug, Clone, Args)]
pub struct NodeArgs {
    /// Directory of the node that is mounted here under the same path: for this program, its work and its results.
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/plimsoll-node")]
    pub shared: PathBuf,
    /// Longest time for the command, in seconds.
    #[arg(long, default_value_t = 3600)]
    pub timeout: u64,
    /// Be a plugin of Sonobuoy: pack the results into its results directory, and write the `done` file.
    #[arg(long)]
    pub sonobuoy: bool,
    /// Results directory of Sonobuoy.
    #[arg(long, value_name = "DIR", env = "SONOBUOY_RESULTS_DIR", default_value = "/tmp/sonobuoy/results")]
    pub results: PathBuf,
    /// Do not enter the node's namespaces: run in this container's own.
    #[arg(long)]
    pub here: bool,
    /// Stay until SIGTERM when all is done, because a `DaemonSet` starts again what ends.
    #[arg(long)]
    pub stay: bool,
    /// The command of this program, as in `-- run -t runc -P must`.
    #[arg(last = true, required = true)]
    pub arguments: Vec<String>,
}
