//! Requirements that no case covers, each with its reason.

use plimsoll_kit::case::Waiver;

/// Rows without a case.
pub static WAIVERS: &[Waiver] = &[
    (
        "kubelet.log-rotation",
        "needs a real kubelet, which the harness does not ship; the calls behind it are covered one by one",
    ),
    (
        "kubelet.evented-pleg",
        "needs a real kubelet, which the harness does not ship; the calls behind it are covered one by one",
    ),
    (
        "kubelet.exec-via-kubelet",
        "needs a real kubelet, which the harness does not ship; the calls behind it are covered one by one",
    ),
    (
        "kubelet.stats-from-cri",
        "needs a real kubelet, which the harness does not ship; the calls behind it are covered one by one",
    ),
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
        "sandbox.userns.persist-restart",
        "needs a server that the case may restart; cases share the endpoint with others",
    ),
    (
        "robust.restart.sandboxes-kept",
        "needs a server that the case may restart; cases share the endpoint with others",
    ),
    (
        "robust.restart.exit-during-down",
        "needs a server that the case may restart; cases share the endpoint with others",
    ),
    (
        "robust.restart.exec-after",
        "needs a server that the case may restart; cases share the endpoint with others",
    ),
    (
        "robust.restart.log-continues",
        "needs a server that the case may restart; cases share the endpoint with others",
    ),
    (
        "robust.restart.images-kept",
        "needs a server that the case may restart; cases share the endpoint with others",
    ),
    ("robust.kill9-server", "needs a server that the case may restart; cases share the endpoint with others"),
    (
        "container.image-volume.userns",
        "needs image volumes and user namespaces at once; no endpoint at hand has both, so it was not written yet",
    ),
    ("container.stream.large", "16 MiB of list entries take longer to make than a case may run"),
    (
        "streaming.spdy.stream-types",
        "the client opens streams in the usual order; other orders are not written yet",
    ),
    (
        "streaming.golden-trace",
        "replayed in the tests of the client against recorded traffic, not against an endpoint",
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
    ("metrics.pod.type", "needs two samples over a known load for each metric; not written yet"),
    ("metrics.pod.values-plausible", "needs two samples over a known load for each metric; not written yet"),
    ("events.sandbox-events", "not told apart from other events of the same pod yet"),
    ("events.latency", "not told apart from other events of the same pod yet"),
    ("events.no-replay-needed", "not told apart from other events of the same pod yet"),
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
    (
        "portforward.ipv6-listener",
        "the probe's listener takes IPv4 addresses in most pods; an IPv6 one is not written yet",
    ),
    ("log.max-size", "an optional limit that the endpoint's configuration sets, unknown to a client"),
    (
        "container.status.unknown-state",
        "needs a shim that is killed behind the endpoint's back, which differs from endpoint to endpoint",
    ),
    (
        "container.stop-signal.realtime",
        "real-time signals have no name that every endpoint of the interface's older levels takes",
    ),
    (
        "container.resources.hugepages",
        "needs a hugetlb controller in the endpoint's cgroup view; not written yet",
    ),
    (
        "container.cdi.injected",
        "needs a writable CDI directory of the endpoint, which its configuration names and no call tells",
    ),
    (
        "container.cdi.duplicates",
        "needs a writable CDI directory of the endpoint, which its configuration names and no call tells",
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
