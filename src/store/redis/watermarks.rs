//! Watermarks in Redis.

use super::{BATCH, RedisStore, millis, unexpected};
use crate::{
    clock::Timestamp,
    error::StoreError,
    key::KeyId,
    runtime::async_methods,
    store::{
        Watermarks,
        capabilities::WATERMARK_LASTS,
        watermark::{Watermark, WatermarkRecord},
    },
    text::hex,
};

/// How many keys a script looked at, the last of them, and the ids and revisions of those that it found.
type Looked = (usize, String, Vec<String>, Vec<String>);

/// The name of a watermark in Redis.
fn field(watermark: &Watermark) -> String {
    format!("{}:{}", millis(watermark.issued_before), watermark.subject())
}

fn read(field: &str, value: &str) -> Option<WatermarkRecord> {
    let time = |millis: &str| millis.parse().ok().map(Timestamp::from_unix_millis);
    let (issued_before, subject) = field.split_once(':')?;
    let watermark = Watermark::of_subject(subject, time(issued_before)?)?;
    let (revoked_at, reason) =
        value.split_once(' ').map_or((value, None), |(at, reason)| (at, Some(reason)));
    let mut mark = WatermarkRecord::new(watermark, time(revoked_at)?);
    mark.reason = reason.map(Into::into);
    Some(mark)
}

impl Watermarks for RedisStore {
    async_methods! {
        async fn current(&self) -> Result<Vec<WatermarkRecord>, StoreError> {
            let fields: Vec<String> = self.run(&self.scripts.watermarks, &[]).await?;
            let (pairs, _) = fields.as_chunks::<2>();
            let mark = pairs.iter().map(|[field, value]| read(field, value));
            mark.collect::<Option<_>>().ok_or_else(unexpected)
        }

        async fn unwritten(
            &self,
            watermark: &Watermark,
            after: Option<KeyId>,
            limit: usize,
        ) -> Result<Vec<(KeyId, u64)>, StoreError> {
            let before = millis(watermark.issued_before);
            let owner = watermark.owner.as_ref();
            let owner = owner.map_or_else(|| "*".to_owned(), |owner| hex(owner.as_str()));
            let mut after = after.map(|after| after.to_string()).unwrap_or_default();
            let batch = BATCH.to_string();
            let mut unwritten = Vec::new();
            loop {
                let args = [&*before, &*owner, &*after, &*batch];
                let (looked_at, last, ids, revisions): Looked =
                    self.run(&self.scripts.unwritten, &args).await?;
                for (id, revision) in ids.iter().zip(&revisions) {
                    let id = id.parse().map_err(StoreError::corrupt)?;
                    unwritten.push((id, revision.parse().map_err(StoreError::corrupt)?));
                }
                if looked_at < BATCH || unwritten.len() >= limit {
                    unwritten.truncate(limit);
                    return Ok(unwritten);
                }
                after = last;
            }
        }

        async fn remove(&self, watermark: &Watermark) -> Result<bool, StoreError> {
            if !self.unwritten(watermark, None, 1).await?.is_empty() {
                return Ok(false);
            }
            let lasts = WATERMARK_LASTS.as_millis().to_string();
            let args = [&*field(watermark), &*lasts];
            Ok(self.run::<u64>(&self.scripts.remove_watermark, &args).await? > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_are_read_as_scripts_keep_them() {
        let at = Timestamp::from_unix_millis;
        let all = Watermark::new(at(7));
        for (value, owner, reason) in [
            ("9", None, None),
            ("9 it leaked", None, Some("it leaked")),
            ("9  two", Some("a:b c"), Some(" two")),
        ] {
            let watermark = Watermark { owner: owner.map(Into::into), ..all.clone() };
            let mark = read(&field(&watermark), value).unwrap();
            assert_eq!(mark.watermark, watermark);
            assert_eq!((mark.revoked_at, mark.reason.as_deref()), (at(9), reason));
        }
        for (field, value) in
            [("7", "9"), ("7:anna", "9"), ("x:*", "9"), ("7:*", ""), ("7:*", "x y")]
        {
            assert!(read(field, value).is_none(), "{field} {value}");
        }
    }
}
