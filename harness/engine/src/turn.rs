//! Whose turn it is: what runs at the same time as what.

/// A case on a target, waiting for its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) case: usize,
    pub(crate) target: usize,
    pub(crate) attempt: u32,
}

/// What a turn wants for itself: resources of the host, or of the endpoint that it drives.
pub(crate) struct Claims {
    /// Empty for the host.
    pub(crate) place: String,
    pub(crate) exclusive: &'static [&'static str],
}

/// A case that wants this runs alone on its endpoint.
const WHOLE_ENDPOINT: &str = "daemon";

/// The running turns with their claims.
#[derive(Default)]
pub(crate) struct Busy {
    pub(crate) running: Vec<(Turn, Claims)>,
}

impl Busy {
    /// Whether a turn with these claims may run now.
    pub(crate) fn admits(&self, wanted: &Claims) -> bool {
        let whole = |c: &Claims| !c.place.is_empty() && c.exclusive.contains(&WHOLE_ENDPOINT);
        self.running.iter().filter(|(_, c)| c.place == wanted.place).all(|(_, c)| {
            !whole(c) && !whole(wanted) && !c.exclusive.iter().any(|r| wanted.exclusive.contains(r))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Busy, Claims, Turn};

    fn claims(place: &str, exclusive: &'static [&'static str]) -> Claims {
        Claims { place: place.to_owned(), exclusive }
    }

    fn running(claims: Claims) -> Busy {
        Busy { running: vec![(Turn { case: 0, target: 0, attempt: 1 }, claims)] }
    }

    #[test]
    fn a_resource_is_one_turns_only_and_only_in_its_place() {
        let busy = running(claims("a", &["images"]));
        assert!(!busy.admits(&claims("a", &["images"])));
        assert!(busy.admits(&claims("a", &["other"])) && busy.admits(&claims("a", &[])));
        assert!(busy.admits(&claims("b", &["images"])) && busy.admits(&claims("", &["images"])));
    }

    #[test]
    fn the_whole_endpoint_is_one_turns_only() {
        let busy = running(claims("a", &[]));
        assert!(!busy.admits(&claims("a", &["daemon"])));
        assert!(busy.admits(&claims("b", &["daemon"])));
        let busy = running(claims("a", &["daemon"]));
        assert!(!busy.admits(&claims("a", &[])));
        // Without an endpoint the word is a resource like others.
        let busy = running(claims("", &["daemon"]));
        assert!(busy.admits(&claims("", &[])) && !busy.admits(&claims("", &["daemon"])));
    }
}
