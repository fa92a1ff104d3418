//! The wire facts of CRI v1: which rpc takes what, and how messages are numbered and typed.

use std::collections::HashMap;
use std::sync::OnceLock;

const TABLE: &str = include_str!("../../catalogue/cri-interface.tsv");

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Octets, shown as `hex:...`.
    Octets,
    /// An integer as varint; booleans and enumerations too.
    Integer,
    /// A boolean.
    Boolean,
    /// A 64-bit float.
    Double,
    /// A map from text to text.
    TextMap,
    /// A message of that name.
    Message(String),
}

/// A field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether there may be several.
    pub repeated: bool,
}

/// A remote procedure.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// The service's name without the package.
    pub service: String,
    /// Its request message.
    pub request: String,
    /// Its response message.
    pub response: String,
    /// Whether the response is a stream.
    pub streams: bool,
}

/// The whole interface.
#[derive(Debug, Default)]
pub struct Interface {
    /// Procedures by name.
    pub rpcs: HashMap<String, Rpc>,
    /// Fields by message.
    pub messages: HashMap<String, Vec<Field>>,
}

/// The interface, read once.
pub fn interface() -> &'static Interface {
    static INTERFACE: OnceLock<Interface> = OnceLock::new();
    INTERFACE.get_or_init(load)
}

fn load() -> Interface {
    let mut interface = Interface::default();
    for line in TABLE.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        match columns[..] {
            ["rpc", name, request, response, mode] => {
                let (service, rpc) = name.split_once('/').unwrap_or(("", name));
                let entry = Rpc {
                    service: service.to_owned(),
                    request: request.to_owned(),
                    response: response.to_owned(),
                    streams: mode == "stream",
                };
                interface.rpcs.insert(rpc.to_owned(), entry);
                // A message without fields has no row of its own.
                interface.messages.entry(request.to_owned()).or_default();
                interface.messages.entry(response.to_owned()).or_default();
            }
            ["field", message, number, name, kind] => {
                let (repeated, kind) = kind.strip_prefix("repeated ").map_or((false, kind), |k| (true, k));
                let kind = match kind {
                    "string" => Kind::Text,
                    "bytes" => Kind::Octets,
                    "bool" => Kind::Boolean,
                    "double" => Kind::Double,
                    "map" => Kind::TextMap,
                    "int32" | "int64" | "uint32" | "uint64" | "enum" => Kind::Integer,
                    message => Kind::Message(message.to_owned()),
                };
                let field =
                    Field { number: number.parse().unwrap_or(0), name: name.to_owned(), kind, repeated };
                interface.messages.entry(message.to_owned()).or_default().push(field);
            }
            _ => {}
        }
    }
    interface
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_closed() {
        let interface = interface();
        assert!(interface.rpcs.len() > 35 && interface.messages.len() > 100);
        for (message, fields) in &interface.messages {
            for field in fields {
                assert!(field.number > 0, "{message}.{}", field.name);
            }
        }
        for rpc in interface.rpcs.values() {
            assert!(
                interface.messages.contains_key(&rpc.request)
                    && interface.messages.contains_key(&rpc.response)
            );
        }
    }
}
