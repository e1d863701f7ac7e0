//! [`Selection`]: keys that are changed together.

use std::sync::Arc;

use super::repository::Changes;
use crate::{
    clock::Timestamp,
    key::{KeyId, KeyRecord, OwnerId},
};

/// Which keys a repository [changes together](super::SelectedChanges::apply_to).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those of these keys that exist, of any owner or none, and deleted ones too.
    Ids(Vec<KeyId>),
    /// Keys that are not deleted.
    Issued {
        /// Of this owner; of all owners and of none, if there is no owner here.
        owner: Option<OwnerId>,
        /// Those that were created before this moment.
        before: Option<Timestamp>,
    },
}

impl Selection {
    /// Whether a key belongs to it.
    pub fn contains(&self, record: &KeyRecord) -> bool {
        match self {
            Self::Ids(ids) => ids.contains(&record.id),
            Self::Issued { owner, before } => {
                !record.is_deleted()
                    && owner.as_ref().is_none_or(|owner| record.owner.as_ref() == Some(owner))
                    && before.is_none_or(|before| record.created_at < before)
            }
        }
    }
}

/// Makes the changes to selected keys from what the keys are: from all of them at once, in the order
/// of their ids. `None`: nothing is to be written.
///
/// It is called while nothing else can change the keys, and hence must neither wait nor call the
/// repository. Where the keys were changed all the same, it is called again, with all of them.
pub type Plan = Arc<dyn Fn(&[Arc<KeyRecord>]) -> Option<Changes> + Send + Sync>;

/// A plan that also notes the [digests](Changes::digests) of what it changes. Only the plan knows:
/// a change that failed, or that the caller no longer awaits, may be written all the same.
pub(super) mod noted {
    use std::sync::Arc;

    use super::Plan;
    use crate::{
        runtime::Mutex,
        store::{
            bus::AnnouncedKey,
            changed_digest::{ChangedDigest, Written},
        },
    };

    #[derive(Clone, Default)]
    pub(in crate::store) struct Digests(Arc<Mutex<Noted>>);

    #[derive(Default)]
    struct Noted {
        /// Of the last plan.
        changed: Vec<ChangedDigest>,
        /// Of those before it, of which nothing was written: keys had been changed meanwhile.
        given_up: Vec<ChangedDigest>,
    }

    impl Digests {
        pub(in crate::store) fn of(&self, plan: &Plan) -> Plan {
            let (plan, digests) = (plan.clone(), self.clone());
            Arc::new(move |records| {
                let changes = plan(records);
                let mut noted = digests.0.lock();
                let last = std::mem::take(&mut noted.changed);
                noted.given_up.extend(last);
                noted.changed.extend(changes.iter().flat_map(super::Changes::digests));
                changes
            })
        }

        /// The announcement of what was noted so far, by whether the last plan was written.
        pub(in crate::store) fn take(&self, written: Written) -> Vec<AnnouncedKey> {
            let Noted { changed, given_up } = std::mem::take(&mut *self.0.lock());
            let given_up = given_up.iter().map(|changed| changed.announced(Written::No));
            given_up.chain(changed.iter().map(|changed| changed.announced(written))).collect()
        }
    }
}

/// Runs a plan where it does not keep other tasks from running, if there is much to plan.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(super) async fn planned(
    plan: &Plan,
    mut records: Vec<Arc<KeyRecord>>,
) -> Result<Option<Changes>, super::StoreError> {
    const FEW: usize = 500;

    records.sort_unstable_by_key(|record| record.id);
    if records.len() <= FEW {
        return Ok(plan(&records));
    }
    let plan = plan.clone();
    let planned = tokio::task::spawn_blocking(move || plan(&records)).await;
    planned.map_err(super::StoreError::unavailable)
}
