//! What containerd and the CNI plugins are told.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A runtime handler: its name and the OCI runtime behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Name in `RunPodSandboxRequest.runtime_handler`.
    pub name: String,
    /// The OCI runtime's executable.
    pub program: PathBuf,
    /// Flags that the runtime needs before every command; a wrapper script passes them.
    pub flags: Vec<String>,
    /// The runtime leaves helpers behind that keep its output open, for whose end containerd would wait: its
    /// `start` gets no output. Errors still reach containerd by the runtime's log file.
    pub detaches: bool,
}

impl Handler {
    /// A handler for a program without flags.
    pub fn new(name: &str, program: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), program: program.into(), flags: Vec::new(), detaches: false }
    }

    /// The same with flags before every command.
    #[must_use]
    pub fn with_flags(mut self, flags: &[&str]) -> Self {
        self.flags = flags.iter().map(|f| (*f).to_owned()).collect();
        self
    }

    /// The OCI runtimes that are installed here: the first one is the default handler.
    pub fn installed() -> Vec<Self> {
        let known: [(&str, &[&str]); 3] = [
            ("runc", &[]),
            ("crun", &[]),
            // systrap works without KVM. Its network stack refuses new kernels, where it takes every network
            // namespace for the host's; so its pods have addresses but no traffic.
            ("runsc", &["--platform=systrap", "--ignore-cgroups", "--network=none"]),
        ];
        let mut found = Vec::new();
        for (name, flags) in known {
            if let Some(program) = crate::process::find(name) {
                let flags = flags.iter().map(|f| (*f).to_owned()).collect();
                found.push(Self { name: name.into(), program, flags, detaches: name == "runsc" });
            }
        }
        found
    }
}

/// Where everything of one testbed is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub base: PathBuf,
}

impl Layout {
    pub fn root(&self) -> PathBuf {
        self.base.join("root")
    }
    pub fn state(&self) -> PathBuf {
        self.base.join("state")
    }
    pub fn socket(&self) -> PathBuf {
        self.base.join("cri.sock")
    }
    pub fn config(&self) -> PathBuf {
        self.base.join("containerd.toml")
    }
    pub fn cni_conf(&self) -> PathBuf {
        self.base.join("cni")
    }
    pub fn log(&self) -> PathBuf {
        self.base.join("containerd.log")
    }
    pub fn wrapper(&self, handler: &Handler) -> PathBuf {
        self.base.join("bin").join(&handler.name)
    }
    pub fn runtime_root(&self, handler: &Handler) -> PathBuf {
        self.state().join("runtime").join(&handler.name)
    }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// containerd's configuration, format 2 (containerd 1.5 and later).
pub(crate) fn containerd(layout: &Layout, handlers: &[Handler], pause: &str, cni_bin: &Path) -> String {
    let default = handlers.first().map_or("runc", |h| h.name.as_str());
    let mut text = format!(
        "version = 2\nroot = {root}\nstate = {state}\noom_score = 0\n\
         disabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.snapshotter.v1.aufs\", \
         \"io.containerd.internal.v1.tracing\", \"io.containerd.tracing.processor.v1.otlp\"]\n\n\
         [grpc]\naddress = {socket}\n\n\
         [debug]\nlevel = \"info\"\n\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\n\
         sandbox_image = {pause}\n\
         # Lowering oom_score_adj needs CAP_SYS_RESOURCE, which many test machines lack.\n\
         restrict_oom_score_adj = true\n\
         stream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\"\n\
         enable_tls_streaming = false\n\
         tolerate_missing_hugetlb_controller = true\n\
         max_container_log_line_size = 16384\n\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {bin}\nconf_dir = {conf}\n\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\n\
         snapshotter = \"overlayfs\"\ndefault_runtime_name = {default}\n",
        root = path(&layout.root()),
        state = path(&layout.state()),
        socket = path(&layout.socket()),
        pause = quote(pause),
        bin = path(cni_bin),
        conf = path(&layout.cni_conf()),
        default = quote(default),
    );
    for handler in handlers {
        let table =
            format!("plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{}", quote(&handler.name));
        let _ = write!(
            text,
            "\n[{table}]\nruntime_type = \"io.containerd.runc.v2\"\n\
             [{table}.options]\nBinaryName = {program}\nRoot = {root}\nSystemdCgroup = false\n",
            program = path(&layout.wrapper(handler)),
            root = path(&layout.runtime_root(handler)),
        );
    }
    text
}

/// A script that calls the runtime with its flags. A script, not a link, so that a runtime which looks at
/// its own name sees the real one.
pub(crate) fn wrapper(handler: &Handler) -> String {
    let mut words = vec![shell(&handler.program.to_string_lossy())];
    words.extend(handler.flags.iter().map(|f| shell(f)));
    let call = format!("exec {} \"$@\"", words.join(" "));
    if !handler.detaches {
        return format!("#!/bin/sh\n{call}\n");
    }
    format!(
        "#!/bin/sh\nfor word in \"$@\"; do\n  if [ \"$word\" = start ]; then {call} >/dev/null 2>&1; fi\ndone\n{call}\n"
    )
}

fn shell(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Network configuration: point-to-point links and addresses from one private range per testbed, chosen by
/// `subnet` (0 to 255). Port mappings are offered where iptables can make them.
pub(crate) fn cni(layout: &Layout, subnet: u8, port_mappings: bool) -> String {
    let data = layout.base.join("ipam").to_string_lossy().into_owned();
    let data = data.replace('\\', "\\\\").replace('"', "\\\"");
    let portmap = if port_mappings {
        ",\n    { \"type\": \"portmap\", \"capabilities\": { \"portMappings\": true } }"
    } else {
        ""
    };
    format!(
        r#"{{
  "cniVersion": "0.4.0",
  "name": "plimsoll",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "ipam": {{
        "type": "host-local",
        "dataDir": "{data}",
        "ranges": [[{{ "subnet": "10.213.{subnet}.0/24" }}]],
        "routes": [{{ "dst": "0.0.0.0/0" }}]
      }}
    }}{portmap}
  ]
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_paths_are_quoted() {
        assert_eq!(quote("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000A\"");
        assert_eq!(shell("it's"), "'it'\\''s'");
        let layout = Layout { base: "/tmp/x \"y\"".into() };
        let handler = Handler {
            name: "a.b".into(),
            program: "/bin/r c".into(),
            flags: vec!["--x".into()],
            detaches: false,
        };
        let text =
            containerd(&layout, std::slice::from_ref(&handler), "localhost/pause:1", Path::new("/cni"));
        assert!(
            text.contains("runtimes.\"a.b\"]") && text.contains(r#"root = "/tmp/x \"y\"/root""#),
            "{text}"
        );
        assert_eq!(wrapper(&handler), "#!/bin/sh\nexec '/bin/r c' '--x' \"$@\"\n");
        assert!(cni(&layout, 7, true).contains("10.213.7.0/24"));
    }
}
