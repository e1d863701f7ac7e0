//! The traits of stores, for those around a [`SqlStore`](super::SqlStore).

/// Implements them for a tuple struct whose only field is one.
macro_rules! repository {
    ($store:ident $(, $watch:ident)?) => {
        impl crate::store::KeyStore for $store {
            $(fn watch(&self) -> Option<Box<dyn crate::store::StoreWatch>> {
                Self::$watch(self)
            })?

            crate::runtime::async_methods! {
                async fn find(
                    &self,
                    digest: &crate::key::KeyDigest,
                ) -> Result<Option<std::sync::Arc<crate::key::KeyRecord>>, crate::store::StoreError>
                {
                    self.0.find(digest).await
                }

                async fn find_by_id(
                    &self,
                    id: crate::key::KeyId,
                ) -> Result<Option<std::sync::Arc<crate::key::KeyRecord>>, crate::store::StoreError>
                {
                    crate::store::KeyRepository::get(self, id).await
                }

                async fn find_many(
                    &self,
                    digests: &[crate::key::KeyDigest],
                ) -> Vec<
                    Result<Option<std::sync::Arc<crate::key::KeyRecord>>, crate::store::StoreError>,
                > {
                    self.0.find_many(digests).await
                }
            }

            fn max_batch(&self) -> usize {
                crate::store::batches::FOUND_AT_ONCE
            }

            fn may_lag(&self) -> bool {
                self.0.may_lag()
            }

            crate::runtime::async_methods! {
                async fn identity(
                    &self,
                ) -> Result<Option<crate::store::StoreId>, crate::store::StoreError>
                {
                    self.0.identity().await
                }
            }

            fn known_digests(&self) -> Option<&dyn crate::store::KnownDigests> {
                Some(self)
            }
        }

        impl crate::store::KnownDigests for $store {
            crate::runtime::async_methods! {
                async fn count(&self) -> Result<u64, crate::store::StoreError> {
                    self.0.count_known().await
                }

                async fn page(
                    &self,
                    after: Option<crate::store::DigestCursor>,
                    limit: usize,
                ) -> Result<
                    (Vec<crate::key::KeyDigest>, Option<crate::store::DigestCursor>),
                    crate::store::StoreError,
                > {
                    self.0.known(after, limit).await
                }

                async fn added(
                    &self,
                    after: crate::key::KeyId,
                    limit: usize,
                ) -> Result<Vec<(crate::key::KeyId, crate::key::KeyDigest)>, crate::store::StoreError>
                {
                    self.0.added(after, limit).await
                }
            }
        }

        impl crate::store::KeyRepository for $store {
            crate::runtime::async_methods! {
                async fn apply(
                    &self,
                    changes: &crate::store::Changes,
                ) -> Result<crate::store::ApplyOutcome, crate::store::StoreError> {
                    self.0.apply(changes).await
                }
            }

            fn bounds_owners(&self) -> bool {
                true
            }

            crate::runtime::async_methods! {
                async fn get(
                    &self,
                    id: crate::key::KeyId,
                ) -> Result<Option<std::sync::Arc<crate::key::KeyRecord>>, crate::store::StoreError>
                {
                    self.0.get(id).await
                }

                async fn list(
                    &self,
                    query: &crate::store::KeyQuery,
                ) -> Result<crate::store::KeyPage, crate::store::StoreError> {
                    self.0.list(query).await
                }

                async fn record_uses(
                    &self,
                    uses: &[crate::store::KeyUse],
                ) -> Result<(), crate::store::StoreError> {
                    self.0.record_uses(uses).await
                }

                async fn purge(
                    &self,
                    before: crate::clock::Timestamp,
                    owner: Option<&crate::key::OwnerId>,
                ) -> Result<u64, crate::store::StoreError> {
                    self.0.purge(before, owner).await
                }
            }

            fn selected_changes(&self) -> Option<&dyn crate::store::SelectedChanges> {
                Some(self)
            }

            fn watermarks(&self) -> Option<&dyn crate::store::Watermarks> {
                Some(self)
            }

            fn audit_log(&self) -> Option<&dyn crate::store::AuditLog> {
                Some(self)
            }

            fn balance_store(&self) -> Option<&dyn crate::store::BalanceStore> {
                Some(self)
            }

            fn request_log(&self) -> Option<&dyn crate::store::RequestLog> {
                Some(self)
            }

            fn usage_log(&self) -> Option<&dyn crate::store::UsageLog> {
                Some(self)
            }

            crate::runtime::async_methods! {
                async fn close(&self) {
                    Self::close(self).await;
                }
            }
        }

        impl crate::store::SelectedChanges for $store {
            crate::runtime::async_methods! {
                async fn apply_to(
                    &self,
                    selection: &crate::store::Selection,
                    plan: &crate::store::Plan,
                ) -> Result<crate::store::ApplyOutcome, crate::store::StoreError> {
                    self.0.apply_to(selection, plan).await
                }
            }
        }

        impl crate::store::Watermarks for $store {
            crate::runtime::async_methods! {
                async fn current(
                    &self,
                ) -> Result<Vec<crate::store::WatermarkRecord>, crate::store::StoreError> {
                    self.0.current().await
                }

                async fn unwritten(
                    &self,
                    watermark: &crate::store::Watermark,
                    after: Option<crate::key::KeyId>,
                    limit: usize,
                ) -> Result<Vec<(crate::key::KeyId, u64)>, crate::store::StoreError> {
                    self.0.unwritten(watermark, after, limit).await
                }

                async fn remove(
                    &self,
                    watermark: &crate::store::Watermark,
                ) -> Result<bool, crate::store::StoreError> {
                    self.0.remove_watermark(watermark).await
                }
            }
        }

        impl crate::store::AuditLog for $store {
            crate::runtime::async_methods! {
                async fn events(
                    &self,
                    query: &crate::key::EventQuery,
                ) -> Result<crate::key::EventPage, crate::store::StoreError> {
                    self.0.events(query).await
                }
            }
        }

        impl crate::store::BalanceStore for $store {
            crate::runtime::async_methods! {
                async fn balances(
                    &self,
                    lineages: &[crate::key::KeyId],
                ) -> Result<crate::store::Balances, crate::store::StoreError> {
                    self.0.balances(lineages).await
                }
            }
        }

        impl crate::store::RequestLog for $store {
            crate::runtime::async_methods! {
                async fn request(
                    &self,
                    lineage: crate::key::KeyId,
                    request: &crate::key::KeyDigest,
                ) -> Result<Option<crate::store::RequestRecord>, crate::store::StoreError>
                {
                    self.0.request(lineage, request).await
                }
            }
        }

        impl crate::store::UsageLog for $store {
            crate::runtime::async_methods! {
                async fn record_usage(
                    &self,
                    usage: &[crate::key::HourlyUsage],
                ) -> Result<(), crate::store::StoreError> {
                    self.0.record_usage(usage).await
                }

                async fn usage(
                    &self,
                    query: &crate::key::UsageQuery,
                ) -> Result<Vec<crate::key::UsageCount>, crate::store::StoreError> {
                    self.0.usage(query).await
                }

                async fn busiest(
                    &self,
                    query: &crate::key::UsageQuery,
                    limit: usize,
                ) -> Result<Vec<crate::key::LineageUsage>, crate::store::StoreError>
                {
                    self.0.busiest(query, limit).await
                }

                async fn forget_usage(
                    &self,
                    before: crate::clock::Timestamp,
                ) -> Result<u64, crate::store::StoreError> {
                    self.0.forget_usage(before).await
                }
            }
        }

        impl std::fmt::Debug for $store {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($store), "({})"), self.0.statements.table)
            }
        }
    };
}

pub(in crate::store) use repository;
