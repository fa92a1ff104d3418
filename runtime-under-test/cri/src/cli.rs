//! The command line.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, NetworkMode, RuntimeConfig};
use crate::error::{Error, Result};
use crate::images::import::import;
use crate::images::store::ImageStore;
use crate::{monitor, net, server};

/// The reference CRI server: CRI v1 over any OCI runtime, on a unix socket.
#[derive(Parser)]
#[command(name = "plimsoll-cri", version, about)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Flags {
    /// Settings in TOML; flags win over it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// gRPC socket [default: /run/plimsoll-cri/cri.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Images and writable layers [default: /var/lib/plimsoll-cri]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// State of pods and containers [default: /run/plimsoll-cri/state]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// A handler and its OCI runtime binary; may be given several times
    #[arg(long, value_name = "NAME=PATH")]
    runtime: Vec<String>,
    /// Handler used when a request names none
    #[arg(long, value_name = "NAME")]
    default_runtime: Option<String>,
    /// Address of the streaming server [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDR:PORT")]
    stream_address: Option<SocketAddr>,
    /// Pod network: auto, cni or builtin
    #[arg(long, value_name = "MODE")]
    network: Option<String>,
    /// IPv4 range of the built-in network [default: 10.89.0.0/16]
    #[arg(long, value_name = "CIDR")]
    subnet: Option<String>,
    /// Bridge of the built-in network [default: plimsoll0]
    #[arg(long, value_name = "NAME")]
    bridge: Option<String>,
    /// CNI configuration files [default: /etc/cni/net.d]
    #[arg(long, value_name = "DIR")]
    cni_conf_dir: Option<PathBuf>,
    /// CNI plugins; may be given several times
    #[arg(long, value_name = "DIR")]
    cni_bin_dir: Vec<PathBuf>,
    /// Log lines as JSON
    #[arg(long)]
    log_json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the default)
    Serve,
    /// Look at or add to the image store
    Images {
        #[command(subcommand)]
        what: Images,
    },
    /// Print the version
    Version,
    /// Internal: supervise one pod
    #[command(hide = true)]
    Monitor,
    /// Internal: forward host ports of one pod
    #[command(hide = true)]
    PortProxy,
}

#[derive(Subcommand)]
enum Images {
    /// Import an OCI image layout (directory or tar) or a docker archive
    Import {
        /// Directory or archive
        source: PathBuf,
        /// Name for an image that the source does not name
        #[arg(long)]
        name: Option<String>,
    },
    /// List stored images
    List,
}

/// Runs the program; the exit code says how it went.
pub fn run(args: Vec<OsString>) -> u8 {
    let all = std::iter::once(OsString::from("plimsoll-cri")).chain(args);
    let cli = match Cli::try_parse_from(all) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    match act(cli) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "plimsoll-cri: {error}");
            if error.code == tonic::Code::InvalidArgument { 2 } else { 1 }
        }
    }
}

fn act(cli: Cli) -> Result<()> {
    match cli.command {
        // These two must stay small: no settings, no logging.
        Some(Command::Monitor) => monitor::main(),
        Some(Command::PortProxy) => net::portproxy::main(),
        Some(Command::Version) => say(&format!("plimsoll-cri {} (CRI v1)", env!("CARGO_PKG_VERSION"))),
        Some(Command::Images { what }) => images(&settings(&cli.flags)?, what),
        Some(Command::Serve) | None => {
            let mut config = settings(&cli.flags)?;
            config.complete()?;
            server::serve(config, cli.flags.log_json)
        }
    }
}

fn settings(flags: &Flags) -> Result<Config> {
    let mut config = Config::load(flags.config.as_deref())?;
    let set = |target: &mut PathBuf, value: &Option<PathBuf>| {
        if let Some(value) = value {
            target.clone_from(value);
        }
    };
    set(&mut config.socket, &flags.socket);
    set(&mut config.root, &flags.root);
    set(&mut config.state, &flags.state);
    set(&mut config.network.cni_conf_dir, &flags.cni_conf_dir);
    for text in &flags.runtime {
        let (name, path) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("--runtime {text:?}: expected NAME=PATH")))?;
        config.runtimes.insert(name.to_owned(), RuntimeConfig { path: path.into(), args: Vec::new() });
    }
    if let Some(name) = &flags.default_runtime {
        config.default_runtime.clone_from(name);
    }
    if let Some(address) = flags.stream_address {
        config.stream_address = address;
    }
    if !flags.cni_bin_dir.is_empty() {
        config.network.cni_bin_dirs.clone_from(&flags.cni_bin_dir);
    }
    if let Some(subnet) = &flags.subnet {
        config.network.subnet.clone_from(subnet);
    }
    if let Some(bridge) = &flags.bridge {
        config.network.bridge.clone_from(bridge);
    }
    if let Some(mode) = &flags.network {
        config.network.mode = match mode.as_str() {
            "auto" => NetworkMode::Auto,
            "cni" => NetworkMode::Cni,
            "builtin" => NetworkMode::Builtin,
            other => {
                return Err(Error::invalid(format!("--network {other:?}: expected auto, cni or builtin")));
            }
        };
    }
    config.cgroup_root = crate::pods::cgroup::check_parent(&config.cgroup_root)?;
    for path in [&mut config.root, &mut config.state, &mut config.socket] {
        *path = std::path::absolute(&*path)
            .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    }
    Ok(config)
}

fn images(config: &Config, what: Images) -> Result<()> {
    match what {
        Images::Import { source, name } => {
            let source = std::path::absolute(&source).map_err(|error| Error::invalid(error.to_string()))?;
            let lines = if let Some(_lock) = server::lock_root(&config.root)? {
                let store = Arc::new(ImageStore::open(&config.root.join("images"))?);
                import(&store, &source, name.as_deref())?.into_iter().map(|r| r.id).collect()
            } else {
                server::import_through_server(&config.socket, &source, name.as_deref())?
            };
            lines.iter().try_for_each(|line: &String| say(line))
        }
        Images::List => {
            let file = config.root.join("images/images.json");
            let text = std::fs::read_to_string(&file)
                .map_err(|error| Error::internal(format!("reading {}: {error}", file.display())))?;
            say(&text)
        }
    }
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| Error::internal(format!("writing to standard output: {error}")))
}
