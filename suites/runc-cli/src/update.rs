//! update: resources of a running container, by flags and by a document.

use super::support::{document, need_flag, need_verb, own_cgroup, running, setting};
use plimsoll_kit::prelude::*;
use plimsoll_kit::runtime::CallOptions;
use std::path::Path;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    memory_limit_by_flag,
    process_limit_by_flag,
    cpu_by_flag,
    cpuset_by_flag,
    document_from_a_file,
    document_from_standard_input,
    what_is_not_named_stays,
    malformed_document_is_error,
    unknown_container_is_error,
];

const MIB: u64 = 1 << 20;

fn memory(dir: &Path) -> Result<String, Stop> {
    setting(dir, &["memory.limit_in_bytes", "memory.max"])
}

fn pids(dir: &Path) -> Result<String, Stop> {
    setting(dir, &["pids.max"])
}

async fn update(cx: &Cx, container: &Container, flags: &[&str]) -> Verdict {
    let args: Vec<&str> = ["update"].iter().chain(flags).copied().chain([container.id()]).collect();
    cx.runtime().call(&args).await?.must_succeed()?;
    Ok(())
}

/// The flag for memory changes the limit.
#[case(covers = ["cli.update.memory"])]
async fn memory_limit_by_flag(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "memory")?;
    update(cx, &container, &["--memory", &(64 * MIB).to_string()]).await?;
    check_eq!(memory(&dir)?, (64 * MIB).to_string(), "the memory limit");
    Ok(())
}

/// The flag for processes changes the limit.
#[case(covers = ["cli.update.pids-limit"])]
async fn process_limit_by_flag(cx: &mut Cx) -> Verdict {
    need_flag(cx, "update", "pids-limit").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "pids")?;
    update(cx, &container, &["--pids-limit", "77"]).await?;
    check_eq!(pids(&dir)?, "77", "the limit on processes");
    Ok(())
}

const CPU: &[Variant] = &[Variant::new("quota-and-period", &[]), Variant::new("share", &[])];

/// The flags for the cpu change its settings.
#[case(covers = ["cli.update.cpu"], matrix(what = CPU))]
async fn cpu_by_flag(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "cpu")?;
    if cx.param("what") == "share" {
        update(cx, &container, &["--cpu-share", "512"]).await?;
        let seen = setting(&dir, &["cpu.shares", "cpu.weight"])?;
        // Version 2 has weights; two conversions of shares are in use.
        check!(["512", "20", "59"].contains(&seen.as_str()), "the shares or their weight", "{seen}");
        return Ok(());
    }
    update(cx, &container, &["--cpu-quota", "30000", "--cpu-period", "60000"]).await?;
    let seen = match setting(&dir, &["cpu.max"]) {
        Ok(both) => both,
        Err(_) => {
            format!("{} {}", setting(&dir, &["cpu.cfs_quota_us"])?, setting(&dir, &["cpu.cfs_period_us"])?)
        }
    };
    check_eq!(seen, "30000 60000", "quota and period");
    Ok(())
}

/// The flag for cpus changes the set.
#[case(covers = ["cli.update.cpuset"])]
async fn cpuset_by_flag(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "cpuset")?;
    let allowed = container.proc_file("status")?;
    let all = allowed.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    let first: String = all.chars().take_while(char::is_ascii_digit).collect();
    update(cx, &container, &["--cpuset-cpus", &first]).await?;
    check_eq!(setting(&dir, &["cpuset.cpus"])?, first, "the set of cpus");
    Ok(())
}

/// A resources document in a file is applied.
#[case(covers = ["cli.update.resources"])]
async fn document_from_a_file(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "memory")?;
    let path = document(cx, "resources.json", &json!({ "memory": { "limit": 48 * MIB } }))?;
    update(cx, &container, &["--resources", &path]).await?;
    check_eq!(memory(&dir)?, (48 * MIB).to_string(), "the memory limit");
    Ok(())
}

/// A resources document on standard input is applied.
#[case(covers = ["cli.update.resources-stdin"])]
async fn document_from_standard_input(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "memory")?;
    let text = json!({ "memory": { "limit": 48 * MIB } }).to_string();
    let options = CallOptions { stdin: Some(text.into_bytes()), ..CallOptions::default() };
    let args = ["update", "--resources", "-", container.id()];
    cx.runtime().call_with(&args, options).await?.must_succeed()?;
    check_eq!(memory(&dir)?, (48 * MIB).to_string(), "the memory limit");
    Ok(())
}

/// A limit that an update does not name stays as it is.
#[case(covers = ["cli.update.keeps-others"])]
async fn what_is_not_named_stays(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    cx.need_controller("memory")?;
    cx.need_controller("pids")?;
    let builder = cx
        .container(probe::pause())
        .set("/linux/resources/memory", json!({ "limit": 96 * MIB }))
        .set("/linux/resources/pids", json!({ "limit": 50 }));
    let container = builder.setup().running().await?;
    let (memory_dir, pids_dir) = (own_cgroup(cx, &container, "memory")?, own_cgroup(cx, &container, "pids")?);
    update(cx, &container, &["--memory", &(64 * MIB).to_string()]).await?;
    check_eq!(memory(&memory_dir)?, (64 * MIB).to_string(), "the memory limit");
    check_eq!(pids(&pids_dir)?, "50", "the limit on processes");
    Ok(())
}

/// A document that is not JSON is an error and changes nothing.
#[case(covers = ["cli.update.invalid"])]
async fn malformed_document_is_error(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    let container = running(cx).await?;
    let dir = own_cgroup(cx, &container, "memory")?;
    let before = memory(&dir)?;
    let path = cx.dir().join("resources.json");
    std::fs::write(&path, "{ \"memory\": { \"limit\": ")?;
    let args = ["update", "--resources", &path.display().to_string(), container.id()];
    cx.runtime().call(&args).await?.must_fail()?;
    check_eq!(memory(&dir)?, before, "the memory limit");
    Ok(())
}

/// The update of a container that is not there is an error.
#[case(covers = ["cli.update.unknown"])]
async fn unknown_container_is_error(cx: &mut Cx) -> Verdict {
    need_verb(cx, "update").await?;
    cx.runtime().call(&["update", "--memory", "67108864", &cx.new_id()]).await?.must_fail()?;
    Ok(())
}
