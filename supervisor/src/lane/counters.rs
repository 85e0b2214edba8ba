//! What a lane has counted since it started.

use std::collections::BTreeMap;

use cthelper_proto::ipc::Rule;

/// Field names a worker may make us remember; further ones are counted under `other`.
const FIELDS: usize = 64;
/// A field name's length, bytes.
const FIELD_LEN: usize = 32;

/// The figures of `cthelperctl status`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) packets: u64,
    pub(super) verdicts: u64,
    pub(super) expectations: u64,
    pub(super) restarts: u64,
    pub(super) refused: BTreeMap<Rule, u64>,
    pub(super) malformed: BTreeMap<String, u64>,
    pub(super) trouble: BTreeMap<&'static str, u64>,
}

impl Counters {
    pub(super) fn refused(&mut self, rule: Rule) {
        *self.refused.entry(rule).or_default() += 1;
    }

    pub(super) fn trouble(&mut self, what: &'static str) {
        *self.trouble.entry(what).or_default() += 1;
    }

    /// Counts a malformed payload under the name a worker gave, as far as the name is decent.
    pub(super) fn malformed(&mut self, field: &str) {
        let decent = field.len() <= FIELD_LEN && field.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let known = self.malformed.contains_key(field);
        let name = if known || (decent && self.malformed.len() < FIELDS) { field } else { "other" };
        match self.malformed.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.malformed.insert(name.to_owned(), 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_cannot_make_the_table_of_fields_grow_without_bound() {
        let mut counters = Counters::default();
        for n in 0..1000 {
            counters.malformed(&format!("field {n}"));
        }
        counters.malformed("\x1b[31m");
        assert_eq!(counters.malformed.len(), FIELDS + 1);
        assert_eq!(counters.malformed["other"], 1000 - FIELDS as u64 + 1);
    }
}
