//! Which optional flags and verbs a target knows: recorded, never judged.

use super::support::{names_flag, need_verb};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[flag_is_recorded];

const FLAGS: &[Variant] = &[
    Variant::new("create:pidfd-socket", &["cli.create.knows-pidfd-socket"]),
    Variant::new("create:no-subreaper", &["cli.create.knows-no-subreaper"]),
    Variant::new("run:no-subreaper", &["cli.run.knows-no-subreaper"]),
    Variant::new("create:user-log", &["cli.create.knows-user-log"]),
    Variant::new("create:config", &["cli.create.knows-config"]),
    Variant::new("kill:regex", &["cli.kill.knows-regex"]),
    Variant::new("delete:regex", &["cli.delete.knows-regex"]),
    Variant::new("exec:cgroup", &["cli.exec.knows-cgroup"]),
    Variant::new("exec:ignore-paused", &["cli.exec.knows-ignore-paused"]),
    Variant::new("exec:pidfd-socket", &["cli.exec.knows-pidfd-socket"]),
    Variant::new("exec:apparmor", &["cli.exec.knows-apparmor"]),
    Variant::new("exec:process-label", &["cli.exec.knows-process-label"]),
    Variant::new("update:cpu-burst", &["cli.update.knows-cpu-burst"]),
    Variant::new("update:cpu-idle", &["cli.update.knows-cpu-idle"]),
    Variant::new("update:cpu-rt-period", &["cli.update.knows-cpu-rt-period"]),
    Variant::new("update:blkio-weight", &["cli.update.knows-blkio-weight"]),
    Variant::new("update:memory-reservation", &["cli.update.knows-memory-reservation"]),
    Variant::new("update:memory-swap", &["cli.update.knows-memory-swap"]),
    Variant::new("update:l3-cache-schema", &["cli.update.knows-l3-cache-schema"]),
    Variant::new("update:mem-bw-schema", &["cli.update.knows-mem-bw-schema"]),
    Variant::new("events:interval", &["cli.events.knows-interval"]),
    Variant::new("checkpoint:image-path", &["cli.checkpoint.knows-image-path"]),
    Variant::new("checkpoint:work-path", &["cli.checkpoint.knows-work-path"]),
    Variant::new("checkpoint:leave-running", &["cli.checkpoint.knows-leave-running"]),
    Variant::new("checkpoint:tcp-established", &["cli.checkpoint.knows-tcp-established"]),
    Variant::new("checkpoint:file-locks", &["cli.checkpoint.knows-file-locks"]),
    Variant::new("checkpoint:parent-path", &["cli.checkpoint.knows-parent-path"]),
    Variant::new("checkpoint:pre-dump", &["cli.checkpoint.knows-pre-dump"]),
    Variant::new("checkpoint:lazy-pages", &["cli.checkpoint.knows-lazy-pages"]),
    Variant::new("checkpoint:tcp-skip-in-flight", &["cli.checkpoint.knows-tcp-skip-in-flight"]),
    Variant::new("restore:image-path", &["cli.restore.knows-image-path"]),
    Variant::new("restore:detach", &["cli.restore.knows-detach"]),
    Variant::new("restore:lsm-profile", &["cli.restore.knows-lsm-profile"]),
    Variant::new("restore:tcp-close", &["cli.restore.knows-tcp-close"]),
    Variant::new("spec:rootless", &["cli.spec.knows-rootless"]),
];

/// Whether the help of a verb names an optional flag is recorded.
#[case(covers = [], matrix(flag = FLAGS))]
async fn flag_is_recorded(cx: &mut Cx) -> Verdict {
    let (verb, flag) = cx.param("flag").split_once(':').unwrap_or_default();
    let help = need_verb(cx, verb).await?;
    cx.record(&format!("cli.{verb}.{flag}"), names_flag(&help, flag));
    Ok(())
}
