//! Writes to Nova objects themselves: their status, when it differs, and their finalizer.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use nova_api::conditions::ConditionType;
use serde_json::json;

use crate::context::{CALL_TIMEOUT, Context, Tabled};
use crate::observe::place_of;
use crate::stop::{self, Doing, Stop};

impl Context {
    /// The time as a status has it: whole seconds, so that what is written reads back the same.
    #[must_use]
    pub fn status_time(&self) -> Timestamp {
        Timestamp::from_second(self.now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    fn nova_api<K: Tabled>(&self, object: &K) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Writes the status if it differs. True when something was written.
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
        let answer = tokio::time::timeout(CALL_TIMEOUT, api.patch_status(&name, &params, &patch)).await;
        self.taken_in::<K>(object, answer)?;
        Ok(true)
    }

    /// Puts our finalizer on, if it is not.
    pub async fn hold<K: Tabled>(&self, object: &K) -> Result<(), Stop> {
        let Some(finalizer) = K::finalizer() else { return Ok(()) };
        if object.finalizers().iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let finalizers = object.finalizers().iter().cloned().chain([finalizer.to_owned()]).collect();
        self.set_finalizers(object, finalizers).await
    }

    /// Takes our finalizer off; the API server then deletes the object.
    pub async fn release<K: Tabled>(&self, object: &K) -> Result<(), Stop> {
        let Some(finalizer) = K::finalizer() else { return Ok(()) };
        if !object.finalizers().iter().any(|f| f == finalizer) {
            return Ok(());
        }
        let finalizers = object.finalizers().iter().filter(|f| *f != finalizer).cloned().collect();
        self.set_finalizers(object, finalizers).await
    }

    /// The list is written as a whole, under the version it was read at: other finalizers are never lost.
    async fn set_finalizers<K: Tabled>(&self, object: &K, finalizers: Vec<String>) -> Result<(), Stop> {
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
        let answer = tokio::time::timeout(CALL_TIMEOUT, api.patch(&name, &params, &patch)).await;
        self.taken_in::<K>(object, answer)
    }

    /// Takes the answer to a write into the table.
    fn taken_in<K: Tabled>(
        &self,
        object: &K,
        answer: Result<Result<DynamicObject, kube::Error>, tokio::time::error::Elapsed>,
    ) -> Result<(), Stop> {
        let what = format!("{} {}", K::KIND, object.name_any());
        let doing = Doing { stage: ConditionType::Ready, object: &what };
        match answer {
            Err(_) => Err(stop::timed_out(doing)),
            // It is gone, and with it the need for the write.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error, doing)),
            Ok(Ok(mut written)) => {
                written.metadata.managed_fields = None;
                if let Ok(written) = written.try_parse::<K>() {
                    let _ = K::table(&self.tables).put(place_of(&written), Arc::new(written));
                }
                Ok(())
            }
        }
    }
}
