//! Deletes, each decided from a live read and bound to UID and resource version.

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};
use kube::{Resource, ResourceExt};
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_plan::Problem;
use nova_plan::child::{ChildKind, ChildRef, Ownership, ownership};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::apply::dying;
use crate::context::{CALL_TIMEOUT, Context, resource};
use crate::observe::list;
use crate::stop::{self, Doing, Stop};

/// Stage that a deletion is told under.
pub const DELETING: ConditionType = ConditionType::DeletionBlocked;

/// After so many seconds a deletion that waits for others counts as blocked.
const PATIENCE_SECONDS: i64 = 60;

/// How many objects a status names.
const NAMED: usize = 5;

impl Context {
    /// Deletes a child that is ours and waits until it is gone. Foreign objects are left alone.
    pub async fn remove(&self, at: &ChildRef, owner_uid: &str) -> Result<(), Stop> {
        let Some(live) = self.live_if_installed(at).await? else { return Ok(()) };
        if ownership(&live, owner_uid) != Ownership::Ours {
            return Ok(());
        }
        if live.pointer("/metadata/deletionTimestamp").is_none() {
            let object = at.to_string();
            let text = |pointer| live.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            let preconditions = Preconditions {
                uid: text("/metadata/uid"),
                resource_version: text("/metadata/resourceVersion"),
            };
            self.delete(&self.api(at), &at.name, preconditions, &object).await?;
            let lingers = at.kind == ChildKind::Namespace || live.pointer("/metadata/finalizers").is_some();
            if !lingers {
                return Ok(());
            }
        }
        Err(waiting(at, &live).into())
    }

    /// Where the CRD itself is gone, so are its objects.
    async fn live_if_installed(&self, at: &ChildRef) -> Result<Option<Value>, Stop> {
        let (group, _, _, plural) = at.kind.gvk();
        let builtin = !matches!(at.kind, ChildKind::CapsuleTenant | ChildKind::Application);
        if builtin || self.installed(&format!("{plural}.{group}")) {
            self.live(DELETING, at).await
        } else {
            Ok(None)
        }
    }

    /// One delete, with preconditions.
    async fn delete<K>(&self, api: &Api<K>, name: &str, only: Preconditions, object: &str) -> Result<(), Stop>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let doing = Doing { stage: DELETING, object };
        let params = DeleteParams::background().preconditions(only);
        match tokio::time::timeout(CALL_TIMEOUT, api.delete(name, &params)).await {
            Err(_) => Err(stop::timed_out(doing)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
            Ok(Err(error)) => Err(self.failed(&error, doing)),
        }
    }

    /// Nova objects of a kind that are in a namespace now.
    pub async fn inside<K>(&self, namespace: &str) -> Result<Vec<K>, Stop>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        self.listed(&Api::namespaced(self.client.clone(), namespace), &K::plural(&())).await
    }

    /// Applications that are in a namespace now; none where Vela is not installed.
    pub async fn applications(&self, namespace: &str) -> Result<Vec<DynamicObject>, Stop> {
        if !self.installed(nova_plan::adapters::vela::CRD) {
            return Ok(Vec::new());
        }
        let resource = resource(ChildKind::Application);
        self.listed(&Api::namespaced_with(self.client.clone(), namespace, &resource), "applications").await
    }

    async fn listed<K>(&self, api: &Api<K>, what: &str) -> Result<Vec<K>, Stop>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let doing = Doing { stage: DELETING, object: what };
        match tokio::time::timeout(CALL_TIMEOUT, list(api)).await {
            Err(_) => Err(stop::timed_out(doing)),
            Ok(Ok(items)) => Ok(items),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Ok(Vec::new()),
            Ok(Err(error)) => Err(self.failed(&error, doing)),
        }
    }

    /// Deletes Nova objects as part of a cascade; returns the problem to wait with while any is left.
    pub async fn cascade<K>(&self, objects: &[K]) -> Result<(), Stop>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let Some(first) = objects.first() else { return Ok(()) };
        for object in objects.iter().filter(|o| o.meta().deletion_timestamp.is_none()) {
            let namespace = object.namespace().unwrap_or_default();
            let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
            let only = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
            let what = format!("{} {namespace}/{}", K::kind(&()), object.name_any());
            self.delete(&api, &object.name_any(), only, &what).await?;
        }
        let object =
            format!("{} {}/{}", K::kind(&()), first.namespace().unwrap_or_default(), first.name_any());
        let message = format!("{} to delete first: {}", objects.len(), names(objects));
        Err(Problem { reason: Reason::Deleting, ..Problem::progress(DELETING, object, message) }.into())
    }

    /// Waits until the Applications of a namespace are gone: Vela takes down what they made.
    pub async fn applications_gone(&self, namespace: &str) -> Result<(), Stop> {
        let left = self.applications(namespace).await?;
        // The one that is deleted longest tells most.
        let Some(first) = left.iter().min_by_key(|a| a.metadata.deletion_timestamp.as_ref().map(|t| t.0))
        else {
            return Ok(());
        };
        let at = ChildRef {
            kind: ChildKind::Application,
            namespace: namespace.to_owned(),
            name: first.name_any(),
        };
        let live = serde_json::to_value(first).unwrap_or_default();
        if live.pointer("/metadata/deletionTimestamp").is_none()
            && live.pointer("/metadata/ownerReferences").is_none()
        {
            return Err(blocked(
                &at,
                format!(
                    "it was not made by KubeNova and is still there; {} in all: {}",
                    left.len(),
                    names(&left)
                ),
                format!("kubectl -n {namespace} delete application {}", at.name),
            )
            .into());
        }
        Err(waiting(&at, &live).into())
    }
}

/// A deletion that waits for an object on its way out, or that is blocked by it after a while.
fn waiting(at: &ChildRef, live: &Value) -> Problem {
    let mut problem = dying(DELETING, at, live);
    let status = live.pointer("/status/conditions").and_then(Value::as_array);
    let remaining: Vec<&str> = status
        .into_iter()
        .flatten()
        .filter(|c| c["status"] == "True" && c["type"].as_str().is_some_and(|t| t.starts_with("Namespace")))
        .filter_map(|c| c["message"].as_str())
        .collect();
    if !remaining.is_empty() {
        problem.message = format!("{}; {}", problem.message, remaining.join("; "));
    }
    let since = live.pointer("/metadata/deletionTimestamp").and_then(Value::as_str);
    let since: Option<jiff::Timestamp> = since.and_then(|t| t.parse().ok());
    if since.is_some_and(|at| jiff::Timestamp::now().as_second() - at.as_second() > PATIENCE_SECONDS) {
        problem.reason = Reason::DeletionBlocked;
        problem.code = Some(Code::Kn409);
        problem.class = BlockerClass::Platform;
    }
    problem.fix = match at.kind {
        ChildKind::Application => {
            "if it stays, see whether vela-core runs: kubectl -n vela-system get pods".into()
        }
        ChildKind::CapsuleTenant => {
            "if it stays, see whether Capsule runs: kubectl -n capsule-system get pods".into()
        }
        ChildKind::Namespace => {
            format!("if it stays, see what is left: kubectl describe namespace {}", at.name)
        }
        _ => problem.fix,
    };
    problem
}

/// A deletion that somebody has to make way for.
pub fn blocked(object: impl ToString, message: String, fix: String) -> Problem {
    Problem::new(DELETING, Reason::DeletionBlocked, object, message)
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(fix)
}

/// The first few names, and how many more there are.
pub fn names<K: ResourceExt>(objects: &[K]) -> String {
    let first: Vec<String> = objects.iter().take(NAMED).map(ResourceExt::name_any).collect();
    let more = objects.len().saturating_sub(NAMED);
    if more == 0 { first.join(", ") } else { format!("{} and {more} more", first.join(", ")) }
}
