//! What confines a container: seccomp, no_new_privs, AppArmor, SELinux.

use super::security::{capability, facts};
use super::users::int;
use crate::prelude::*;
use v1::security_profile::ProfileType;

/// The table of this file.
pub static CASES: &[Case] = &[
    no_new_privileges,
    seccomp_kinds,
    seccomp_by_file,
    bad_seccomp_files,
    seccomp_adapts,
    pods_have_their_own_profile,
    apparmor_profiles,
    selinux_labels,
];

pub(super) fn profile(kind: ProfileType, file: &str) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: file.into() }
}

/// With no_new_privs a set-user-id program gives nothing; without it does.
#[case(covers = ["security.nnp.true", "security.nnp.false", "security.nnp.seccomp-order"])]
async fn no_new_privileges(cx: &mut Cx) -> Verdict {
    use plimsoll_kit::cri::images_kit::Layer;
    let cri = cx.cri()?;
    let layer = Layer::new().file("suid", probe::PROBE, 0o4755);
    let image = cri.pull("suid", &cri.catalogue().waiting().layer(layer).build()).await?;
    let pod = cri.run_pod().await?;
    for (nnp, euid, id) in [(true, 1234, "security.nnp.true"), (false, 0, "security.nnp.false")] {
        let container = pod.container().image(&image.id).security(|s| {
            s.run_as_user = int(1234);
            s.no_new_privs = nnp;
            s.seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
        });
        let container = container.start().await?;
        let inner = ask(["identity"]).text("inner", None);
        let run = script()
            .act("exec", json!({"path": "/suid", "argv": ["suid", inner]}))
            .ask("seccomp")
            .ask("no_new_privs");
        let answers = container.ask(&run).await?;
        let out = answers.facts("exec")?["stdout"]["data"].as_str().unwrap_or_default().to_owned();
        let inside = Answers::parse(&out, "inner");
        check_eq!(of id; inside.facts("identity")?["euid"], euid, "effective user of a set-user-id program");
        check_eq!(of id; answers.facts("no_new_privs")?["no_new_privs"], nnp, "no_new_privs");
        check_eq!(of "security.nnp.seccomp-order"; answers.facts("seccomp")?["mode"], 2, "seccomp mode of another user");
    }
    Ok(())
}

/// Unconfined is no seccomp, the default profile refuses what is known to be dangerous.
#[case(covers = ["security.seccomp.unconfined", "security.seccomp.runtime-default", "security.seccomp.nil-profile", ])]
async fn seccomp_kinds(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let free = facts(&pod, &["seccomp"], |s| s.seccomp = Some(profile(ProfileType::Unconfined, ""))).await?;
    check_eq!(free.facts("seccomp")?["mode"], 0, "seccomp mode of an unconfined container");
    let calls = script()
        .ask("seccomp")
        .act("syscall", json!({"name": "keyctl", "args": [0, 0], "fork": true}))
        .act("syscall", json!({"name": "kexec_load", "args": [0, 0, null, 0], "fork": true}))
        .act("syscall", json!({"name": "unshare", "args": [0x1000_0000], "fork": true}));
    let confined = pod
        .container()
        .security(|s| s.seccomp = Some(profile(ProfileType::RuntimeDefault, "")))
        .answers(&calls)
        .await?;
    check_eq!(of "security.seccomp.runtime-default"; confined.facts("seccomp")?["mode"], 2, "seccomp mode with the default profile");
    for answer in confined.all("syscall") {
        let facts: Value = answer.result.clone().unwrap_or_default();
        check!(of "security.seccomp.runtime-default"; facts["errno"] == 1 || facts["errno"] == 38 || facts["signal"].is_string(), "dangerous calls are refused", "{facts}");
    }
    let nil = facts(&pod, &["seccomp"], |s| s.seccomp = None).await?;
    cx.record("security.seccomp-without-profile", nil.facts("seccomp")?["mode"].clone());
    check_eq!(of "security.seccomp.nil-profile"; nil.facts("seccomp")?["mode"], 0, "seccomp mode without a profile");
    Ok(())
}

const BLOCK_MKDIR: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_AARCH64"],
"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":77}]}"#;

/// A profile by file is applied, with its own error number.
#[case(covers = ["security.seccomp.localhost", "security.seccomp.localhost-errno-ret"])]
async fn seccomp_by_file(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let file = host_file(&cri, "profile.json", BLOCK_MKDIR)?;
    let container = cri
        .run_pod()
        .await?
        .container()
        .security(|s| s.seccomp = Some(profile(ProfileType::Localhost, &file)));
    let container = container.start().await?;
    let made = step(&container, &script().act("mkdir", json!({"path": "/tmp/x"})), "mkdir").await?;
    check!(made.is_err(), "the call is refused", "it works");
    check_eq!(of "security.seccomp.localhost-errno-ret"; made.map(|_| ()), Err(77), "errno of the refused call");
    Ok(())
}

/// A profile that is missing, broken or relative is an error, and one of another type uses no file.
#[case(covers = [
    "security.seccomp.localhost-missing", "security.seccomp.localhost-invalid-json",
    "sandbox.security-profile.localhost-abs-path", "sandbox.security-profile.localhost-ref-only-localhost",
])]
async fn bad_seccomp_files(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let with = |file: &str| {
        let profile = profile(ProfileType::Localhost, file);
        pod.container().security(|s| s.seccomp = Some(profile))
    };
    with(&cri.dir().join("missing.json").display().to_string()).must_be_refused().await?;
    let broken = host_file(&cri, "broken.json", "{\"defaultAction\":")?;
    with(&broken).must_be_refused().await.map_err(|s| s.of("security.seccomp.localhost-invalid-json"))?;
    let relative = profile(ProfileType::Localhost, "profile.json");
    let run = cri.pod().security(|s| s.seccomp = Some(relative)).try_run().await.must_fail();
    run.map_err(|s| s.of("sandbox.security-profile.localhost-abs-path"))?;
    let file = host_file(&cri, "stray.json", BLOCK_MKDIR)?;
    let stray = pod.container().security(|s| s.seccomp = Some(profile(ProfileType::RuntimeDefault, &file)));
    let made = stray.try_create().await?;
    cx.record("security.stray-localhost-ref", if made.is_ok() { "ignored" } else { "refused" });
    if let Ok(container) = made
        && container.start().await.is_ok()
    {
        let made = step(&container, &script().act("mkdir", json!({"path": "/tmp/x"})), "mkdir").await?;
        check!(of "sandbox.security-profile.localhost-ref-only-localhost"; made.is_ok(), "a profile file that is not used with another type", "it is");
    }
    Ok(())
}

/// The default profile allows what an added capability needs.
#[case(covers = ["security.seccomp.sys-admin-allows"])]
async fn seccomp_adapts(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let container = cri.run_pod().await?.container().security(|s| {
        s.seccomp = Some(profile(ProfileType::RuntimeDefault, ""));
        s.capabilities = capability(&["SYS_ADMIN"], &[], &[]);
    });
    let container = container.start().await?;
    let renamed =
        step(&container, &script().act("set_hostname", json!({"name": "renamed"})), "set_hostname").await?;
    check!(renamed.is_ok(), "sethostname works with SYS_ADMIN", "errno {:?}", renamed.err());
    Ok(())
}

/// A pod's profile is the sandbox's own and does not reach into containers.
#[case(covers = ["sandbox.seccomp.runtime-default", "sandbox.seccomp.applies-not-to-containers", ])]
async fn pods_have_their_own_profile(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let default = profile(ProfileType::RuntimeDefault, "");
    let pod = cri.pod().security(|s| s.seccomp = Some(default)).try_run().await.must_succeed()?;
    let answers =
        facts(&pod, &["seccomp"], |s| s.seccomp = Some(profile(ProfileType::Unconfined, ""))).await?;
    check_eq!(of "sandbox.seccomp.applies-not-to-containers"; answers.facts("seccomp")?["mode"], 0, "seccomp mode of an unconfined container");
    if let Some(pid) = pod_pid_of(&pod).await? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mode = status
            .lines()
            .find_map(|l| l.strip_prefix("Seccomp:"))
            .map(str::trim)
            .unwrap_or_default()
            .to_owned();
        check_eq!(mode, "2", "seccomp mode of the sandbox process");
    }
    Ok(())
}

fn has_lsm(name: &str) -> bool {
    std::fs::read_to_string("/sys/kernel/security/lsm")
        .unwrap_or_default()
        .split(',')
        .any(|l| l.trim() == name)
}

/// AppArmor profiles are applied, and one that is not loaded is an error.
#[case(covers = [
    "security.apparmor.not-loaded", "security.apparmor.unconfined",
    "security.apparmor.runtime-default", "security.apparmor.typed-wins", ])]
async fn apparmor_profiles(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need(has_lsm("apparmor"), "apparmor", "the kernel does not enforce AppArmor")?;
    let pod = cri.run_pod().await?;
    pod.container()
        .security(|s| s.apparmor = Some(profile(ProfileType::Localhost, "plimsoll-not-loaded")))
        .must_be_refused()
        .await?;
    let free = facts(&pod, &["label"], |s| s.apparmor = Some(profile(ProfileType::Unconfined, ""))).await?;
    check!(of "security.apparmor.unconfined"; free.facts("label")?.to_string().contains("unconfined"), "unconfined", "{}", free.facts("label")?);
    let default =
        facts(&pod, &["label"], |s| s.apparmor = Some(profile(ProfileType::RuntimeDefault, ""))).await?;
    check!(of "security.apparmor.runtime-default"; !default.facts("label")?["current"].to_string().contains("unconfined"), "a profile", "unconfined");
    let both = facts(&pod, &["label"], |s| {
        s.apparmor = Some(profile(ProfileType::Unconfined, ""));
        set_deprecated(s, "runtime/default");
    });
    check!(of "security.apparmor.typed-wins"; both.await?.facts("label")?["current"].to_string().contains("unconfined"), "the typed field", "the text");
    Ok(())
}

#[expect(deprecated, reason = "servers must still understand it")]
fn set_deprecated(security: &mut v1::LinuxContainerSecurityContext, profile: &str) {
    security.apparmor_profile = profile.into();
}

/// SELinux labels are applied, and invalid ones refused.
#[case(covers = [
    "security.selinux.options", "security.selinux.invalid", ])]
async fn selinux_labels(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    cx.need(has_lsm("selinux"), "selinux", "the kernel does not enforce SELinux")?;
    let label = v1::SeLinuxOption {
        user: "system_u".into(),
        role: "system_r".into(),
        r#type: "container_t".into(),
        level: "s0:c4,c5".into(),
    };
    let pod = cri.run_pod().await?;
    let own = label.clone();
    let answers = facts(&pod, &["label"], |s| s.selinux_options = Some(own)).await?;
    check!(
        answers.facts("label")?["current"].to_string().contains("s0:c4,c5"),
        "the label",
        "{}",
        answers.facts("label")?["current"]
    );
    let bad = v1::SeLinuxOption { level: "no-level".into(), ..label };
    pod.container()
        .security(|s| s.selinux_options = Some(bad))
        .must_be_refused()
        .await
        .map_err(|s| s.of("security.selinux.invalid"))?;
    Ok(())
}
