//! Writes to Nova objects themselves: their status, when it differs, and their finalizer.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use nova_api::CoreStatus;
use nova_api::conditions::ConditionType;
use nova_plan::Problem;
use nova_plan::verdict::core_of;
use serde_json::json;

use crate::context::{Context, Tabled, title_of};
use crate::guard::Guarded;
use crate::observe::Change;
use crate::routes::asked_anew;
use crate::stop::{Doing, MOMENT, Stop};
use crate::table::place_of;

/// The time as a status has it: whole seconds, so that what is written reads back the same.
#[must_use]
pub fn status_time() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Context {
    fn nova_api<K: Tabled>(&self, object: &K) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Writes the status if it differs. True when something was written; where the object is gone, so is the need.
    pub async fn write_status<K: Tabled>(&self, object: &K, status: &K::Status) -> Result<bool, Stop> {
        if object.status() == Some(status) {
            return Ok(false);
        }
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            // The UID makes sure that a namesake created meanwhile does not get this status.
            "metadata": {"name": object.name_any(), "uid": object.uid()},
            "status": status,
        });
        let params = PatchParams::apply(K::KEY.manager()).force();
        let api = self.nova_api(object);
        let name = object.name_any();
        let patch = Patch::Apply(&body);
        self.taken_in::<K>(object, api.patch_status(&name, &params, &patch)).await
    }

    /// Tells of an object that cannot be read, of which only the metadata are known. The time is that of its creation:
    /// told again, it is the same status, which is no write.
    pub async fn tell_unreadable<K: Tabled>(&self, meta: &ObjectMeta, error: &str) {
        let (name, namespace) = (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref());
        let object = title_of(K::KIND, meta);
        let problem = Problem::invalid(ConditionType::Ready, &object, format!("it cannot be read: {error}"))
            .fix("correct spec; values may lie in each other 50 levels deep at most");
        let time = meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        let status = core_of(K::KIND, meta, &CoreStatus::default(), &[], &problem.into(), time);
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "uid": meta.uid},
            "status": status,
        });
        let resource = ApiResource::erase::<K>(&());
        let api: Api<Guarded<DynamicObject>> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let doing = Doing { stage: ConditionType::Ready, object: &object };
        let params = PatchParams::apply(K::KEY.manager()).force();
        let patch = Patch::Apply(&body);
        let told = self.ask(doing, api.patch_status(name, &params, &patch)).await;
        if !matches!(told, Ok(Ok(_))) {
            tracing::warn!(object, ?told, "status of what cannot be read could not be written");
        }
    }

    /// Puts our finalizer on, if it is not.
    pub async fn hold<K: Tabled>(&self, object: &K) -> Result<(), Stop> {
        let Some(finalizer) = K::finalizer() else { return Ok(()) };
        if object.finalizers().iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let finalizers = object.finalizers().iter().cloned().chain([finalizer.to_owned()]).collect();
        // Nothing may be made for an object that is gone: nobody would take it away again.
        if self.set_finalizers(object, finalizers).await? { Ok(()) } else { Err(Stop::Again(MOMENT)) }
    }

    /// Takes our finalizer off; the API server then deletes the object.
    pub async fn release<K: Tabled>(&self, object: &K) -> Result<(), Stop> {
        let Some(finalizer) = K::finalizer() else { return Ok(()) };
        if !object.finalizers().iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let finalizers = object.finalizers().iter().filter(|f| *f != finalizer).cloned().collect();
        self.set_finalizers(object, finalizers).await.map(drop)
    }

    /// The list is written as a whole, under the version it was read at: other finalizers are never lost.
    async fn set_finalizers<K: Tabled>(&self, object: &K, finalizers: Vec<String>) -> Result<bool, Stop> {
        let patch = json!({"metadata": {
            "finalizers": finalizers,
            "uid": object.uid(),
            "resourceVersion": object.resource_version(),
        }});
        let params =
            PatchParams { field_manager: Some(K::KEY.manager().to_owned()), ..PatchParams::default() };
        let api = self.nova_api(object);
        let name = object.name_any();
        let patch = Patch::Merge(&patch);
        self.taken_in::<K>(object, api.patch(&name, &params, &patch)).await
    }

    /// Waits for the answer to a write and takes it into the table; false when the object is gone.
    ///
    /// The answer may hold an edit that was made just before the write, and the watch will take both for an echo;
    /// so what was edited is told from here.
    async fn taken_in<K: Tabled>(
        &self,
        object: &K,
        write: impl Future<Output = Result<DynamicObject, kube::Error>>,
    ) -> Result<bool, Stop> {
        let title = object.title();
        let doing = Doing { stage: ConditionType::Ready, object: &title };
        match self.ask(doing, write).await? {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(error) => Err(self.failed(&error, doing)),
            Ok(mut written) => {
                written.metadata.managed_fields = None;
                if let Ok(written) = written.try_parse::<K>() {
                    let (at, new) = (place_of(&written), Arc::new(written));
                    if let Ok(Some(old)) = K::table(&self.tables).put(at.clone(), new.clone())
                        && asked_anew(Some(&old), Some(&new))
                    {
                        K::route(self, &Change { at: &at, old: Some(&old), new: Some(&new), listed: false });
                    }
                }
                Ok(true)
            }
        }
    }
}
