//! Deletes, each decided from a live read and bound to UID and resource version.

use std::sync::Arc;

use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use nova_api::{Kind, NovaKind, NovaStatus};
use nova_plan::answers::RequestContext;
use nova_plan::child::{ChildKind, ChildRef, Ownership, ownership};
use nova_plan::deletion::{DELETING, Going, cascade, waiting};
use serde_json::{Value, json};

use super::cached_object::{CachedNova, CachedObject};
use super::cx::Cx;
use super::fetched::Fetched;
use super::health::DryRun;
use super::interrupt::Interrupt;
use super::request::{CALL_TIMEOUT, LIST_TIMEOUT};
use super::watch::PAGE_OF_LARGE;

/// Deletes of one pass: it has to come to its end, also where a webhook slows each of them down.
const AT_A_TIME: usize = 40;
/// Deletes that wait for their answers at once.
const SIDE_BY_SIDE: usize = 8;

impl Cx<'_> {
    /// Deletes a child that is ours and waits until it is gone. Foreign objects are left alone.
    pub async fn remove(&self, at: &ChildRef, owner_uid: &str) -> Result<(), Interrupt> {
        // Where the definition itself is gone, so are its objects.
        if !self.defined(at.kind) {
            return Ok(());
        }
        let object = at.to_string();
        let doing = RequestContext { stage: DELETING, object: &object };
        let Some(live) = self.get_live(doing, at).await? else { return Ok(()) };
        if ownership(&live, owner_uid) != Ownership::Ours {
            return Ok(());
        }
        if !live.deleting() {
            let only = Preconditions {
                uid: live.text("/metadata/uid").map(str::to_owned),
                resource_version: live.text("/metadata/resourceVersion").map(str::to_owned),
            };
            self.delete(&self.api(at), &at.name, only, doing).await?;
            // A namespace goes after what is in it, anything else at once unless somebody holds it.
            let lingers = at.kind.cluster_scoped || live.body.pointer("/metadata/finalizers").is_some();
            if !lingers {
                return Ok(());
            }
        }
        Err(waiting(at, &live, Timestamp::now()).into())
    }

    /// Takes a finalizer of ours off a child, as it was last seen.
    pub async fn remove_child_finalizer(
        &self,
        at: &ChildRef,
        row: &CachedObject,
        finalizer: &str,
    ) -> Result<(), Interrupt> {
        let mut metadata = row.live().body["metadata"].take();
        let Some(list) = metadata["finalizers"].as_array_mut() else { return Ok(()) };
        let Some(ours) = list.iter().position(|f| f == finalizer) else { return Ok(()) };
        list.remove(ours);
        let patch = json!({"metadata": {
            "finalizers": metadata["finalizers"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }});
        self.merge(at, &patch).await
    }

    /// Merges a patch into a child; one that is gone is as good.
    pub async fn merge(&self, at: &ChildRef, patch: &Value) -> Result<(), Interrupt> {
        let object = at.to_string();
        let doing = RequestContext { stage: DELETING, object: &object };
        let field_manager = Some(self.key.kind.manager().to_owned());
        let (params, patch) = (PatchParams { field_manager, ..PatchParams::default() }, Patch::Merge(patch));
        match self.ask(doing, CALL_TIMEOUT, self.api(at).patch(&at.name, &params, &patch)).await? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(self.failed(&error, doing, None)),
        }
    }

    /// One delete, with preconditions.
    async fn delete(
        &self,
        api: &Api<Fetched>,
        name: &str,
        only: Preconditions,
        doing: RequestContext<'_>,
    ) -> Result<(), Interrupt> {
        let params = DeleteParams::background().preconditions(only);
        match self.ask(doing, CALL_TIMEOUT, api.delete(name, &params)).await? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => {
                let (api, name) = (api.clone(), name.to_owned());
                let params = DeleteParams { dry_run: true, ..DeleteParams::background() };
                let dry_run: DryRun = Arc::new(move || {
                    let (api, name, params) = (api.clone(), name.clone(), params.clone());
                    Box::pin(async move { api.delete(&name, &params).await.map(drop) })
                });
                Err(self.failed(&error, doing, Some(dry_run)))
            }
        }
    }

    /// Objects of a kind of child that are in a namespace now; none where the kind is not defined.
    pub async fn list_live(
        &self,
        kind: &'static ChildKind,
        namespace: &str,
    ) -> Result<Vec<CachedObject>, Interrupt> {
        if !self.defined(kind) {
            return Ok(Vec::new());
        }
        let listed =
            self.list_pages(&self.api_in(kind, namespace), kind.plural, ListParams::default()).await?;
        Ok(listed.into_iter().map(CachedObject::new).collect())
    }

    /// Nova objects of a kind that are in a namespace (all, where it is empty) now, also those that cannot be read.
    pub async fn list_nova_live(&self, kind: Kind, namespace: &str) -> Result<Vec<CachedNova>, Interrupt> {
        let api = self.nova_api(kind, namespace);
        let listed = self.list_pages(&api, kind.plural(), ListParams::default()).await?;
        Ok(listed.into_iter().map(CachedNova::new).collect())
    }

    /// Lists what is there now, from the API server: deletions are never decided from a store alone.
    pub async fn list_pages(
        &self,
        api: &Api<Fetched>,
        what: &str,
        params: ListParams,
    ) -> Result<Vec<Fetched>, Interrupt> {
        let doing = RequestContext { stage: DELETING, object: what };
        let pages = futures::stream::try_unfold(Some(String::new()), |token| {
            let params = params.clone().limit(PAGE_OF_LARGE);
            async move {
                let Some(token) = token else { return Ok::<_, kube::Error>(None) };
                let params = if token.is_empty() { params } else { params.continue_token(&token) };
                let page = api.list(&params).await?;
                let next = page.metadata.continue_.filter(|t| !t.is_empty());
                Ok(Some((page.items, next)))
            }
        });
        match self.ask(doing, LIST_TIMEOUT, pages.try_collect::<Vec<Vec<Fetched>>>()).await? {
            Ok(pages) => Ok(pages.into_iter().flatten().collect()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(self.failed(&error, doing, None)),
        }
    }

    async fn delete_nova(&self, kind: Kind, object: &CachedNova) -> Result<(), Interrupt> {
        let meta = object.meta();
        let only = Preconditions {
            uid: Some(meta.uid.clone()),
            resource_version: Some(meta.resource_version.clone()),
        };
        let title = super::cached_object::title(kind, meta);
        let doing = RequestContext { stage: DELETING, object: &title };
        self.delete(&self.nova_api(kind, &meta.namespace), &meta.name, only, doing).await
    }

    /// Deletes Nova objects as part of a cascade; returns the problem to wait with while any is left.
    pub async fn cascade<K: NovaKind>(&self, objects: &[CachedNova]) -> Result<(), Interrupt> {
        let mut deletes = FuturesUnordered::new();
        for object in objects.iter().filter(|o| o.meta().deleting.is_none()).take(AT_A_TIME) {
            if deletes.len() == SIDE_BY_SIDE {
                deletes.try_next().await?;
            }
            deletes.push(self.delete_nova(K::ID, object));
        }
        while deletes.try_next().await?.is_some() {}
        let going: Vec<Going> = objects.iter().map(going::<K>).collect();
        cascade(&going, Timestamp::now()).map_or(Ok(()), |problem| Err(problem.into()))
    }
}

/// What a cascade tells of an object.
fn going<K: NovaKind>(object: &CachedNova) -> Going {
    let meta = object.meta();
    let others = meta.finalizers.iter().filter(|f| Some(f.as_str()) != K::finalizer());
    let readable = object.read::<K>().ok();
    let ready = readable
        .as_deref()
        .and_then(NovaKind::status)
        .and_then(|s| s.core().condition(nova_api::conditions::ConditionType::Ready));
    Going {
        kind: K::KIND,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        since: meta.deleting,
        held_by: others.cloned().collect(),
        says: ready.filter(|c| c.status == "False").map(|c| c.message.clone()),
    }
}
