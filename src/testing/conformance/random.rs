//! Values drawn at random, the same in every run, and a case for records that no person thought of.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value};

use super::{at, record};
use crate::{
    KeyId, Scopes, Timestamp,
    key::{KeyDigest, KeyRecord, LegacyHash, Needs, Rotation},
    limit::{Limit, Limits, Quota},
    store::KeyRepository,
};

pub async fn random_records_read_back_equal(store: impl KeyRepository) {
    let mut random = Random::new(1);
    for number in 1..=64 {
        let mut drawn = random.record();
        let empty = record(number);
        (drawn.id, drawn.digest) = (empty.id, empty.digest);
        drawn.details.request = drawn.details.request.map(|_| empty.digest);
        store.insert(&drawn).await.unwrap();
        let read = store.get(drawn.id).await.unwrap().unwrap();
        assert_eq!(*read, drawn, "record {number}");
    }
}

/// `SplitMix64`: each number of the state gives another one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below this bound, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }

    /// Nothing every other time.
    pub fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.once_in(2) { Some(draw(self)) } else { None }
    }

    /// Fewer than so many.
    pub fn several<T, C: FromIterator<T>>(
        &mut self,
        bound: u64,
        mut draw: impl FnMut(&mut Self) -> T,
    ) -> C {
        (0..self.below(bound)).map(|_| draw(self)).collect()
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.number().to_be_bytes()[0])
    }

    /// Of any size: as many are short as are long.
    fn of_any_size(&mut self) -> u64 {
        let bits = self.below(64);
        self.number() >> bits
    }

    /// As databases keep it.
    fn count(&mut self) -> u64 {
        self.of_any_size() >> 1
    }

    fn time(&mut self) -> Timestamp {
        at(self.of_any_size().cast_signed())
    }

    /// Any text without NUL, which no field takes and which PostgreSQL cannot keep.
    fn text(&mut self) -> String {
        self.several(33, |random| {
            loop {
                let plane = random.one_of(&[0x7f, 0x500, 0xffff, 0x0010_ffff]);
                match u32::try_from(random.below(plane + 1)).ok().and_then(char::from_u32) {
                    Some('\0') | None => {}
                    Some(letter) => return letter,
                }
            }
        })
    }

    fn word(&mut self, letters: &str) -> String {
        let letters: Vec<char> = letters.chars().collect();
        let first = self.one_of(&letters);
        let rest: String = self.several(12, |random| random.one_of(&letters));
        format!("{first}{rest}")
    }

    fn scope(&mut self) -> String {
        let first = self.word("aZ09!#$%&'(+-./;<=>?@[]^_`{|}~");
        let more: Vec<String> = self.several(3, |random| random.word("az/"));
        let end = self.one_of(&[None, Some("*")]).map(str::to_owned);
        [first].into_iter().chain(more).chain(end).collect::<Vec<_>>().join(":")
    }

    fn limits(&mut self) -> Limits {
        let mut limits: Vec<Limit> = self.several(4, |random| {
            let requests = random.one_of(&[1, 60, 1_000_000_007, u32::MAX]);
            let burst = random.one_of(&[1, 7, u32::MAX]);
            let window = Duration::from_millis(1 + random.below(31 * 86_400_000));
            let quota = Quota::new(NonZeroU32::new(requests).unwrap(), window).unwrap();
            let quota = quota.with_burst(NonZeroU32::new(burst).unwrap());
            Limit::new(&random.word("AZaz09_.-"), quota).unwrap()
        });
        limits.sort_by(|one, other| one.name().cmp(other.name()));
        limits.dedup_by(|one, other| one.name() == other.name());
        Limits::new(limits).unwrap()
    }

    fn network(&mut self) -> IpNet {
        if self.once_in(2) {
            let length = u8::try_from(self.below(33)).unwrap();
            Ipv4Net::new(self.bytes::<4>().into(), length).unwrap().into()
        } else {
            let length = u8::try_from(self.below(129)).unwrap();
            Ipv6Net::new(self.bytes::<16>().into(), length).unwrap().into()
        }
    }

    fn address(&mut self) -> IpAddr {
        self.network().addr()
    }

    fn metadata(&mut self, depth: u64) -> Map<String, Value> {
        self.several(5, |random| (random.json_text(), random.value(depth)))
    }

    /// JSON has every character.
    fn json_text(&mut self) -> String {
        let end = self.maybe(|_| '\0');
        self.text().chars().chain(end).collect()
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth > 0 { 8 } else { 6 }) {
            0 => Value::Null,
            1 => self.once_in(2).into(),
            2 => self.of_any_size().cast_signed().into(),
            3 => self.of_any_size().into(),
            // JSON has no number for those that are not finite.
            4 => Some(f64::from_bits(self.number())).filter(|number| number.is_finite()).into(),
            5 => self.json_text().into(),
            6 => self.several::<Value, Vec<_>>(4, |random| random.value(depth - 1)).into(),
            _ => self.metadata(depth - 1).into(),
        }
    }

    fn key(&mut self) -> Option<KeyId> {
        self.maybe(|random| KeyId::from_bytes(random.bytes()))
    }

    fn rotation(&mut self) -> Rotation {
        let mut rotation = Rotation::default();
        (rotation.lineage, rotation.from, rotation.to) = (self.key(), self.key(), self.key());
        rotation.rotated_at = self.maybe(Self::time);
        rotation.retires_at = self.maybe(Self::time);
        rotation.grace_after_use = self.maybe(Self::count);
        rotation.is_awaited = self.once_in(2);
        rotation
    }

    /// A key with any value in each field.
    pub fn record(&mut self) -> KeyRecord {
        let (id, digest) = (KeyId::from_bytes(self.bytes()), KeyDigest::from_bytes(self.bytes()));
        let mut record = KeyRecord::new(id, digest, self.text(), self.time());
        record.start = self.text().into();
        record.owner = self.maybe(Self::text).map(Into::into);
        record.scopes = Scopes::parse(self.several::<_, Vec<_>>(5, Self::scope)).unwrap();
        record.updated_at = self.time();
        record.expires_at = self.maybe(Self::time);
        record.last_used_at = self.maybe(Self::time);
        (record.use_count, record.revision) = (self.count(), self.count());
        record.disabled = self.once_in(2);
        let details = &mut *record.details;
        details.description = self.maybe(Self::text).map(Into::into);
        details.tier = self.maybe(Self::text).map(Into::into);
        details.metadata = self.metadata(3);
        details.allowed_addresses = self.several::<_, Vec<_>>(4, Self::network).into();
        details.not_before = self.maybe(Self::time);
        details.revoked_at = self.maybe(Self::time);
        details.revoked_reason = self.maybe(Self::text).map(Into::into);
        details.limits = self.limits();
        details.credits = self.maybe(Self::count);
        details.last_used_from = self.maybe(Self::address);
        details.created_by = self.key();
        details.disabled_by_owner = self.once_in(2);
        // The two lowest are known, and the highest is a sign.
        details.unknown_needs = Needs::from_bits((self.count() >> 2) << 2);
        details.request = self.maybe(|random| KeyDigest::from_bytes(random.bytes()));
        if self.once_in(10) {
            details.legacy_hash = Some(LegacyHash::new(self.word("$2b!~Az09./")));
        }
        details.rotation = self.rotation();
        record
    }
}
