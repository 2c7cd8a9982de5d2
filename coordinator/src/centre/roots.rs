//! What must stay in the image centre because documents need it.

use crate::pipeline::records::{RUN, RunRecord, run_of};
use crate::records::{self, RecordError, RevisionRecord, WAITING, WaitingRecord};
use coord_centre::collect::{Root, Roots, RootsError, Wanted};
use coord_centre::through::ThroughRule;
use coord_shared::names::{Digest, ImageReference, Repository};
use coord_store::SharedStore;
use futures_util::future::BoxFuture;

/// Prefix of the revisions of all workloads.
const REVISION: &str = "revision/";

/// Reads what revisions, waiting documents and runs that go on name. What hosts were told to run is among it: a revision is not forgotten while a host
/// has it. So is whatever a rollback could go back to.
pub struct DocumentRoots {
    store: SharedStore,
    /// Registries that the centre stands in for: copies of their images lie in it under their own names.
    through: Vec<ThroughRule>,
}

impl DocumentRoots {
    /// Over the coordinator's store; `through` are the registries that the centre stands in for.
    pub fn new(store: SharedStore, through: Vec<ThroughRule>) -> Self {
        Self { store, through }
    }

    async fn read(&self) -> Result<Vec<Root>, RecordError> {
        let mut roots = Vec::new();
        for entry in self.store.range(REVISION).await? {
            let record: RevisionRecord = records::decode(&entry.key, &entry.value)?;
            let Some((workload, number)) = entry.key[REVISION.len()..].split_once('/') else { continue };
            let why = format!("revision {} of {workload}", number.trim_start_matches('0'));
            roots.extend(self.root(&record.image, Some(&record.digest), why));
        }
        for entry in self.store.range(WAITING).await? {
            let record: WaitingRecord = records::decode(&entry.key, &entry.value)?;
            let why = format!("the waiting document of {}", &entry.key[WAITING.len()..]);
            roots.extend(self.root(&record.image, record.image.digest(), why));
        }
        for entry in self.store.range(RUN).await? {
            let record: RunRecord = records::decode(&entry.key, &entry.value)?;
            let (Some(image), Some(run)) = (record.image.filter(|_| !record.state.is_over()), run_of(&entry.key)) else {
                continue;
            };
            roots.push(Root { repository: image.repository, wanted: Wanted::Manifest(image.digest), why: format!("run {run}") });
        }
        Ok(roots)
    }

    /// Nothing for an image that lies elsewhere.
    fn root(&self, image: &ImageReference, digest: Option<&Digest>, why: String) -> Option<Root> {
        let repository = self.repository(image)?;
        let wanted = match digest {
            Some(digest) => Wanted::Manifest(digest.clone()),
            None => Wanted::Tag(image.tag()?.parse().ok()?),
        };
        Some(Root { repository, wanted, why })
    }

    fn repository(&self, image: &ImageReference) -> Option<Repository> {
        if image.is_in_centre() {
            return image.repository().parse().ok();
        }
        let name = format!("{}/{}", image.registry(), image.repository());
        let rest =
            |rule: &'_ ThroughRule| Some(name.strip_prefix(rule.upstream())?.to_owned()).filter(|rest| rest.starts_with('/'));
        let covering = self.through.iter().filter_map(|rule| Some((rule, rest(rule)?)));
        let (rule, rest) = covering.max_by_key(|(rule, _)| rule.upstream().len())?;
        format!("{}{rest}", rule.prefix).parse().ok()
    }
}

impl Roots for DocumentRoots {
    fn roots(&self) -> BoxFuture<'_, Result<Vec<Root>, RootsError>> {
        Box::pin(async { self.read().await.map_err(|error| RootsError(Box::new(error))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::records::{Source, encode, revision_key, waiting_key};
    use coord_shared::names::Revision;
    use coord_store::{MemoryStore, Txn};
    use std::sync::Arc;

    #[tokio::test]
    async fn revisions_and_waiting_documents_keep_their_images() {
        let store: SharedStore = Arc::new(MemoryStore::default());
        let digest = Digest::of(b"image");
        let revision = |image: &str| RevisionRecord {
            text: String::new(),
            image: image.parse().expect("an image"),
            digest: digest.clone(),
            at: clock::wall(),
            origin: None,
        };
        let waiting = |image: &str| WaitingRecord {
            text: String::new(),
            image: image.parse().expect("an image"),
            source: Source::Api("anna".to_owned()),
            at: clock::wall(),
        };
        let name = |name: &str| name.parse().expect("a workload");
        let txn = Txn::default()
            .put(revision_key(&name("web"), Revision(7)), encode(&revision("coord.internal/shop/web:1")))
            .put(revision_key(&name("hub"), Revision(120)), encode(&revision("nginx:1")))
            .put(revision_key(&name("other"), Revision(1)), encode(&revision("r.lan/web:1")))
            .put(waiting_key(&name("soon")), encode(&waiting("coord.internal/shop/soon:2")));
        store.txn(txn).await.expect("writes");
        let hub: ThroughRule = toml::from_str("prefix = \"hub\"\nupstream = \"docker.io\"").expect("a rule");
        let roots = DocumentRoots::new(store, vec![hub]).roots().await.expect("reads");
        let said: Vec<String> = roots
            .iter()
            .map(|root| match &root.wanted {
                Wanted::Manifest(found) => format!("{} {} {}", root.repository, found == &digest, root.why),
                Wanted::Tag(tag) => format!("{} {tag} {}", root.repository, root.why),
            })
            .collect();
        assert_eq!(
            said,
            [
                "hub/library/nginx true revision 120 of hub",
                "shop/web true revision 7 of web",
                "shop/soon 2 the waiting document of soon",
            ]
        );
    }
}
