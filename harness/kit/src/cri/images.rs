//! Images of a whole run.

use std::collections::BTreeMap;

use plimsoll_cri_client::{Client, Options, Target};
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;
use serde_json::{Value, json};

use super::v1;
use crate::probe::PROBE;

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

/// The image that every case of a run may use. Whoever runs cases makes one before the first and ends it after
/// the last; [`Fixture::facts`] go into each job's `target_facts`.
pub struct Fixture {
    client: Client,
    pulled: Pulled,
    _registry: Registry,
}

/// Names of the facts.
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
        BTreeMap::from([
            (REFERENCE.to_owned(), json!(self.pulled.reference)),
            (ID.to_owned(), json!(self.pulled.id)),
        ])
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
