//! Holds a record against packaging/audit.schema.json: as much of JSON Schema (2020-12) as that file uses, and a panic at a word it does
//! not know, so that the schema cannot say more than is checked.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The schema of the audit log.
pub struct Schema(Value);

/// What a value breaks, or the names of its fields that the schema has looked at.
type Checked = Result<BTreeSet<String>, String>;

impl Schema {
    /// As it is shipped.
    pub fn of_the_audit_log() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/audit.schema.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// Whether the record is as the schema says; otherwise what is wrong with it.
    pub fn check(&self, record: &Value) -> Result<(), String> {
        self.at(&self.0, record).map(drop)
    }

    fn at(&self, schema: &Value, value: &Value) -> Checked {
        let schema = schema.as_object().expect("a schema is an object");
        let mut seen = BTreeSet::new();
        for (word, wanted) in schema {
            let checked = match word.as_str() {
                "$schema" | "$defs" | "title" | "description" | "format" => Ok(BTreeSet::new()),
                "unevaluatedProperties" | "additionalProperties" => continue, // when all else has been looked at
                "$ref" => self.at(self.definition(wanted), value),
                "oneOf" => self.one_of(wanted, value),
                "anyOf" => self.any_of(wanted, value),
                "properties" => self.properties(wanted, value),
                "items" => value
                    .as_array()
                    .into_iter()
                    .flatten()
                    .try_for_each(|item| self.at(wanted, item).map(drop))
                    .map(|()| BTreeSet::new()),
                word => is(plain(word, wanted, value), word, wanted, value),
            };
            seen.extend(checked?);
        }
        if ["unevaluatedProperties", "additionalProperties"].iter().any(|word| schema.get(*word) == Some(&Value::Bool(false))) {
            let surplus = fields(value).keys().find(|name| !seen.contains(*name));
            surplus.map_or(Ok(()), |name| Err(format!("{name} is not in the schema")))?;
        }
        Ok(seen)
    }

    fn definition(&self, reference: &Value) -> &Value {
        let path = reference.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference into this schema");
        self.0.pointer(path).unwrap_or_else(|| panic!("{path} is not defined"))
    }

    fn one_of(&self, schemas: &Value, value: &Value) -> Checked {
        let (fits, fails): (Vec<_>, Vec<_>) =
            schemas.as_array().unwrap().iter().map(|schema| self.at(schema, value)).partition(Result::is_ok);
        match (fits.into_iter().next(), fails.len() + 1 == schemas.as_array().unwrap().len()) {
            (Some(fit), true) => fit,
            (Some(_), false) => Err(format!("{value} fits more than one of {schemas}")),
            (None, _) => Err(fails.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; or ")),
        }
    }

    fn any_of(&self, schemas: &Value, value: &Value) -> Checked {
        let mut fits = schemas.as_array().unwrap().iter().map(|schema| self.at(schema, value));
        fits.find(Result::is_ok).unwrap_or_else(|| Err(format!("{value} fits none of {schemas}")))
    }

    fn properties(&self, schemas: &Value, value: &Value) -> Checked {
        let mut seen = BTreeSet::new();
        for (name, schema) in schemas.as_object().unwrap() {
            if let Some(field) = value.get(name) {
                self.at(schema, field).map_err(|why| format!("{name}: {why}"))?;
                seen.insert(name.clone());
            }
        }
        Ok(seen)
    }
}

fn fields(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
    value.as_object().unwrap_or_else(|| NONE.get_or_init(Map::new))
}

fn is(fits: bool, word: &str, wanted: &Value, value: &Value) -> Checked {
    if fits { Ok(BTreeSet::new()) } else { Err(format!("{value} breaks {word} {wanted}")) }
}

/// Words about a value alone.
fn plain(word: &str, wanted: &Value, value: &Value) -> bool {
    let length = value.as_str().map(|text| text.chars().count()).or_else(|| value.as_array().map(Vec::len));
    let number = |value: &Value| value.as_f64().unwrap();
    let limit = || usize::try_from(wanted.as_u64().unwrap()).unwrap();
    match word {
        "type" => match wanted {
            Value::Array(names) => names.iter().any(|name| is_of_type(name, value)),
            name => is_of_type(name, value),
        },
        "required" => wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "const" => value == wanted,
        "enum" => wanted.as_array().unwrap().contains(value),
        "minimum" => value.is_number() && number(value) >= number(wanted),
        "maximum" => value.is_number() && number(value) <= number(wanted),
        "minLength" | "minItems" => length.is_some_and(|length| length >= limit()),
        "maxLength" | "maxItems" => length.is_some_and(|length| length <= limit()),
        "pattern" => value.as_str().is_some_and(|text| matches_pattern(wanted.as_str().unwrap(), text)),
        unknown => panic!("this checker does not know the word {unknown}"),
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        unknown => panic!("this checker does not know the type {unknown}"),
    }
}

/// The patterns of the schema, by hand: no regular expressions for five of them.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    match pattern {
        "^[ -~]*$" => text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "^[ -~\\n]*$" => text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "^SIG[0-9A-Z]+$" => text
            .strip_prefix("SIG")
            .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())),
        "^sha256:[0-9a-f]{64}$" => text.strip_prefix("sha256:").is_some_and(|digest| digest.len() == 64 && hex(digest)),
        "^[0-9A-Za-z_.-]+-[0-9a-f]+-[0-9]+$" => {
            let (rest, generation) = text.rsplit_once('-').unwrap_or_default();
            let (helper, time) = rest.rsplit_once('-').unwrap_or_default();
            let decent = helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
            !helper.is_empty() && decent && hex(time) && generation.parse::<u64>().is_ok()
        }
        unknown => panic!("this checker does not know the pattern {unknown}"),
    }
}
