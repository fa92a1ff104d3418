//! The socket, the services, status codes and the version handshake.

use crate::prelude::*;
use bytes::Bytes;
use prost::Message as _;

/// The table of this file.
pub static CASES: &[Case] = &[
    the_socket_is_local,
    version_handshake,
    both_services_on_one_socket,
    unknown_methods_are_unimplemented,
    absent_rpcs_say_unimplemented,
    unknown_fields_are_ignored,
    large_messages_pass,
    calls_run_in_parallel,
    a_passed_deadline_leaves_nothing,
    a_cancelled_create_leaves_nothing,
    getters_say_not_found,
    malformed_requests_are_refused,
    credentials_are_not_in_errors,
];

const WAIT: Duration = Duration::from_secs(10);
const RUNTIME: &str = "runtime.v1.RuntimeService";

/// The endpoint is a socket of the file system that speaks HTTP/2 without TLS, whoever it is called.
#[case(covers = ["transport.unix-socket"])]
async fn the_socket_is_local(cx: &mut Cx) -> Verdict {
    use std::os::unix::fs::FileTypeExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let cri = cx.cri()?;
    let path = cri.client().target().runtime.clone();
    let kind = std::fs::metadata(&path)?.file_type();
    check!(kind.is_socket(), "a socket", "another kind of file");
    let talk = async {
        let mut stream = tokio::net::UnixStream::connect(&path).await?;
        // The preface of HTTP/2 and an empty SETTINGS frame; the answer begins with the server's own SETTINGS.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head[3])
    };
    let first = tokio::time::timeout(WAIT, talk).await.ok().and_then(Result::ok);
    check_eq!(first, Some(4), "type of the server's first frame (SETTINGS)");
    cri.client().version(v1::VersionRequest::default()).await.must_succeed()?;
    Ok(())
}

/// Version answers a kubelet's handshake with four usable strings.
#[case(covers = [
    "version.api-version-0-1-0", "version.request-version-optional", "version.all-fields-non-empty",
    "version.runtime-version-semver", "version.runtime-api-version-semver", "version.runtime-name-stable",
])]
async fn version_handshake(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let first = cri.client().version(v1::VersionRequest::default()).await.must_succeed();
    let first = plimsoll_kit::stop::Attributed::of(first, "version.request-version-optional")?;
    let request = v1::VersionRequest { version: "0.1.0".into() };
    let second = cri.client().version(request).await.must_succeed()?;
    check_eq!(first.version, "0.1.0", "version");
    let all = [&first.version, &first.runtime_name, &first.runtime_version, &first.runtime_api_version];
    check!(of "version.all-fields-non-empty"; all.iter().all(|s| !s.is_empty()), "four non-empty strings", "{all:?}");
    let semver = |text: &str, least: usize| {
        let core = text.trim_start_matches('v').split(['-', '+', '~']).next().unwrap_or_default();
        let parts: Vec<&str> = core.split('.').collect();
        parts.len() >= least && parts.len() <= 3 && parts.iter().all(|p| p.parse::<u64>().is_ok())
    };
    check!(of "version.runtime-version-semver"; semver(&first.runtime_version, 3), "a semantic version",
        "{}", first.runtime_version);
    check!(of "version.runtime-api-version-semver"; semver(&first.runtime_api_version, 1), "v1 or 1.0.0",
        "{}", first.runtime_api_version);
    check_eq!(of "version.runtime-name-stable"; second.runtime_name, first.runtime_name, "runtime_name of a second call");
    let name = &first.runtime_name;
    check!(of "version.runtime-name-stable"; !name.contains(char::is_whitespace) && !name.contains("://"),
        "a name that can prefix a container id", "{name}");
    Ok(())
}

/// Both services of v1 answer on the runtime's socket.
#[case(covers = ["transport.v1-services", "transport.single-socket-both-services"])]
async fn both_services_on_one_socket(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let version = v1::VersionRequest::default().encode_to_vec();
    cri.client().raw(RUNTIME, "Version", version.into(), WAIT).await.must_succeed()?;
    let answer = cri.client().raw("runtime.v1.ImageService", "ListImages", Bytes::new(), WAIT).await;
    check!(of "transport.single-socket-both-services"; answer.is_ok(), "ListImages on the runtime's socket answers",
        "{:?}", answer.map_err(|e| e.code));
    Ok(())
}

/// A method that does not exist is Unimplemented.
#[case(covers = ["transport.unknown-rpc-unimplemented"])]
async fn unknown_methods_are_unimplemented(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let client = cri.client();
    for (service, method) in [(RUNTIME, "NoSuchMethod"), ("runtime.v1.NoSuchService", "Version")] {
        client.raw(service, method, Bytes::new(), WAIT).await.must_fail_with(&[Code::Unimplemented])?;
    }
    client.version(v1::VersionRequest::default()).await.must_succeed()?;
    Ok(())
}

/// An optional rpc that is absent says so with Unimplemented and no other code.
#[case(covers = ["transport.unknown-rpc-unimplemented"])]
async fn absent_rpcs_say_unimplemented(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let found = plimsoll_kit::cri::capabilities(cri.client()).await.setup()?;
    for (rpc, presence) in &found.rpcs {
        cx.record(&format!("rpc.{rpc}"), found.has(rpc));
        check!(
            !matches!(presence, plimsoll_kit::cri::Presence::AbsentDeviant(_)),
            "absent rpcs answer Unimplemented",
            "{rpc} says \"not implemented\" with another code"
        );
    }
    Ok(())
}

/// Fields that the server does not know are ignored in requests that make things.
#[case(covers = ["transport.unknown-fields-ignored"])]
async fn unknown_fields_are_ignored(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let builder = cri.pod();
    std::fs::create_dir_all(&builder.config().log_directory)?;
    let request = v1::RunPodSandboxRequest {
        config: Some(builder.config().clone()),
        runtime_handler: cri.handler().into(),
    };
    let mut bytes = request.encode_to_vec();
    bytes.extend(plimsoll_kit::cri::unknown_field(4711, b"from the future"));
    let minute = Duration::from_secs(60);
    let answer = cri.client().raw(RUNTIME, "RunPodSandbox", bytes.into(), minute).await.must_succeed()?;
    let answer = v1::RunPodSandboxResponse::decode(answer)
        .map_err(|e| Stop::violation("an answer of the right type", e.to_string()))?;
    check!(!answer.pod_sandbox_id.is_empty(), "an id", "none");
    let mut request = v1::ListContainersRequest::default().encode_to_vec();
    request.extend(plimsoll_kit::cri::unknown_field(99, b"x"));
    cri.client().raw(RUNTIME, "ListContainers", request.into(), WAIT).await.must_succeed()?;
    Ok(())
}

/// Requests and answers of megabytes pass whole.
#[case(covers = ["transport.max-message-16mib", "container.create.large-annotations"])]
async fn large_messages_pass(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let text = "a".repeat(1 << 18);
    let container = pod
        .container()
        .with(|c| {
            c.annotations.insert("plimsoll/large".into(), text.clone());
        })
        .try_create()
        .await?
        .must_succeed();
    let container = plimsoll_kit::stop::Attributed::of(container, "container.create.large-annotations")?;
    let status = container.status().await?;
    check!(of "container.create.large-annotations"; status.annotations.get("plimsoll/large") == Some(&text),
        "256 KiB of annotation come back", "{} bytes", status.annotations.get("plimsoll/large").map_or(0, String::len));
    let many = (0..8).map(|n| (format!("plimsoll/part-{n}"), "b".repeat(1 << 20))).collect::<Vec<_>>();
    let big =
        pod.container().with(|c| c.annotations.extend(many.clone())).try_create().await?.must_succeed()?;
    let listed = big.listed().await?.unwrap_or_default();
    let size: usize = listed.annotations.values().map(String::len).sum();
    check!(size >= 8 << 20, "8 MiB of annotations in the list", "{size} bytes");
    Ok(())
}

/// Many calls at once on one connection each get their own answer.
#[case(covers = ["transport.concurrent-calls"])]
async fn calls_run_in_parallel(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let containers =
        futures_util::future::try_join_all((0..4).map(|_| async { pod.container().create().await })).await?;
    let asks = (0..64).map(|n| {
        let container = &containers[n % containers.len()];
        async move { (container.id.clone(), container.try_status(false).await) }
    });
    for (id, answer) in futures_util::future::join_all(asks).await {
        let status = answer.must_succeed()?.status.unwrap_or_default();
        check!(status.id == id, "each answer belongs to its question", "the status of another container");
    }
    let running = pod.container().start().await?;
    let slow = script().act("sleep", json!({"ms": 10_000}));
    let quick = async {
        // The long call is on its way when this one is made.
        tokio::time::sleep(Duration::from_millis(500)).await;
        running.try_status(false).await.must_succeed()
    };
    let long = std::pin::pin!(running.exec_script(&slow, 30));
    match futures_util::future::select(long, std::pin::pin!(quick)).await {
        // The long call is given up: the container ends it.
        futures_util::future::Either::Right((answer, _)) => answer.map(|_| ())?,
        futures_util::future::Either::Left((answer, _)) => {
            answer.must_succeed()?;
            return Err(Stop::violation(
                "a status is answered while a command of ten seconds runs",
                "it is not answered before the command has ended",
            ));
        }
    }
    Ok(())
}

/// A RunPodSandbox whose deadline passes leaves no ready pod behind, and its name can be used again.
#[case(covers = ["transport.deadline-honoured"])]
async fn a_passed_deadline_leaves_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let builder = cri.pod();
    let request = v1::RunPodSandboxRequest {
        config: Some(builder.config().clone()),
        runtime_handler: cri.handler().into(),
    };
    let brief = cri.client().with_deadline(Duration::from_millis(1));
    let Err(error) = brief.run_pod_sandbox(request).await else {
        return Ok(());
    };
    check!(
        error.kind == Kind::Deadline || matches!(error.code, Code::DeadlineExceeded | Code::Cancelled),
        "DeadlineExceeded or Canceled",
        "{:?}",
        error.code
    );
    let retry =
        wait_until("the same pod can be run after the deadline", cri.wait(), async || {
            match builder.clone().try_run().await {
                Ok(pod) => Ok(Poll::Ready(pod)),
                Err(error) => Ok(Poll::NotYet(format!("{:?}", error.code))),
            }
        })
        .await?;
    let mine: std::collections::BTreeMap<_, _> = retry.config.labels.clone().into_iter().collect();
    let filter = v1::PodSandboxFilter { label_selector: mine, ..Default::default() };
    let ready = retry.list(filter).await?.iter().filter(|p| p.state == 0).count();
    check_eq!(ready, 1, "ready pods of this name");
    Ok(())
}

/// A CreateContainer that the client gives up either leaves nothing or can be found.
#[case(covers = ["transport.cancel-leaves-no-leak"])]
async fn a_cancelled_create_leaves_nothing(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let pod = cri.run_pod().await?;
    let builder = pod.container().image(&cri.plain().await?.id);
    let attempt = tokio::time::timeout(Duration::from_millis(5), builder.clone().try_create()).await;
    if attempt.is_ok() {
        return Ok(());
    }
    wait_until("the container is listed, or the same name can be created", cri.wait(), async || {
        if !pod.containers().await?.is_empty() {
            return Ok(Poll::Ready(()));
        }
        match builder.clone().try_create().await? {
            Ok(_) => Ok(Poll::Ready(())),
            Err(error) => Ok(Poll::NotYet(format!("{:?}", error.code))),
        }
    })
    .await
}

/// Asking for something by an unknown id is NotFound.
#[case(covers = [
    "transport.grpc-status-not-found", "sandbox.status.not-found", "container.status.not-found",
    "stats.container.not-found",
])]
async fn getters_say_not_found(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let client = cri.client();
    let only = &[Code::NotFound];
    let id = || NOBODY.to_owned();
    client
        .container_status(v1::ContainerStatusRequest { container_id: id(), verbose: false })
        .await
        .must_fail_with(only)
        .map_err(|s| s.of("container.status.not-found"))?;
    client
        .pod_sandbox_status(v1::PodSandboxStatusRequest { pod_sandbox_id: id(), verbose: false })
        .await
        .must_fail_with(only)
        .map_err(|s| s.of("sandbox.status.not-found"))?;
    client
        .container_stats(v1::ContainerStatsRequest { container_id: id() })
        .await
        .must_fail_with(only)
        .map_err(|s| s.of("stats.container.not-found"))?;
    Ok(())
}

/// Requests with missing parts are refused as the client's fault, and the server goes on.
#[case(covers = ["transport.survives-malformed", "transport.invalid-argument-codes"])]
async fn malformed_requests_are_refused(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let client = cri.client();
    let harmless = [
        "RunPodSandbox",
        "CreateContainer",
        "StartContainer",
        "ContainerStatus",
        "PodSandboxStatus",
        "ExecSync",
        "Exec",
        "Attach",
        "PortForward",
        "ContainerStats",
        "UpdateContainerResources",
        "ReopenContainerLog",
    ];
    let mut wrong = Vec::new();
    for method in harmless {
        let error = client.raw(RUNTIME, method, Bytes::new(), WAIT).await.must_fail()?;
        if !matches!(error.code, Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition) {
            wrong.push(format!("{method}: {:?}", error.code));
        }
        client.version(v1::VersionRequest::default()).await.must_succeed()?;
    }
    for method in ["ListContainers", "ListPodSandbox", "ListContainerStats", "Status", "UpdateRuntimeConfig"]
    {
        let _ = client.raw(RUNTIME, method, Bytes::new(), WAIT).await;
        // A message that is no protobuf at all.
        client.raw(RUNTIME, method, Bytes::from_static(&[0xff; 9]), WAIT).await.must_fail()?;
        client.version(v1::VersionRequest::default()).await.must_succeed()?;
    }
    check!(of "transport.invalid-argument-codes"; wrong.is_empty(), "InvalidArgument or NotFound", "{}", wrong.join(", "));
    Ok(())
}

/// A refused pull does not repeat the credentials in its error.
#[case(covers = ["transport.secrets-redacted"])]
async fn credentials_are_not_in_errors(cx: &mut Cx) -> Verdict {
    let cri = cx.cri()?;
    let reference = cri.publish("secret", "1", &cri.catalogue().plain())?;
    cri.registry()?.set_access(plimsoll_kit::cri::images_kit::registry::Access::Denied);
    let secret = "Marker-7f3a-password";
    let auth = v1::AuthConfig { username: "user".into(), password: secret.into(), ..Default::default() };
    let error = cri.try_pull_with(&reference, Some(auth)).await.must_fail()?;
    check!(!error.message.contains(secret), "an error without the password", "the password is in it");
    Ok(())
}
