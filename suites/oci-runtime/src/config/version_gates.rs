//! Rules that a later version turned round, on their earlier side; the later side stands with the rule's own cases.
//!
//! A target that declares no version with the later rule can only follow the earlier one. One that declares the later
//! rule may read an old configuration by either: the specification does not say, so what it does is recorded.

use plimsoll_kit::bundle::DEFAULT_CAPABILITIES;
use plimsoll_kit::prelude::*;
use plimsoll_model::SpecVersion;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    unknown_capability_is_error,
    prestart_runs_in_start,
    failing_poststart_hook_only_warns,
    relative_destination_is_error,
    absent_process_limit_is_error,
    process_limit_may_be_absent,
    monitoring_flags_of_their_versions_are_accepted,
    monitoring_flags_are_unknown_members_later,
];

/// The version that the cases of the earlier rules write.
const OLD: &str = "1.0.2";

/// Judges whether the earlier rule was followed: a violation only for a target that declares nothing from `turned` on.
fn judge(cx: &Cx, rule: &str, turned: &SpecVersion, followed: bool, demand: &str) -> Verdict {
    cx.record(&format!("version.{rule}"), if followed { "earlier rule" } else { "later rule" });
    let knows_later = cx.declared_version().is_none_or(|declared| declared.release() >= *turned);
    check!(followed || knows_later, format!("under version {OLD}: {demand}"), "not so");
    Ok(())
}

/// Whether create and start accept the bundle; when not, by an error of their own that leaves nothing.
async fn accepts(builder: Builder) -> Result<bool, Stop> {
    let (create, container) = builder.attempt().await?;
    if !create.succeeded() {
        create.must_fail()?;
        container.nothing_left().await?;
        return Ok(false);
    }
    let start = container.start().await?;
    if !start.succeeded() {
        start.must_fail()?;
    }
    Ok(start.succeeded())
}

/// Before 1.1.0 a capability that nobody knows is an error.
#[case(covers = ["valid-values.error"])]
async fn unknown_capability_is_error(cx: &mut Cx) -> Verdict {
    let mut list: Vec<&str> = DEFAULT_CAPABILITIES.to_vec();
    list.push("CAP_PLIMSOLL_TEST");
    let accepted = accepts(cx.container(probe::exit(0)).version(OLD).capabilities(&list)).await?;
    let turned = &SpecVersion::new(1, 1, 0);
    judge(cx, "unknown-capability", turned, !accepted, "a capability without a meaning is an error")
}

/// Before 1.1.0 a prestart hook runs in start and not in create; under any version it has run when start returns.
#[case(covers = ["hooks.prestart.invoked"])]
async fn prestart_runs_in_start(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Prestart);
    let container = cx.container(probe::pause()).version(OLD).hook(hook.clone()).created().await?;
    let in_create = container.hook_ran(&hook)?;
    container.start().await?.must_succeed()?;
    check!(container.hook_ran(&hook)?, "the prestart hook has run when start returns", "it has not");
    judge(cx, "prestart", &SpecVersion::new(1, 1, 0), !in_create, "prestart hooks run after start was called")
}

/// Before 1.3.0 a failing poststart hook is a warning, and the program runs on.
#[case(covers = ["hooks.poststart.invoked"])]
async fn failing_poststart_hook_only_warns(cx: &mut Cx) -> Verdict {
    let hook = Hook::new(HookKind::Poststart).exits(1);
    let (create, container) = cx.container(probe::pause()).version(OLD).hook(hook.clone()).attempt().await?;
    let call = if create.succeeded() { container.start().await? } else { create };
    check!(!container.hook_answers(&hook)?.is_empty(), "the poststart hook runs", "it did not");
    let goes_on = call.succeeded() && !container.has_exited();
    judge(
        cx,
        "failing-poststart",
        &SpecVersion::new(1, 3, 0),
        goes_on,
        "the life goes on as if the hook had succeeded",
    )
}

/// Before 1.2.0 a relative mount destination is an error.
#[case(covers = ["valid-values.error"])]
async fn relative_destination_is_error(cx: &mut Cx) -> Verdict {
    let mount = json!({ "destination": "data", "type": "tmpfs", "source": "tmpfs" });
    let accepted = accepts(cx.container(probe::exit(0)).version(OLD).mount(mount)).await?;
    judge(
        cx,
        "relative-destination",
        &SpecVersion::new(1, 2, 0),
        !accepted,
        "a mount destination is absolute",
    )
}

/// Before 1.3.0 an object of process limits has a limit. Many parsers cannot tell its absence from 0, so that it is
/// missed is recorded and no violation.
#[case(covers = ["pids.limit"], tags = ["parser-leniency"])]
async fn absent_process_limit_is_error(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0)).version(OLD).set("/linux/resources/pids", json!({}));
    let accepted = accepts(builder).await?;
    cx.record("version.absent-process-limit", if accepted { "later rule" } else { "earlier rule" });
    Ok(())
}

/// Since 1.3.0 an object of process limits without a limit sets none.
#[case(covers = ["pids.limit", "pids.limit.zero-valid"])]
async fn process_limit_may_be_absent(cx: &mut Cx) -> Verdict {
    cx.need_controller("pids")?;
    let builder = cx.container(probe::pause()).version("1.3.0").set("/linux/resources/pids", json!({}));
    let container = builder.running().await?;
    let dir = container.cgroup("pids")?;
    if !dir.display().to_string().contains(container.id()) {
        return Err(Stop::NotApplicable {
            capability: "cgroups".into(),
            reason: format!("the container is in {}, which is not its own cgroup", dir.display()),
        });
    }
    check_eq!(std::fs::read_to_string(dir.join("pids.max"))?.trim(), "max", "pids.max");
    Ok(())
}

/// The members that named monitoring one by one, from 1.1.0 to 1.2.1, are accepted under those versions.
#[case(covers = ["intel-rdt"])]
async fn monitoring_flags_of_their_versions_are_accepted(cx: &mut Cx) -> Verdict {
    cx.need_path("/sys/fs/resctrl/info/L3_MON", "resctrl-monitoring")?;
    if cx.declared_version().is_some_and(|d| d.release() < SpecVersion::new(1, 1, 0)) {
        return Err(Stop::NotApplicable {
            capability: "spec-1.1.0".into(),
            reason: "the target declares a version that lacks these members".into(),
        });
    }
    let rdt = json!({ "enableCMT": true, "enableMBM": true });
    let accepted = accepts(cx.container(probe::exit(0)).version("1.1.0").set("/linux/intelRdt", rdt)).await?;
    check!(accepted, "enableCMT and enableMBM are accepted under version 1.1.0", "the bundle is refused");
    Ok(())
}

/// Since 1.3.0 they are members that nobody knows, and ignored: no monitoring group is made for them.
#[case(covers = ["intel-rdt.enable-monitoring"])]
async fn monitoring_flags_are_unknown_members_later(cx: &mut Cx) -> Verdict {
    cx.need_path("/sys/fs/resctrl/mon_groups", "resctrl-monitoring")?;
    let rdt = json!({ "enableCMT": true, "enableMBM": true });
    let builder = cx.container(probe::pause()).version("1.3.0").set("/linux/intelRdt", rdt);
    let container = builder.running().await?;
    let group =
        std::path::Path::new("/sys/fs/resctrl").join(container.id()).join("mon_groups").join(container.id());
    check!(!group.exists(), "no monitoring group", "{}", group.display());
    Ok(())
}
