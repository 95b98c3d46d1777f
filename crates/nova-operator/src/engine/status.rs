//! Writes to Nova objects themselves: their status, when it differs, and their finalizer.

use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use nova_api::NovaKind;
use nova_api::conditions::ConditionType;
use nova_plan::answers::RequestContext;
use serde_json::{Map, Value, json};

use super::cached_object::{CachedNova, title};
use super::cx::Cx;
use super::fetched::Fetched;
use super::health::DryRun;
use super::interrupt::Interrupt;
use super::key::{Key, ObjectKey};
use super::relations::Change;
use super::request::CALL_TIMEOUT;

/// The time as a status has it: whole seconds, so that what is written reads back the same.
#[must_use]
pub fn status_time() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The merge patch that makes `old` to `new`, null where nothing differs: lists are replaced, what is gone is null.
#[must_use]
pub fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return if old == new { Value::Null } else { new.clone() };
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            Some(known) if known == value => {}
            Some(known @ Value::Object(_)) if value.is_object() => {
                patch.insert(key.clone(), merge_patch(known, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    if patch.is_empty() { Value::Null } else { Value::Object(patch) }
}

/// What has to be written so that the object has the status; none where it has. `keep` says that what `status` does not
/// hold stays as it is, but for the fields that every status has.
#[must_use]
pub fn status_patch(object: &CachedNova, status: &Value, keep: bool) -> Option<Value> {
    let Value::Object(mut patch) = merge_patch(&object.status(), status) else { return None };
    if keep {
        patch.retain(|key, value| !value.is_null() || CORE.contains(&key.as_str()));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

impl Cx<'_> {
    /// Writes what differs of a status. True when something was written; where the object is gone, so is the need.
    ///
    /// `patch` is that of [`status_patch`] for `object`.
    pub async fn write_status<K: NovaKind>(
        &self,
        object: &CachedNova,
        patch: &Value,
    ) -> Result<bool, Interrupt> {
        let meta = object.meta();
        // The version makes sure that this very object gets it, as it was when what differs was read off it. The UID would
        // not: in a write to the status subresource the API server puts the stored metadata in its place.
        let body = json!({
            "metadata": {"resourceVersion": meta.resource_version},
            "status": patch,
        });
        let name = meta.name.clone();
        let api = self.nova_api(K::ID, &meta.namespace);
        let params = manager::<K>();
        let patch = Patch::Merge(&body);
        match self.answer_to::<K>(object, api.patch_status(&name, &params, &patch)).await? {
            Ok(written) => Ok(self.record_own_write_of::<K>(written, None)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => {
                let repeat = json!({"status": body["status"]});
                let title = title(K::ID, meta);
                let doing = RequestContext { stage: ConditionType::Ready, object: &title };
                Err(self.failed(&error, doing, Some(dry_run(&api, name, params, repeat))))
            }
        }
    }

    /// Puts our finalizer on, if it is not.
    pub async fn add_finalizer<K: NovaKind>(&self) -> Result<(), Interrupt> {
        let Some(finalizer) = K::finalizer() else { return Ok(()) };
        // As it is now: the pass may have written to it.
        let at = self.key.object();
        let Some(object) = self.get(K::ID, &at.namespace, &at.name) else { return Err(Interrupt::Requeue) };
        if object.meta().finalizers.iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let finalizers = object.meta().finalizers.iter().cloned().chain([finalizer.to_owned()]).collect();
        // Nothing may be made for an object that is gone: nobody would take it away again.
        if self.set_finalizers::<K>(&object, finalizers).await? { Ok(()) } else { Err(Interrupt::Requeue) }
    }

    /// Takes our finalizer off; the API server then deletes the object.
    pub async fn remove_finalizer<K: NovaKind>(&self, object: &CachedNova) -> Result<(), Interrupt> {
        let Some(finalizer) = K::finalizer() else { return Ok(()) };
        let finalizers: Vec<String> =
            object.meta().finalizers.iter().filter(|f| *f != finalizer).cloned().collect();
        if finalizers.len() == object.meta().finalizers.len() {
            return Ok(());
        }
        self.set_finalizers::<K>(object, finalizers).await.map(drop)
    }

    /// The list is written as a whole, under the version it was read at: other finalizers are never lost.
    async fn set_finalizers<K: NovaKind>(
        &self,
        object: &CachedNova,
        finalizers: Vec<String>,
    ) -> Result<bool, Interrupt> {
        let meta = object.meta();
        let patch = json!({"metadata": {
            "finalizers": finalizers,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        }});
        let api = self.nova_api(K::ID, &meta.namespace);
        let params = manager::<K>();
        let patch = Patch::Merge(&patch);
        match self.answer_to::<K>(object, api.patch(&meta.name, &params, &patch)).await? {
            Ok(written) => Ok(self.record_own_write_of::<K>(written, Some(&finalizers))),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => {
                let repeat = json!({"metadata": {"finalizers": finalizers}});
                let (name, params) = (meta.name.clone(), params.dry_run());
                let dry_run: DryRun = Arc::new(move || {
                    let (api, name, params, body) =
                        (api.clone(), name.clone(), params.clone(), repeat.clone());
                    Box::pin(async move { api.patch(&name, &params, &Patch::Merge(&body)).await.map(drop) })
                });
                let title = title(K::ID, meta);
                let doing = RequestContext { stage: ConditionType::Ready, object: &title };
                Err(self.failed(&error, doing, Some(dry_run)))
            }
        }
    }

    async fn answer_to<K: NovaKind>(
        &self,
        object: &CachedNova,
        write: impl Future<Output = Result<Fetched, kube::Error>>,
    ) -> Result<Result<Fetched, kube::Error>, Interrupt> {
        let title = title(K::ID, object.meta());
        let doing = RequestContext { stage: ConditionType::Ready, object: &title };
        self.ask(doing, CALL_TIMEOUT, write).await
    }

    /// Takes the answer to a write into the store.
    ///
    /// The answer may hold an edit that was made just before the write, and the watch will take both for an echo; so
    /// whoever waits for the edit is woken from here. `finalizers` are those that the write has set.
    fn record_own_write_of<K: NovaKind>(&self, written: Fetched, finalizers: Option<&[String]>) -> bool {
        let (at, new) = (ObjectKey::of(&written), CachedNova::new(written));
        let store = self.engine.stores.nova(K::ID);
        if let Ok(old) = store.upsert_if_newer(&at, &new) {
            self.engine.stores.record_owner(&Key::of(K::ID, &at), old.as_ref(), Some(&new));
            let change = Change { at: &at, old: old.as_ref(), new: Some(&new), listed: false };
            let only_ours = finalizers.is_some_and(|set| set == new.meta().finalizers)
                && old.as_ref().is_some_and(|old| old.meta().generation == new.meta().generation)
                && new.meta().deleting == old.as_ref().and_then(|old| old.meta().deleting);
            if change.spec_or_lifecycle() && !only_ours {
                self.engine.nova_changed(K::ID, &change);
            }
        }
        true
    }
}

/// Fields that every status starts with; see `CoreStatus`.
const CORE: [&str; 6] = ["observedGeneration", "id", "phase", "conditions", "blockers", "lastError"];

fn manager<K: NovaKind>() -> PatchParams {
    PatchParams { field_manager: Some(K::MANAGER.to_owned()), ..PatchParams::default() }
}

fn dry_run(api: &Api<Fetched>, name: String, params: PatchParams, body: Value) -> DryRun {
    let (api, params) = (api.clone(), params.dry_run());
    Arc::new(move || {
        let (api, name, params, body) = (api.clone(), name.clone(), params.clone(), body.clone());
        Box::pin(async move { api.patch_status(&name, &params, &Patch::Merge(&body)).await.map(drop) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_holds_what_differs_and_nothing_else() {
        let old = json!({"a": 1, "list": [1, 2], "map": {"x": 1, "y": 2}, "gone": true});
        let new = json!({"a": 1, "list": [1], "map": {"x": 1, "y": 3}, "new": {}});
        let patch = merge_patch(&old, &new);
        assert_eq!(patch, json!({"list": [1], "map": {"y": 3}, "new": {}, "gone": null}));
        assert_eq!(merge_patch(&new, &new), Value::Null);
        assert_eq!(merge_patch(&Value::Null, &new), new);
    }
}
