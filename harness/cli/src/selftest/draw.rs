//! Which faults are tried: an expression, and a draw by hash.

use crate::usage::Failure;
use plimsoll_faults::Fault;
use plimsoll_model::expectation::glob;

/// One alternative of `--faults`: terms joined by commas, all of which must hold.
#[derive(Debug, Clone)]
pub struct Expression(Vec<Term>);

#[derive(Debug, Clone)]
struct Term {
    negated: bool,
    field: Field,
    pattern: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Layer,
    Requirement,
}

impl Expression {
    /// Parses `kill.*`, `layer:hook`, `req:state.*,!state.pid*`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let terms = text.split(',').map(|term| {
            let term = term.trim();
            let (negated, term) = term.strip_prefix('!').map_or((false, term), |rest| (true, rest));
            let (field, pattern) = match term.split_once(':') {
                Some(("layer", pattern)) => (Field::Layer, pattern),
                Some(("req", pattern)) => (Field::Requirement, pattern),
                Some((other, _)) => return Err(format!("`{other}:` is neither `layer:` nor `req:`")),
                None => (Field::Id, term),
            };
            if pattern.is_empty() {
                return Err("a term is empty".to_owned());
            }
            Ok(Term { negated, field, pattern: pattern.to_owned() })
        });
        terms.collect::<Result<_, _>>().map(Self).map_err(|why| {
            Failure::usage(format!("--faults `{text}`: {why}"))
                .hint("write globs over fault ids, layer:GLOB or req:GLOB, joined by commas; `!` before one excludes")
        })
    }

    fn takes(&self, fault: &Fault) -> bool {
        self.0.iter().all(|t| t.holds(fault) != t.negated)
    }
}

impl Term {
    fn holds(&self, fault: &Fault) -> bool {
        match self.field {
            Field::Id => glob(&self.pattern, &fault.id) || glob(&self.pattern, &fault.alias),
            Field::Layer => glob(&self.pattern, &fault.layer),
            Field::Requirement => fault.requirements.iter().any(|r| glob(&self.pattern, r)),
        }
    }
}

/// Draws from `all`: what any of the expressions takes, then `sample` of these by the seed. Catalogue order.
pub fn draw(
    all: Vec<Fault>,
    expressions: &[String],
    sample: Option<usize>,
    seed: u64,
) -> Result<Vec<Fault>, Failure> {
    let parsed = expressions.iter().map(|e| Expression::parse(e)).collect::<Result<Vec<_>, _>>()?;
    for (expression, text) in parsed.iter().zip(expressions) {
        if !all.iter().any(|f| expression.takes(f)) {
            return Err(Failure::usage(format!("--faults `{text}` matches no fault for this target")).hint(
                "`plimsoll faults --list` shows all; CRI faults need a CRI target, OCI ones an OCI runtime",
            ));
        }
    }
    let order: Vec<String> = all.iter().map(|f| f.id.clone()).collect();
    let wanted = |f: &Fault| parsed.is_empty() || parsed.iter().any(|e| e.takes(f));
    let mut faults: Vec<Fault> = all.into_iter().filter(wanted).collect();
    if let Some(n) = sample {
        // A draw by hash: the same seed gives the same sample, whatever is added to the catalogue elsewhere.
        faults.sort_by_key(|f| mix(seed, &f.id));
        faults.truncate(n);
        faults.sort_by_key(|f| order.iter().position(|id| *id == f.id));
    }
    Ok(faults)
}

/// FNV-1a over the seed and a name.
fn mix(seed: u64, name: &str) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = name.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3));
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(id: &str, layer: &str, requirement: &str) -> Fault {
        Fault {
            id: id.into(),
            alias: String::new(),
            layer: layer.into(),
            requirements: vec![requirement.into()],
            needs: String::new(),
            title: String::new(),
            how: String::new(),
            sample: String::new(),
            steps: vec![],
        }
    }

    fn drawn(expressions: &[&str], sample: Option<usize>, seed: u64) -> Vec<String> {
        let all = vec![
            fault("kill.a", "argv", "kill.x"),
            fault("kill.b", "exit", "kill.y"),
            fault("s.c", "exit", "s.z"),
        ];
        let texts: Vec<String> = expressions.iter().map(|e| (*e).to_owned()).collect();
        draw(all, &texts, sample, seed).unwrap().into_iter().map(|f| f.id).collect()
    }

    #[test]
    fn expressions_select() {
        assert_eq!(drawn(&[], None, 1), ["kill.a", "kill.b", "s.c"]);
        assert_eq!(drawn(&["kill.*"], None, 1), ["kill.a", "kill.b"]);
        assert_eq!(drawn(&["layer:exit,!kill.*"], None, 1), ["s.c"]);
        assert_eq!(drawn(&["req:kill.x", "s.c"], None, 1), ["kill.a", "s.c"]);
    }

    #[test]
    fn a_draw_depends_on_the_seed_alone() {
        assert_eq!(drawn(&[], Some(2), 7), drawn(&[], Some(2), 7));
        assert_eq!(drawn(&[], Some(2), 7).len(), 2);
        let other = (1..50).any(|seed| drawn(&[], Some(1), seed) != drawn(&[], Some(1), 7));
        assert!(other, "fifty seeds draw the same fault");
    }

    #[test]
    fn mistakes_are_errors() {
        let all = || vec![fault("kill.a", "argv", "kill.x")];
        for bad in ["nothing.*", "level:MUST", "", "kill.*,", "layer:"] {
            assert!(draw(all(), &[bad.to_owned()], None, 1).is_err(), "{bad}");
        }
    }
}
