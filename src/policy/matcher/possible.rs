//! Which nodes an entry may choose of which only the key is known, for whoever looks at a policy without a request.

use super::{Level, Node};

impl Level {
    /// The nodes that some entry with `key` chooses, of whose value it is known that it is none of those for which `could_be` says
    /// no. Credentials are nobody's business here: a node that asks for one may be chosen.
    pub fn possible<'l>(&'l self, key: &[u8], could_be: impl Fn(&[u8]) -> bool) -> Vec<&'l Node> {
        let by_key =
            self.key_patterns.listed().filter(|wild| wild.pattern.matches(key)).map(|wild| &wild.node);
        let Some(known) = self.keys.get(key) else { return by_key.collect() };
        let exact = known.values.iter().filter(|(value, _)| could_be(value)).map(|(_, node)| &**node);
        let subjects = known.subjects.iter().map(|(_, node)| node);
        exact
            .chain(known.wildcards.nodes())
            .chain(by_key)
            .chain(subjects)
            .chain(known.alone.as_deref())
            .collect()
    }

    /// The nodes that an entry with `key` and this very `value` may choose.
    pub fn possible_for<'l>(&'l self, key: &[u8], value: &[u8]) -> Vec<&'l Node> {
        let known = self.keys.get(key);
        if let Some(exact) = known.and_then(|known| known.values.get(value)) {
            return vec![exact];
        }
        let by_value = known.into_iter().flat_map(|known| known.wildcards.listed());
        let by_value = by_value.filter(|wild| wild.pattern.matches(value));
        let by_key = self.key_patterns.listed().filter(|wild| wild.pattern.matches(key));
        if let Some(first) = by_value.chain(by_key).min_by_key(|wild| wild.rank) {
            return vec![&first.node];
        }
        let Some(known) = known else { return Vec::new() };
        known.subjects.iter().map(|(_, node)| node).chain(known.alone.as_deref()).collect()
    }

    /// The keys that are listed here, patterns among them, in alphabetical order.
    pub fn keys(&self) -> Vec<String> {
        let patterns = self.key_patterns.listed().map(|wild| wild.pattern.as_bytes());
        sorted(self.keys.keys().map(|key| &**key).chain(patterns))
    }

    /// The values that are listed here for `key`, patterns among them, in alphabetical order.
    pub fn values(&self, key: &[u8]) -> Vec<String> {
        let Some(known) = self.keys.get(key) else { return Vec::new() };
        let patterns = known.wildcards.listed().map(|wild| wild.pattern.as_bytes());
        sorted(known.values.keys().map(|value| &**value).chain(patterns))
    }
}

fn sorted<'t>(texts: impl Iterator<Item = &'t [u8]>) -> Vec<String> {
    let mut texts: Vec<String> = texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    texts.sort_unstable();
    texts
}
