//! What an endpoint has, by what it declares and by what it answers, never by its name.
//!
//! Rules: `Unimplemented` means absent, for a stream with its first message; another code that says
//! "not implemented" means absent and is noted as a deviation; declared flags count for what they
//! declare; any other answer, also an error, shows that the rpc is there.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::calls::RPCS;
use crate::client::{Client, Receive};
use crate::error::{CallError, Kind};
use crate::v1;

/// Id that no server has given out.
const NOBODY: &str = "plimsoll-no-such-id";

/// Time that an event stream may be silent before it counts as there.
const SILENCE: Duration = Duration::from_millis(500);

/// Whether an rpc is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It answers.
    Present,
    /// It says `Unimplemented`.
    Absent,
    /// It says "not implemented" with another code: absent, and a deviation with this text.
    AbsentDeviant(String),
    /// No answer: says nothing.
    Unknown(String),
}

impl Presence {
    fn of<T>(result: &Result<T, CallError>) -> Self {
        match result {
            Ok(_) => Self::Present,
            Err(error) if error.is_deviant_unimplemented() => Self::AbsentDeviant(error.to_string()),
            Err(error) => match error.kind {
                Kind::Unimplemented => Self::Absent,
                Kind::Status(_) => Self::Present,
                _ => Self::Unknown(error.to_string()),
            },
        }
    }
}

/// What an endpoint has.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Answer to `Version`.
    pub version: v1::VersionResponse,
    /// Answer to `Status`, not verbose.
    pub status: v1::StatusResponse,
    /// Optional rpcs by name; every rpc that is not here is part of the core.
    pub rpcs: BTreeMap<&'static str, Presence>,
    /// Whether `runtime.v1alpha2` answers too.
    pub v1alpha2: bool,
}

impl Capabilities {
    /// Asks the endpoint. Changes nothing on it.
    pub async fn detect(client: &Client) -> Result<Self, CallError> {
        let version = client.version(v1::VersionRequest::default()).await?;
        let status = client.status(v1::StatusRequest::default()).await?;
        let mut rpcs = BTreeMap::new();
        for rpc in OPTIONAL {
            rpcs.insert(rpc, presence(client, rpc).await);
        }
        let old = client
            .raw("runtime.v1alpha2.RuntimeService", "Version", bytes::Bytes::new(), Duration::from_secs(5))
            .await;
        Ok(Self { version, status, rpcs, v1alpha2: old.is_ok() })
    }

    /// Whether the endpoint has this rpc. Core rpcs count as there: their absence is a failure.
    pub fn has(&self, rpc: &str) -> bool {
        self.rpcs.get(rpc).is_none_or(|p| *p == Presence::Present)
    }

    /// Features of a handler, if the endpoint declares handlers at all.
    pub fn handler(&self, name: &str) -> Option<v1::RuntimeHandlerFeatures> {
        let handler = self.status.runtime_handlers.iter().find(|h| h.name == name)?;
        Some(handler.features.unwrap_or_default())
    }

    /// Whether the endpoint declares recursive read-only mounts for a handler.
    pub fn recursive_read_only(&self, handler: &str) -> bool {
        self.handler(handler).is_some_and(|f| f.recursive_read_only_mounts)
    }

    /// Whether the endpoint declares user namespaces for a handler.
    pub fn user_namespaces(&self, handler: &str) -> bool {
        self.handler(handler).is_some_and(|f| f.user_namespaces)
    }

    /// Whether the endpoint declares the supplemental groups policy.
    pub fn supplemental_groups_policy(&self) -> bool {
        self.status.features.as_ref().is_some_and(|f| f.supplemental_groups_policy)
    }

    /// Capability names for a report and for `requires` of cases: `rpc.NAME`, `feature.NAME`.
    pub fn names(&self, handler: &str) -> Vec<String> {
        let mut names: Vec<String> =
            RPCS.iter().filter(|r| self.has(r.name)).map(|r| format!("rpc.{}", r.name)).collect();
        let features = self.status.features.unwrap_or_default();
        let flags = [
            ("recursive_read_only_mounts", self.recursive_read_only(handler)),
            ("user_namespaces", self.user_namespaces(handler)),
            ("supplemental_groups_policy", features.supplemental_groups_policy),
            ("user_namespaces_host_network", features.user_namespaces_host_network),
            ("runtime_handlers", !self.status.runtime_handlers.is_empty()),
            ("v1alpha2", self.v1alpha2),
        ];
        names.extend(flags.iter().filter(|(_, on)| *on).map(|(name, _)| format!("feature.{name}")));
        names
    }

    /// Rpcs whose absence is told with the wrong code, with the text.
    pub fn deviations(&self) -> Vec<(&'static str, &str)> {
        self.rpcs
            .iter()
            .filter_map(|(rpc, p)| match p {
                Presence::AbsentDeviant(text) => Some((*rpc, text.as_str())),
                _ => None,
            })
            .collect()
    }
}

/// Rpcs that a server may lack.
pub const OPTIONAL: [&str; 16] = [
    "PodSandboxStats",
    "ListPodSandboxStats",
    "CheckpointContainer",
    "CheckpointPod",
    "RestorePod",
    "ListMetricDescriptors",
    "ListPodSandboxMetrics",
    "RuntimeConfig",
    "UpdatePodSandboxResources",
    "GetContainerEvents",
    "StreamPodSandboxes",
    "StreamContainers",
    "StreamContainerStats",
    "StreamPodSandboxStats",
    "StreamPodSandboxMetrics",
    "StreamImages",
];

/// Asks for one optional rpc, harmlessly. Any other name is part of the core and counts as there.
pub async fn presence(client: &Client, rpc: &str) -> Presence {
    let id = || NOBODY.to_owned();
    let client = &client.with_deadline(Duration::from_secs(10));
    macro_rules! unary {
        ($method:ident, $request:expr) => {
            Presence::of(&client.$method($request).await)
        };
    }
    macro_rules! stream {
        ($method:ident, $request:expr) => {
            first(client.$method($request).await).await
        };
    }
    match rpc {
        "PodSandboxStats" => unary!(pod_sandbox_stats, v1::PodSandboxStatsRequest { pod_sandbox_id: id() }),
        "ListPodSandboxStats" => unary!(list_pod_sandbox_stats, v1::ListPodSandboxStatsRequest::default()),
        "CheckpointContainer" => unary!(
            checkpoint_container,
            v1::CheckpointContainerRequest { container_id: id(), timeout: 1, ..Default::default() }
        ),
        "CheckpointPod" => {
            unary!(checkpoint_pod, v1::CheckpointPodRequest { pod_sandbox_id: id(), ..Default::default() })
        }
        "RestorePod" => unary!(restore_pod, v1::RestorePodRequest::default()),
        "ListMetricDescriptors" => unary!(list_metric_descriptors, v1::ListMetricDescriptorsRequest {}),
        "ListPodSandboxMetrics" => unary!(list_pod_sandbox_metrics, v1::ListPodSandboxMetricsRequest {}),
        "RuntimeConfig" => unary!(runtime_config, v1::RuntimeConfigRequest {}),
        "UpdatePodSandboxResources" => unary!(
            update_pod_sandbox_resources,
            v1::UpdatePodSandboxResourcesRequest { pod_sandbox_id: id(), ..Default::default() }
        ),
        "StreamPodSandboxes" => stream!(stream_pod_sandboxes, v1::StreamPodSandboxesRequest::default()),
        "StreamContainers" => stream!(stream_containers, v1::StreamContainersRequest::default()),
        "StreamContainerStats" => stream!(stream_container_stats, v1::StreamContainerStatsRequest::default()),
        "StreamPodSandboxStats" => {
            stream!(stream_pod_sandbox_stats, v1::StreamPodSandboxStatsRequest::default())
        }
        "StreamPodSandboxMetrics" => {
            stream!(stream_pod_sandbox_metrics, v1::StreamPodSandboxMetricsRequest {})
        }
        "StreamImages" => stream!(stream_images, v1::StreamImagesRequest::default()),
        "GetContainerEvents" => events(client).await,
        _ => Presence::Present,
    }
}

/// An event stream may be silent, even without headers, for as long as nothing happens.
async fn events(client: &Client) -> Presence {
    match client.with_deadline(SILENCE).get_container_events(v1::GetEventsRequest {}).await {
        Err(error) if error.kind == Kind::Deadline => Presence::Present,
        opened => first(opened).await,
    }
}

async fn first<T>(opened: Result<Receive<T>, CallError>) -> Presence {
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return Presence::of::<()>(&Err(error)),
    };
    match stream.next(SILENCE).await {
        Err(error) if error.kind == Kind::Deadline => Presence::Present,
        other => Presence::of(&other),
    }
}
