//! Settings: one TOML file, overridden by flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// All settings, with their defaults.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// gRPC socket.
    pub socket: PathBuf,
    /// Group that may use the socket (numeric id); the server's own group if unset.
    pub socket_gid: Option<u32>,
    /// Images and the writable layers of containers.
    pub root: PathBuf,
    /// State of pods and containers, which must outlive the server but not a reboot.
    pub state: PathBuf,
    /// Cgroup above the pods that name no parent of their own.
    pub cgroup_root: String,
    /// Address of the streaming server; port 0 lets the kernel choose.
    pub stream_address: std::net::SocketAddr,
    /// Handlers by name: path of an OCI runtime binary.
    pub runtimes: BTreeMap<String, RuntimeConfig>,
    /// Handler used when a request names none.
    pub default_runtime: String,
    /// Pod network.
    pub network: NetworkConfig,
    /// Registries by host.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Longest time that one call of an OCI runtime may take, in seconds.
    pub runtime_timeout: u64,
    /// Directories with CDI specs.
    pub cdi_dirs: Vec<PathBuf>,
    /// Default limit of processes per container; 0 for none.
    pub pids_limit: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: "/run/plimsoll-cri/cri.sock".into(),
            socket_gid: None,
            root: "/var/lib/plimsoll-cri".into(),
            state: "/run/plimsoll-cri/state".into(),
            cgroup_root: "/plimsoll".into(),
            stream_address: ([127, 0, 0, 1], 0).into(),
            runtimes: BTreeMap::new(),
            default_runtime: String::new(),
            network: NetworkConfig::default(),
            registries: BTreeMap::new(),
            runtime_timeout: 120,
            cdi_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            pids_limit: 0,
        }
    }
}

/// One handler.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// The OCI runtime binary.
    pub path: PathBuf,
    /// Global flags put before the command, such as `--platform=systrap`.
    #[serde(default)]
    pub args: Vec<String>,
}

/// Pod network.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Which network is used.
    pub mode: NetworkMode,
    /// CNI configuration files.
    pub cni_conf_dir: PathBuf,
    /// CNI plugins, searched in order.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Built-in network: name of the bridge.
    pub bridge: String,
    /// Built-in network: IPv4 range of the pods.
    pub subnet: String,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            mode: NetworkMode::Auto,
            cni_conf_dir: "/etc/cni/net.d".into(),
            cni_bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            bridge: "plimsoll0".into(),
            subnet: "10.89.0.0/16".into(),
        }
    }
}

/// How pods are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// CNI when a configuration is there, built in otherwise.
    Auto,
    /// CNI only: without a configuration pods with a network of their own fail.
    Cni,
    /// The built-in bridge only.
    Builtin,
}

/// One registry.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// URLs tried before the registry itself.
    pub mirrors: Vec<String>,
    /// Plain HTTP; the default is HTTP for loopback and HTTPS for all else.
    pub plain_http: Option<bool>,
    /// PEM file with a further certificate authority.
    pub ca_file: Option<String>,
}

impl Config {
    /// Reads the file, or the defaults if none is given.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::invalid(format!("reading {}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| Error::invalid(format!("{}: {error}", path.display())))
    }

    /// Finds handlers where none are configured: the reference runtime first, then what is in `PATH`.
    pub fn complete(&mut self) -> Result<()> {
        for name in ["plimsoll-oci", "runc", "crun"] {
            if !self.runtimes.contains_key(name)
                && let Some(path) = find_program(name)
            {
                self.runtimes.insert(name.to_owned(), RuntimeConfig { path, args: Vec::new() });
            }
        }
        if !self.runtimes.contains_key("plimsoll-oci")
            && let Some(path) = self.link_to_self()?
        {
            self.runtimes.insert("plimsoll-oci".to_owned(), RuntimeConfig { path, args: Vec::new() });
        }
        if self.default_runtime.is_empty() {
            let order = ["plimsoll-oci", "runc", "crun"];
            let first =
                order.iter().find(|name| self.runtimes.contains_key(**name)).map(|name| (*name).to_owned());
            self.default_runtime = first.or_else(|| self.runtimes.keys().next().cloned()).unwrap_or_default();
        }
        if self.runtimes.contains_key(&self.default_runtime) {
            Ok(())
        } else {
            Err(Error::invalid(format!(
                "the default handler {:?} is not configured and no OCI runtime was found; give --runtime NAME=PATH",
                self.default_runtime
            )))
        }
    }

    /// The one executable that holds everything also is the OCI runtime when called by that name.
    fn link_to_self(&self) -> Result<Option<PathBuf>> {
        let Ok(own) = std::env::current_exe() else { return Ok(None) };
        if own.file_name().is_none_or(|name| name != "plimsoll") {
            return Ok(None);
        }
        let dir = self.state.join("bin");
        crate::util::make_dir(&dir, 0o755)?;
        let link = dir.join("plimsoll-oci");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&own, &link)
            .map_err(|error| Error::internal(format!("linking {}: {error}", link.display())))?;
        Ok(Some(link))
    }
}

/// A program beside this executable or in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let path = std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    beside.into_iter().chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|file| {
        std::fs::metadata(file).is_ok_and(|m| {
            m.is_file() && std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o111 != 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_is_strict() {
        let config: Config = toml::from_str(
            "default_runtime = \"x\"\n[runtimes.x]\npath = \"/bin/true\"\n[network]\nmode = \"builtin\"\n[registries.\"r.io\"]\nmirrors = [\"http://m\"]\n",
        )
        .unwrap();
        assert_eq!(config.network.mode, NetworkMode::Builtin);
        assert_eq!(config.registries["r.io"].mirrors.len(), 1);
        assert!(toml::from_str::<Config>("no_such_setting = 1").is_err());
    }
}
