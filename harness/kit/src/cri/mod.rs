//! What a case needs to judge a CRI endpoint: pods and containers as staged values, images from a registry in
//! this process, streams, logs.
//!
//! Everything made here carries the attempt's tag in its name and in the label [`TAG_LABEL`]; [`finish`] removes
//! it all after the case and tells what could not be removed.

mod answer;
mod container;
mod daemon;
mod facts;
mod finish;
mod images;
mod log;
mod pod;
mod traces;

pub use answer::Answered;
pub use container::{Container, ContainerBuilder};
pub use daemon::{DAEMON_HOLD, DAEMON_SOCKET, Daemon};
pub use facts::{cgroup_of, pid_of, pod_pid_of};
pub use finish::{finish, remove_run};
pub use images::{Fixture, Pulled, prepare_image};
pub use log::{LogLine, parse as parse_log};
pub use plimsoll_cri_client::stream;
pub use plimsoll_cri_client::{
    CallError, Capabilities, Client, Code, Kind, Options, Presence, RPCS, Receive, Record, unknown_field, v1,
};
pub use plimsoll_images as images_kit;
pub use pod::{Pod, PodBuilder};

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use plimsoll_cri_client::Target as Address;
use plimsoll_images::ImageSet;
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;

use crate::job::{CriTarget, Job, Target};
use crate::probe::PROBE;
use crate::stop::Stop;

/// Everything that an endpoint has; takes a second or more.
pub async fn capabilities(client: &Client) -> Result<Capabilities, CallError> {
    Capabilities::detect(client).await
}

/// Label on every pod and container of an attempt; its value is the attempt's tag.
pub const TAG_LABEL: &str = "plimsoll.tag";

/// Fact of a target: whether pods may name a cgroup parent in the form of a path.
pub const CGROUP_PARENTS: &str = "cri.cgroup-parents";

/// Fact of a target: an object of optional rpcs, each with whether it is there.
pub const RPCS_FACT: &str = "cri.rpcs";

/// What a case has made on an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A pod with this id.
    Pod(String),
    /// A container with this id.
    Container(String),
}

impl Made {
    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Self::Pod(id) | Self::Container(id) => id,
        }
    }
}

/// Where a target's services are, in the client's terms.
pub fn address(target: &CriTarget) -> Address {
    let socket = |text: &str| PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
    let image = (!target.image_endpoint.is_empty() && target.image_endpoint != target.endpoint)
        .then(|| socket(&target.image_endpoint));
    Address { runtime: socket(&target.endpoint), image, handler: target.handler.clone() }
}

/// An endpoint under test, as one case sees it. Cheap to clone.
#[derive(Clone)]
pub struct Cri {
    state: Rc<State>,
}

struct State {
    client: Client,
    handler: String,
    tag: String,
    dir: PathBuf,
    cgroup: String,
    parents: bool,
    wait: Duration,
    facts: BTreeMap<String, serde_json::Value>,
    registry: RefCell<Option<Rc<Registry>>>,
    plain: RefCell<Option<Pulled>>,
    pulled: RefCell<Vec<String>>,
    made: RefCell<Vec<Made>>,
    present: RefCell<BTreeMap<&'static str, bool>>,
    counter: Cell<u32>,
}

impl std::fmt::Debug for Cri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cri").field("target", self.state.client.target()).finish_non_exhaustive()
    }
}

impl Cri {
    /// The endpoint of a job. Connects with the first call.
    pub(crate) fn new(job: &Job) -> Result<Self, Stop> {
        let Target::Cri(target) = &job.target else {
            return Err(Stop::setup("this case drives a CRI endpoint, and the target is none"));
        };
        // Workers for endpoints stay in the host's mount namespace, so the endpoint sees this directory.
        let dir = job.dir.join("cri");
        std::fs::create_dir_all(&dir)?;
        let scale = job.limits.call_ms as f64 / 10_000.0;
        let client = Client::lazy(&address(target), Options { scale, ..Options::default() });
        let parents = job.target_facts.get(CGROUP_PARENTS).and_then(serde_json::Value::as_bool);
        let state = State {
            client,
            handler: target.handler.clone(),
            tag: job.tag.clone(),
            dir,
            cgroup: job.cgroup.clone(),
            parents: parents == Some(true),
            wait: job.limits.wait(),
            facts: job.target_facts.clone(),
            registry: RefCell::default(),
            plain: RefCell::default(),
            pulled: RefCell::default(),
            made: RefCell::default(),
            present: RefCell::default(),
            counter: Cell::new(0),
        };
        Ok(Self { state: Rc::new(state) })
    }

    /// The client, for calls that have no helper.
    pub fn client(&self) -> &Client {
        &self.state.client
    }

    /// The runtime handler of the target; empty is the default one.
    pub fn handler(&self) -> &str {
        &self.state.handler
    }

    /// A host directory of this attempt that the endpoint sees too.
    pub fn dir(&self) -> &Path {
        &self.state.dir
    }

    /// The cgroup below which pods are put; empty when the endpoint takes no path for it.
    pub(crate) fn cgroup(&self) -> &str {
        if self.state.parents { &self.state.cgroup } else { "" }
    }

    /// The attempt's own cgroup, absolute below each hierarchy's mount.
    pub fn own_cgroup(&self) -> &str {
        &self.state.cgroup
    }

    pub(crate) fn remember(&self, made: Made) {
        self.state.made.borrow_mut().push(made);
    }

    /// The attempt's tag.
    pub fn tag(&self) -> &str {
        &self.state.tag
    }

    /// Longest wait for a condition.
    pub fn wait(&self) -> Duration {
        self.state.wait
    }

    /// A name that no other attempt uses.
    pub fn name(&self, stem: &str) -> String {
        self.state.counter.set(self.state.counter.get() + 1);
        format!("{stem}-{}-{}", self.state.tag, self.state.counter.get())
    }

    /// A fact that was found when the target was prepared.
    pub fn fact(&self, name: &str) -> Option<&serde_json::Value> {
        self.state.facts.get(name)
    }

    /// A pod to be run: own network, the target's handler, unique names, the tag as label.
    pub fn pod(&self) -> PodBuilder {
        PodBuilder::new(self.clone())
    }

    /// A running pod with the default configuration.
    pub async fn run_pod(&self) -> Result<Pod, Stop> {
        self.pod().run().await
    }

    /// What was asked and answered so far, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.state.client.records().all()
    }

    /// Ids of the pods and containers made so far, in order.
    pub fn made(&self) -> Vec<Made> {
        self.state.made.borrow().clone()
    }

    /// Whether the endpoint has an optional rpc.
    pub async fn has(&self, rpc: &'static str) -> Result<bool, Stop> {
        if let Some(known) = self.fact(RPCS_FACT).and_then(|f| f.get(rpc)) {
            return Ok(known == true);
        }
        if let Some(known) = self.state.present.borrow().get(rpc) {
            return Ok(*known);
        }
        let present = facts::has(&self.state.client, rpc).await?;
        self.state.present.borrow_mut().insert(rpc, present);
        Ok(present)
    }

    /// Ends the case as not applicable unless the endpoint has an optional rpc.
    pub async fn need_rpc(&self, rpc: &'static str) -> Result<(), Stop> {
        if self.has(rpc).await? {
            return Ok(());
        }
        let reason = format!("the endpoint answers that {rpc} is not implemented");
        Err(Stop::NotApplicable { capability: format!("rpc.{rpc}"), reason })
    }

    /// Ends the case as not applicable.
    pub fn not_applicable<T>(&self, capability: &str, reason: &str) -> Result<T, Stop> {
        Err(Stop::NotApplicable { capability: capability.to_owned(), reason: reason.to_owned() })
    }

    /// Features that the endpoint declares for the target's handler; `None` if it declares no handlers.
    pub async fn handler_features(&self) -> Result<Option<v1::RuntimeHandlerFeatures>, Stop> {
        let status = self.state.client.status(v1::StatusRequest::default()).await.setup()?;
        let found = status.runtime_handlers.into_iter().find(|h| h.name == self.state.handler);
        Ok(found.map(|h| h.features.unwrap_or_default()))
    }

    /// Features that the endpoint declares for every handler.
    pub async fn features(&self) -> Result<v1::RuntimeFeatures, Stop> {
        let status = self.state.client.status(v1::StatusRequest::default()).await.setup()?;
        Ok(status.features.unwrap_or_default())
    }

    /// The generated images around the probe.
    pub fn catalogue(&self) -> Catalogue {
        Catalogue::new(PROBE)
    }

    /// The attempt's own registry.
    pub fn registry(&self) -> Result<Rc<Registry>, Stop> {
        if let Some(registry) = &*self.state.registry.borrow() {
            return Ok(registry.clone());
        }
        let registry = Rc::new(Registry::start()?);
        *self.state.registry.borrow_mut() = Some(registry.clone());
        Ok(registry)
    }

    /// Puts an image into the attempt's registry and gives its reference, without pulling it.
    pub fn publish(&self, name: &str, tag: &str, image: &ImageSet) -> Result<String, Stop> {
        Ok(self.registry()?.add(&format!("{}/{name}", self.state.tag), tag, image))
    }

    /// Publishes and pulls an image; it is removed after the case.
    pub async fn pull(&self, name: &str, image: &ImageSet) -> Result<Pulled, Stop> {
        let reference = self.publish(name, "1", image)?;
        let id = self.try_pull(&reference).await.setup()?;
        Ok(Pulled { reference, id })
    }

    /// Pulls a reference without credentials; what it gives is removed after the case.
    pub async fn try_pull(&self, reference: &str) -> Result<String, CallError> {
        self.try_pull_with(reference, None).await
    }

    /// The same with credentials.
    pub async fn try_pull_with(
        &self,
        reference: &str,
        auth: Option<v1::AuthConfig>,
    ) -> Result<String, CallError> {
        self.removes(reference);
        let image = Some(images::spec(reference));
        let request = v1::PullImageRequest { image, auth, sandbox_config: None };
        Ok(self.state.client.pull_image(request).await?.image_ref)
    }

    /// Has a reference removed after the case.
    pub fn removes(&self, reference: &str) {
        self.state.pulled.borrow_mut().push(reference.to_owned());
    }

    /// The image of most containers: the one that was prepared for the whole run, or else one of this attempt.
    pub async fn plain(&self) -> Result<Pulled, Stop> {
        if let Some(pulled) = Fixture::plain(&self.state.facts) {
            return Ok(pulled);
        }
        if let Some(pulled) = &*self.state.plain.borrow() {
            return Ok(pulled.clone());
        }
        // An image id of its own: removing it must not take the image of another attempt away.
        let pulled = self.pull("plain", &self.catalogue().tagged(&self.state.tag)).await?;
        *self.state.plain.borrow_mut() = Some(pulled.clone());
        Ok(pulled)
    }

    /// Status of an image; `None` when the endpoint does not have it.
    pub async fn image_status(&self, reference: &str) -> Result<Option<v1::Image>, CallError> {
        let request = v1::ImageStatusRequest { image: Some(images::spec(reference)), verbose: false };
        Ok(self.state.client.image_status(request).await?.image)
    }
}
