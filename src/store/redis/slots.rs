//! The slots of a cluster: which one a key is in, and which server has it.
//!
//! The rules are those of the [cluster specification](https://valkey.io/topics/cluster-spec/).

use redis::Value;

use super::sentinel::Named;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of what is between its first `{` and the `}` that follows, unless that is nothing.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let find = |byte, bytes: &[u8]| bytes.iter().position(|&found| found == byte);
    let tag = find(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        find(b'}', rest).filter(|&length| length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(
            crc ^ u16::from(byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

/// Which server has which slots.
#[derive(Clone, Debug)]
pub(super) struct SlotMap {
    servers: Vec<Named>,
    /// For each slot, the place of its server.
    of: Vec<Option<u16>>,
}

impl SlotMap {
    /// What `CLUSTER SLOTS` answered, asked at `asked`; `None` if it is not understood or no slot is anybody's.
    pub(super) fn read(ranges: &[Value], asked: &str) -> Option<Self> {
        let mut map = Self { servers: Vec::new(), of: vec![None; SLOTS.into()] };
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [first, last, Value::Array(master), ..] = parts.as_slice() else { return None };
            let number = |value| redis::from_redis_value_ref::<u16>(value).ok();
            let [host, port, ..] = master.as_slice() else { return None };
            // Without a name it is the one who was asked.
            let host = redis::from_redis_value_ref::<Option<String>>(host).ok()?;
            let host = host.filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| asked.into());
            for slot in number(first)?..=number(last)?.min(SLOTS - 1) {
                map.give(slot, (host.clone(), number(port)?));
            }
        }
        map.of.iter().any(Option::is_some).then_some(map)
    }

    /// A slot is at that server now.
    pub(super) fn give(&mut self, slot: u16, server: Named) {
        let place = self.servers.iter().position(|known| *known == server).unwrap_or_else(|| {
            self.servers.push(server);
            self.servers.len() - 1
        });
        if let Some(of) = self.of.get_mut(usize::from(slot)) {
            *of = u16::try_from(place).ok();
        }
    }

    pub(super) fn server_of(&self, slot: u16) -> Option<&Named> {
        let place = self.of.get(usize::from(slot)).copied().flatten()?;
        self.servers.get(usize::from(place))
    }

    pub(super) fn servers(&self) -> &[Named] {
        &self.servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_slots_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
    }

    #[test]
    fn a_slot_is_where_it_was_last_seen() {
        let range = |first, last, host: &str, port| {
            let server =
                vec![Value::BulkString(host.into()), Value::Int(port), Value::BulkString("id".into())];
            Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(server)])
        };
        let ranges = [range(0, 8_000, "", 7_000), range(8_001, 16_382, "b", 7_001)];
        let mut map = SlotMap::read(&ranges, "a").unwrap();
        let at = |map: &SlotMap, slot| map.server_of(slot).cloned();
        assert_eq!(at(&map, 8_000), Some(("a".into(), 7_000)));
        assert_eq!(at(&map, 8_001), Some(("b".into(), 7_001)));
        assert_eq!(at(&map, 16_383), None);
        map.give(8_000, ("c".into(), 7_002));
        assert_eq!(at(&map, 8_000), Some(("c".into(), 7_002)));
        assert_eq!(at(&map, 7_999), Some(("a".into(), 7_000)));
        assert!(SlotMap::read(&[], "a").is_none() && SlotMap::read(&[Value::Nil], "a").is_none());
    }
}
