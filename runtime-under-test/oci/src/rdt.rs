//! `linux.intelRdt` (config-linux.md "IntelRdt"): classes of service in the resctrl file system.

use crate::bail;
use crate::config::IntelRdt;
use crate::error::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The rules that hold with or without resctrl.
pub fn validate(rdt: &IntelRdt) -> Result<()> {
    if let Some(schema) = rdt.mem_bw_schema.as_ref() {
        if !schema.starts_with("MB:") {
            bail!("memBwSchema {schema:?} does not start with \"MB:\"");
        }
        if schema.contains('\n') {
            bail!("memBwSchema holds a newline");
        }
    }
    if rdt.schemata.iter().any(|line| line.contains('\n')) {
        bail!("an entry of schemata holds a newline");
    }
    if let Some(id) = rdt.clos_id.as_ref() {
        let plain = !id.is_empty() && id != "." && id != ".." && !id.contains(['/', '\0', '\n']);
        if id != "/" && !plain {
            bail!("closID {id:?} is no directory name");
        }
    }
    Ok(())
}

/// Where resctrl is mounted ("if no resctrl filesystem is mounted, the runtime MUST generate an error").
fn mount_point() -> Result<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    for line in table.lines() {
        if let Some((left, right)) = line.split_once(" - ")
            && right.starts_with("resctrl ")
            && let Some(point) = left.split(' ').nth(4)
        {
            return Ok(PathBuf::from(point));
        }
    }
    bail!("linux.intelRdt is set, but no resctrl file system is mounted on this host")
}

/// Puts the process into its class and monitoring group. Returns the directories to remove at delete.
pub fn apply(rdt: &IntelRdt, id: &str, pid: i32) -> Result<Vec<PathBuf>> {
    let root = mount_point()?;
    let mut made = Vec::new();
    let result = join(rdt, &root, id, pid, &mut made);
    if result.is_err() {
        remove(&made);
    }
    result.context("linux.intelRdt").map(|()| made)
}

fn join(rdt: &IntelRdt, root: &Path, id: &str, pid: i32, made: &mut Vec<PathBuf>) -> Result<()> {
    let dir = match rdt.clos_id.as_deref() {
        Some("/") => root.to_path_buf(),
        Some(clos) => root.join(clos),
        None => root.join(id),
    };
    // Order of the file: L3, memory bandwidth, then the further lines.
    let lines: Vec<&String> =
        rdt.l3_cache_schema.iter().chain(rdt.mem_bw_schema.iter()).chain(rdt.schemata.iter()).collect();
    let existed = dir.is_dir();
    if !existed {
        if rdt.clos_id.is_some() && lines.is_empty() {
            bail!("closID {} does not exist and no schema is given to make it", dir.display());
        }
        fs::create_dir(&dir).with_context(|| format!("{}", dir.display()))?;
        if rdt.clos_id.is_none() {
            made.push(dir.clone());
        }
    }
    if !lines.is_empty() {
        let text = lines.iter().fold(String::new(), |text, l| text + l.trim_end_matches('\n') + "\n");
        if existed && rdt.clos_id.is_some() {
            compare(&dir, &lines)?;
        } else {
            fs::write(dir.join("schemata"), text).with_context(|| format!("{}/schemata", dir.display()))?;
        }
    }
    fs::write(dir.join("tasks"), pid.to_string()).with_context(|| format!("{}/tasks", dir.display()))?;
    if rdt.enable_monitoring {
        let group = dir.join("mon_groups").join(id);
        fs::create_dir(&group).with_context(|| format!("monitoring group {}", group.display()))?;
        made.insert(0, group.clone());
        fs::write(group.join("tasks"), pid.to_string())
            .with_context(|| format!("{}/tasks", group.display()))?;
    }
    Ok(())
}

/// "If the closID directory exists, the runtime MUST compare the schemas and generate an error on mismatch."
fn compare(dir: &Path, lines: &[&String]) -> Result<()> {
    let now =
        fs::read_to_string(dir.join("schemata")).with_context(|| format!("{}/schemata", dir.display()))?;
    let has = |wanted: &str| now.lines().any(|line| line.trim() == wanted.trim());
    match lines.iter().flat_map(|l| l.lines()).find(|l| !has(l)) {
        Some(line) => bail!("{} exists with other schemata than {line:?}", dir.display()),
        None => Ok(()),
    }
}

/// Removes directories that were made.
pub fn remove(made: &[PathBuf]) {
    for dir in made {
        if let Err(e) = fs::remove_dir(dir)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            crate::log::warn(&format!("removing {}: {e}", dir.display()));
        }
    }
}

/// Fails early when resctrl is needed and missing.
pub fn check_host(rdt: Option<&IntelRdt>) -> Result<()> {
    if rdt.is_some() { mount_point().map(|_| ()) } else { Ok(()) }
}
