//! The arguments of one step, with errors that say what the script should have said.
use crate::names;
use crate::prelude::*;

/// One step of a script.
pub struct Step<'a>(pub &'a Map<String, Value>);

impl<'a> Step<'a> {
    /// `{"ask": NAME}` and `{"do": NAME}` are the same to the probe; the two words are for the reader.
    pub fn name(&self) -> Option<&'a str> {
        self.0.get("ask").or_else(|| self.0.get("do")).and_then(Value::as_str)
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub fn opt_str(&self, key: &str) -> Result<Option<&'a str>, Fail> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Fail::script(format_args!("`{key}` must be a string, not {other}"))),
        }
    }

    pub fn str(&self, key: &str) -> Result<&'a str, Fail> {
        self.opt_str(key)?.ok_or_else(|| Fail::script(format_args!("`{key}` (a string) is missing")))
    }

    /// A string for the kernel: no NUL within.
    pub fn c_string(&self, key: &str) -> Result<CString, Fail> {
        c_string(self.str(key)?)
    }

    pub fn opt_int(&self, key: &str) -> Result<Option<i64>, Fail> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // Beyond i64 are only the infinities and masks, whose bits are what counts.
        let bits = value.as_i64().or_else(|| value.as_u64().map(u64::cast_signed));
        match bits {
            Some(bits) => Ok(Some(bits)),
            None => Err(Fail::script(format_args!("`{key}` must be an integer, not {value}"))),
        }
    }

    pub fn int_or(&self, key: &str, default: i64) -> Result<i64, Fail> {
        Ok(self.opt_int(key)?.unwrap_or(default))
    }

    pub fn int(&self, key: &str) -> Result<i64, Fail> {
        self.opt_int(key)?.ok_or_else(|| Fail::script(format_args!("`{key}` (an integer) is missing")))
    }

    /// A count or size between 0 and `max`.
    pub fn size_or(&self, key: &str, default: usize, max: usize) -> Result<usize, Fail> {
        let Some(given) = self.opt_int(key)? else { return Ok(default) };
        match usize::try_from(given) {
            Ok(size) if size <= max => Ok(size),
            _ => Err(Fail::script(format_args!("`{key}` must be between 0 and {max}, not {given}"))),
        }
    }

    /// The bound of a step in milliseconds: at most an hour, whatever the script says.
    pub fn timeout_ms(&self, default: u64) -> Result<u64, Fail> {
        self.millis("timeout_ms", default)
    }

    pub fn millis(&self, key: &str, default: u64) -> Result<u64, Fail> {
        Ok(self.size_or(key, default as usize, 3_600_000)? as u64)
    }

    pub fn flag(&self, key: &str) -> Result<bool, Fail> {
        self.flag_or(key, false)
    }

    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, Fail> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Fail::script(format_args!("`{key}` must be true or false, not {other}"))),
        }
    }

    /// A file mode: an integer, or a string of octal digits.
    pub fn mode(&self, key: &str, default: u32) -> Result<u32, Fail> {
        match self.get(key) {
            Some(Value::String(octal)) => u32::from_str_radix(octal.trim_start_matches("0o"), 8)
                .map_err(|_| Fail::script(format_args!("`{key}` must be an octal mode, not {octal:?}"))),
            _ => Ok(self.int_or(key, i64::from(default))? as u32),
        }
    }

    /// A list; one value stands for a list of one.
    pub fn list(&self, key: &str) -> Vec<&'a Value> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().collect(),
            Some(single) => vec![single],
        }
    }

    pub fn c_strings(&self, key: &str) -> Result<Option<Vec<CString>>, Fail> {
        if self.get(key).is_none() {
            return Ok(None);
        }
        let one = |value: &Value| {
            let text = value.as_str();
            c_string(
                text.ok_or_else(|| Fail::script(format_args!("`{key}` must hold strings, not {value}")))?,
            )
        };
        self.list(key).into_iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    /// The set of signals under the first of `keys` that is present; bit N-1 stands for signal N.
    pub fn signals(&self, keys: &[&str]) -> Result<u64, Fail> {
        let Some(key) = keys.iter().find(|key| self.get(key).is_some()) else { return Ok(0) };
        self.list(key)
            .into_iter()
            .try_fold(0, |set, value| Ok(set | sys::signal::bit(names::signal_number(value)?)))
    }

    pub fn flags(&self, key: &str, table: &[names::Flag]) -> Result<u64, Fail> {
        names::flags(self.get(key), table)
    }
}

pub fn c_string(text: &str) -> Result<CString, Fail> {
    CString::new(text).map_err(|_| Fail::script(format_args!("{text:?} holds a NUL byte")))
}
