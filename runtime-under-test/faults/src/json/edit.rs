//! Edits of a JSON document, as the fault table writes them: `set /process/cwd "/"`.

use serde_json::Value;

use super::path::Path;

/// One edit. Paths that select nothing change nothing, unless the variant says that it creates.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// `drop PATH`: removes what the path selects.
    Drop(Path),
    /// `set PATH JSON`: replaces what the path selects.
    Set(Path, Value),
    /// `put PATH JSON`: sets, and creates missing members on the way.
    Put(Path, Value),
    /// `default PATH JSON`: as `put`, where the member is absent or null.
    Default(Path, Value),
    /// `add PATH NUMBER`: adds to numbers.
    Add(Path, f64),
    /// `mul PATH NUMBER`: multiplies numbers.
    Mul(Path, f64),
    /// `append PATH JSON`: pushes onto arrays.
    Append(Path, Value),
    /// `prepend PATH JSON`: pushes to the front of arrays.
    Prepend(Path, Value),
    /// `truncate PATH N`: keeps the first N elements.
    Truncate(Path, usize),
    /// `pop PATH`: removes the last element.
    Pop(Path),
    /// `shift PATH`: removes the first element.
    Shift(Path),
    /// `reverse PATH`: reverses arrays.
    Reverse(Path),
    /// `dedup PATH KEY`: keeps the last of the elements whose member KEY is equal.
    Dedup(Path, String),
    /// `concat TO FROM`: moves the elements of FROM behind those of TO, which is created.
    Concat(Path, Path),
    /// `concat-front TO FROM`: moves the elements of FROM before those of TO, which is created.
    ConcatFront(Path, Path),
    /// `copy FROM TO`: TO becomes equal to FROM's first place.
    Copy(Path, Path),
    /// `prefix PATH TEXT`: puts text before strings.
    Prefix(Path, String),
    /// `suffix PATH TEXT`: puts text after strings.
    Suffix(Path, String),
    /// `subst PATH FROM TO`: replaces text within strings (`''` is the empty text).
    Subst(Path, String, String),
    /// `ensure PATH KEY JSON`: appends an object unless one with the same KEY is there.
    Ensure(Path, String, Value),
    /// `absolute PATH`: makes relative paths absolute.
    Absolute(Path),
    /// `semver PATH TEXT`: replaces strings that are not `SemVer` 2.0.0.
    Semver(Path, String),
    /// `clamp PATH MIN MAX`: forces numbers into a range.
    Clamp(Path, f64, f64),
    /// `split PATH KEY`: an element whose array KEY has n > 1 members becomes n elements.
    Split(Path, String),
    /// `caller-env PATH`: appends this process's environment to an array of `NAME=value`.
    CallerEnv(Path),
}

/// What `{name}` in a string of an edit stands for.
pub trait Vars {
    /// The text for `name`, when it is known.
    fn get(&self, name: &str) -> Option<String>;
}

/// No variables at all.
pub struct NoVars;

impl Vars for NoVars {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// Names that may stand in braces.
pub const VARIABLES: &[&str] = &[
    "id",
    "root",
    "bundle",
    "rootfs",
    "pid",
    "cwd",
    "random",
    "target",
    "wrapper-pid",
    "now",
    "pid-file",
    "cgroups-path",
    "mount-source",
];

/// `text` with `{name}` replaced for each variable that `vars` knows.
pub fn expand(text: &str, vars: &dyn Vars) -> String {
    if !text.contains('{') {
        return text.to_owned();
    }
    VARIABLES.iter().fold(text.to_owned(), |acc, name| {
        let token = format!("{{{name}}}");
        match acc.contains(&token).then(|| vars.get(name)).flatten() {
            Some(value) => acc.replace(&token, &value),
            None => acc,
        }
    })
}

impl Edit {
    /// Applies the edit to `root`.
    pub fn apply(&self, root: &mut Value, vars: &dyn Vars) {
        super::edit_apply::apply(self, root, vars);
    }

    /// Parses the text form. The error names the edit and what is wrong with it.
    pub fn parse(text: &str) -> Result<Edit, String> {
        super::edit_parse::parse(text)
    }
}
