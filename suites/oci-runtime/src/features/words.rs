//! What the document lists, and whether the runtime knows a word: by how it answers one that nobody knows.

use super::{document, list};
use plimsoll_kit::prelude::*;

/// Ends the case as not applicable when the document does not list or claim anything there.
pub fn listed(cx: &Cx, path: &str) -> Result<Vec<String>, Stop> {
    let items = list(&document(cx)?, path);
    if items.is_empty() {
        return Err(Stop::NotApplicable {
            capability: format!("features.{path}"),
            reason: format!("the features document lists nothing in `{path}`"),
        });
    }
    Ok(items)
}

/// Whether the runtime answers a configuration with `word` as it answers one with `nonsense`: with the same complaint,
/// in an error or a warning. A word without any complaint is known.
pub async fn is_unknown_word(
    word: &str,
    nonsense: &str,
    with: impl Fn(&str) -> Builder,
) -> Result<bool, Stop> {
    let complaint = complaint(with(word), word).await?;
    Ok(complaint.is_some() && complaint == self::complaint(with(nonsense), nonsense).await?)
}

/// What the runtime says of this bundle, without what differs from call to call; `None` when it says nothing and makes
/// the container.
async fn complaint(builder: Builder, word: &str) -> Result<Option<String>, Stop> {
    let (create, container) = builder.attempt().await?;
    let call =
        if create.succeeded() && create.stderr.trim().is_empty() { container.start().await? } else { create };
    let said = call.stderr.lines().last().unwrap_or_default().to_owned();
    if call.succeeded() {
        container.delete_force().await?;
        if said.trim().is_empty() {
            return Ok(None);
        }
    } else {
        call.must_fail()?;
    }
    let message = said.split_once("msg=").map_or(said.as_str(), |(_, message)| message);
    let short = word.rsplit("SCMP_ARCH_").next().unwrap_or(word);
    let general = message.replace(word, "WORD").replace(&short.to_lowercase(), "WORD").replace(short, "WORD");
    // Places in the text and times differ as well.
    let without_numbers = general.replace(container.id(), "ID").split(|c: char| c.is_ascii_digit()).collect();
    Ok(Some(without_numbers))
}
