//! `--help` and `--version`.

use crate::config::validate::VERSION_MAX;
use std::io::Write;

/// What `--version` prints: the form that engines parse (name, version, spec).
pub fn print_version() {
    out(&format!("plimsoll-oci version {}\nspec: {VERSION_MAX}\n", env!("CARGO_PKG_VERSION")));
}

/// General help, or that of one command.
pub fn print(command: Option<&str>) {
    let known = command.and_then(super::commands::find);
    let text = if let Some(c) = known {
        let flags = c.flags.iter().fold(String::new(), |text, f| text + "   --" + f.name + "\n");
        let (name, about, usage) = (c.name, c.about, c.usage);
        format!(
            "NAME:\n   plimsoll-oci {name} - {about}\n\nUSAGE:\n   plimsoll-oci {name} [flags] {usage}\n\nFLAGS:\n{flags}"
        )
    } else {
        let line = |c: &super::commands::Command| format!("   {:<12} {}\n", c.name, c.about);
        let list = super::commands::all().fold(String::new(), |text, c| text + &line(c));
        format!(
            "NAME:\n   plimsoll-oci - the reference OCI runtime (runtime-spec {VERSION_MAX})\n\nUSAGE:\n   plimsoll-oci \
             [--root DIR] [--log FILE] [--log-format text|json] [--debug] [--systemd-cgroup] COMMAND\n\nCOMMANDS:\n{list}"
        )
    };
    out(&text);
}

/// Writes to standard output; a closed one is no failure of the command.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
