//! Images of a whole run.

use std::collections::BTreeMap;

use plimsoll_cri_client::{Client, Options, Target};
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;
use serde_json::{Value, json};

use super::{Answered as _, Cri, v1};
use crate::probe::PROBE;
use crate::stop::Stop;

/// An image that the endpoint has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The reference that it was pulled by.
    pub reference: String,
    /// What the pull answered: the image's id.
    pub id: String,
}

/// An image spec with nothing but a reference.
pub(super) fn spec(reference: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: reference.to_owned(), ..Default::default() }
}

/// Publishes and pulls the image that every case of a run may use, and leaves it there until
/// [`remove_run`](super::remove_run). Gives the facts that each job must know.
pub async fn prepare_image(cri: &Cri) -> Result<BTreeMap<String, Value>, Stop> {
    let reference = cri.publish("plain", "1", &cri.catalogue().tagged(cri.tag()))?;
    let request = v1::PullImageRequest { image: Some(spec(&reference)), ..Default::default() };
    let id = cri.client().pull_image(request).await.setup()?.image_ref;
    let pulled = Pulled { reference, id };
    // Containers of this attempt use it as well, and do not have it removed after it.
    *cri.state.plain.borrow_mut() = Some(pulled.clone());
    Ok(facts_of(&pulled))
}

fn facts_of(pulled: &Pulled) -> BTreeMap<String, Value> {
    BTreeMap::from([(REFERENCE.to_owned(), json!(pulled.reference)), (ID.to_owned(), json!(pulled.id))])
}

/// The image that every case of a run may use, where no worker prepares it. Whoever runs cases makes one before the first and ends it after
/// the last; [`Fixture::facts`] go into each job's `target_facts`.
pub struct Fixture {
    client: Client,
    pulled: Pulled,
    _registry: Registry,
}

const REFERENCE: &str = "cri.plain.reference";
const ID: &str = "cri.plain.id";

impl Fixture {
    /// Publishes and pulls the plain image. `tag` tells this run's image from another's.
    pub async fn prepare(target: &Target, tag: &str) -> Result<Self, String> {
        let registry = Registry::start().map_err(|e| format!("the image registry does not start: {e}"))?;
        let reference = registry.add("plimsoll/plain", "1", &Catalogue::new(PROBE).tagged(tag));
        let client = Client::lazy(target, Options::default());
        let request = v1::PullImageRequest { image: Some(spec(&reference)), ..Default::default() };
        let answer = client.pull_image(request).await.map_err(|e| e.to_string())?;
        Ok(Self { client, pulled: Pulled { reference, id: answer.image_ref }, _registry: registry })
    }

    /// What the jobs must know.
    pub fn facts(&self) -> BTreeMap<String, Value> {
        facts_of(&self.pulled)
    }

    /// Removes the image.
    pub async fn end(self) -> Result<(), String> {
        let request = v1::RemoveImageRequest { image: Some(spec(&self.pulled.reference)) };
        self.client.remove_image(request).await.map(|_| ()).map_err(|e| e.to_string())
    }

    pub(super) fn plain(facts: &BTreeMap<String, Value>) -> Option<Pulled> {
        let text = |name: &str| facts.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Some(Pulled { reference: text(REFERENCE)?, id: text(ID)? })
    }
}
