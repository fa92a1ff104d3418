//! Requirements that no case covers, each with its reason.

use plimsoll_kit::case::Waiver;

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[
    (
        "image.pull.signature-failed",
        "needs an endpoint with a signature policy, which no call of the interface can set",
    ),
    (
        "image.pull.stalled",
        "the progress timeouts of endpoints are minutes long, beyond the deadline of a case",
    ),
    ("image.remove.pinned", "no call of the interface can pin an image, so there is none to remove"),
    (
        "container.stop.paused",
        "no call of the interface pauses a container; freezing its cgroup from outside is not portable",
    ),
    (
        "security.apparmor.localhost",
        "needs a loaded profile on a host that enforces AppArmor; not written yet",
    ),
    (
        "security.apparmor.deprecated",
        "needs a loaded profile on a host that enforces AppArmor; not written yet",
    ),
    ("sandbox.apparmor.profile", "needs a loaded profile on a host that enforces AppArmor; not written yet"),
    ("security.selinux.mcs-distinct", "needs a host that enforces SELinux with its tools; not written yet"),
    ("sandbox.selinux.options", "needs a host that enforces SELinux with its tools; not written yet"),
    (
        "security.privileged.selinux-disabled",
        "needs a host that enforces SELinux with its tools; not written yet",
    ),
    ("container.mount.selinux-relabel", "needs a host that enforces SELinux with its tools; not written yet"),
    (
        "sandbox.seccomp.deprecated-path",
        "the deprecated field may be honoured or ignored, so nothing can fail",
    ),
    (
        "security.seccomp.deprecated-path",
        "the deprecated field may be honoured or ignored, so nothing can fail",
    ),
    (
        "stats.container.cpu-nano-cores",
        "a rate over a window of the server's own choice; the total CPU time is judged instead",
    ),
    (
        "image.status.spec-annotations",
        "annotations of an image spec may be kept or dropped, so nothing can fail",
    ),
    (
        "network.cni.add-del-pairing",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.add-args",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.add-failure",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.bandwidth-annotations",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.config-reload",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.dual-stack",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.no-config",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "network.cni.portmappings-capability",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    (
        "sandbox.stop.cni-del-failure-retry",
        "needs a recording network plugin in the endpoint's configuration, which a running endpoint does not take",
    ),
    ("restore.pod.exact-names", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("restore.pod.created-state", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("restore.pod.data-unmodified", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("restore.pod.mismatch-fails", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("restore.pod.response-complete", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("checkpoint.pod.always-resumes", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("checkpoint.pod.consistent-cut", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("checkpoint.pod.needs-deadline", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("checkpoint.restore-by-image", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("checkpoint.container.timeout", "needs a valid pod checkpoint, which no endpoint at hand can write"),
    ("log.max-size", "an optional limit that the endpoint's configuration sets, unknown to a client"),
    (
        "container.status.unknown-state",
        "needs a shim that is killed behind the endpoint's back, which differs from endpoint to endpoint",
    ),
    ("exec.too-many-in-flight", "1000 open sessions would starve the cases that run beside this one"),
    (
        "exec.url-expires",
        "the token's life is 60 s and the idle times are longer, beyond the deadline of a case",
    ),
    (
        "streaming.spdy.idle-timeout",
        "the token's life is 60 s and the idle times are longer, beyond the deadline of a case",
    ),
    (
        "streaming.spdy.stream-creation-timeout",
        "the token's life is 60 s and the idle times are longer, beyond the deadline of a case",
    ),
    (
        "nri.pod-lifecycle",
        "the node resource interface is another protocol on another socket; an endpoint of v1 need not have it",
    ),
    (
        "nri.container-lifecycle",
        "the node resource interface is another protocol on another socket; an endpoint of v1 need not have it",
    ),
    (
        "nri.hook-error-fails-call",
        "the node resource interface is another protocol on another socket; an endpoint of v1 need not have it",
    ),
];
