//! The verbs around CRI endpoints: testbed and images.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `plimsoll testbed`.
#[derive(Debug, Clone, Subcommand)]
pub enum TestbedVerb {
    /// The containerd that is installed, with a handler for each OCI runtime that is, and for the bundled one.
    Containerd(ContainerdArgs),
}

/// `plimsoll testbed containerd`.
#[derive(Debug, Clone, Args)]
pub struct ContainerdArgs {
    /// Only this handler: runc, crun, runsc or plimsoll-oci. Repeat for more; the first is the default one.
    #[arg(long, value_name = "NAME")]
    pub handler: Vec<String>,
    /// containerd's executable; found on PATH when absent.
    #[arg(long, value_name = "PATH")]
    pub containerd: Option<PathBuf>,
    /// Where the CNI plugins are.
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/cni")]
    pub cni_bin: PathBuf,
    /// The command; its exit code becomes this program's. Without one the server stays up until Ctrl-C.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// `plimsoll images`.
#[derive(Debug, Clone, Subcommand)]
pub enum ImagesVerb {
    /// List them by name, with size and digest.
    List,
    /// Write them to a directory or a file, or write an image of this executable.
    Export(ExportArgs),
    /// Push them to a registry that speaks plain HTTP.
    Push(PushArgs),
}

/// Form of exported images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// An OCI image layout in a directory.
    Directory,
    /// A tar of an OCI image layout.
    OciArchive,
    /// A tar as `docker save` writes it.
    DockerArchive,
}

/// `plimsoll images export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// A directory that does not exist yet, or a file; or the word `self` for an image of this executable.
    pub dest: PathBuf,
    /// With `self`: the file, plimsoll-image.tar when absent.
    pub file: Option<PathBuf>,
    /// Only this image; repeat for more.
    #[arg(long, value_name = "NAME")]
    pub image: Vec<String>,
    /// Form; by the name of the destination when absent: oci-archive for *.tar, else directory.
    #[arg(long, value_name = "FORM")]
    pub layout: Option<Layout>,
    /// What stands before the names of the images.
    #[arg(long, default_value = "plimsoll.test")]
    pub prefix: String,
}

/// `plimsoll images push`.
#[derive(Debug, Clone, Args)]
pub struct PushArgs {
    /// HOST:PORT or HOST:PORT/PREFIX.
    pub registry: String,
    /// Only this image; repeat for more.
    #[arg(long, value_name = "NAME")]
    pub image: Vec<String>,
    /// File that holds USER:PASSWORD.
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
}
