//! Objects by kind, namespace and name, and what the sections do with them. Does I/O.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::{World, any, eventually, message, reason};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

/// An object's place.
#[derive(Clone, Debug)]
pub struct Place {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespace: String,
    name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace =
            if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        write!(f, "{} {namespace}{}", self.kind, self.name)
    }
}

fn place(
    (group, version, kind, plural): (&'static str, &'static str, &'static str, &'static str),
    namespace: &str,
    name: &str,
) -> Place {
    Place { group, version, kind, plural, namespace: namespace.to_owned(), name: name.to_owned() }
}

pub fn plan(name: &str) -> Place {
    place(("kubenova.io", "v1alpha1", "NovaPlan", "novaplans"), "", name)
}

pub fn tenant(name: &str) -> Place {
    place(("kubenova.io", "v1alpha1", "NovaTenant", "novatenants"), "", name)
}

pub fn project(tenant: &str) -> Place {
    place(("kubenova.io", "v1alpha1", "NovaProject", "novaprojects"), &format!("tn-{tenant}"), "shop")
}

pub fn sandbox(tenant: &str) -> Place {
    place(("kubenova.io", "v1alpha1", "NovaSandbox", "novasandboxes"), &format!("tn-{tenant}"), "dev")
}

pub fn app(tenant: &str) -> Place {
    place(("kubenova.io", "v1alpha1", "NovaApp", "novaapps"), &format!("tn-{tenant}-app-shop"), "web")
}

pub fn application(tenant: &str, name: &str) -> Place {
    let kind = ("core.oam.dev", "v1beta1", "Application", "applications");
    place(kind, &format!("tn-{tenant}-app-shop"), name)
}

pub fn namespace(name: &str) -> Place {
    place(("", "v1", "Namespace", "namespaces"), "", name)
}

pub fn definition(name: &str) -> Place {
    let kind = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");
    place(kind, "", name)
}

pub fn network_policy(namespace: &str, name: &str) -> Place {
    place(("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"), namespace, name)
}

pub fn limit_range(namespace: &str) -> Place {
    place(("", "v1", "LimitRange", "limitranges"), namespace, "kubenova-limits")
}

pub fn role_binding(namespace: &str, name: &str) -> Place {
    place(("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"), namespace, name)
}

pub fn config_map(namespace: &str, name: &str) -> Place {
    place(("", "v1", "ConfigMap", "configmaps"), namespace, name)
}

impl Place {
    pub fn api(&self, world: &World) -> Api<DynamicObject> {
        if self.namespace.is_empty() {
            return any(&world.admin, self.group, self.version, self.kind, self.plural);
        }
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, self.plural);
        Api::namespaced_with(world.admin.clone(), &self.namespace, &resource)
    }

    pub async fn get(&self, world: &World) -> Result<Option<DynamicObject>> {
        self.api(world).get_opt(&self.name).await.with_context(|| format!("get {self}"))
    }

    pub async fn uid(&self, world: &World) -> Result<String> {
        let object = self.get(world).await?.with_context(|| format!("{self} is not there"))?;
        object.metadata.uid.context("an object without a UID")
    }

    pub async fn delete(&self, world: &World) -> Result<()> {
        let deleted = self.api(world).delete(&self.name, &DeleteParams::background()).await;
        deleted.map(drop).with_context(|| format!("delete {self}"))
    }

    pub async fn merge(&self, world: &World, patch: &Value) -> Result<()> {
        let patched = self.api(world).patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).with_context(|| format!("patch {self}"))
    }

    pub async fn set_policy(&self, world: &World, policy: &str) -> Result<()> {
        self.merge(world, &serde_json::json!({"spec": {"deletionPolicy": policy}})).await
    }

    /// Waits until it is gone, and tells how long that took.
    pub async fn gone(&self, world: &World, within: Duration) -> Result<Duration> {
        let start = Instant::now();
        eventually(&format!("{self} is gone"), within, async || match self.get(world).await {
            Ok(None) => Ok(()),
            Ok(Some(object)) => Err(format!("{}: {}", reason(&object), message(&object))),
            Err(error) => Err(format!("{error:#}")),
        })
        .await?;
        Ok(start.elapsed())
    }

    /// Waits until it is on its way out, but held.
    pub async fn is_going(&self, world: &World, within: Duration) -> Result<()> {
        eventually(&format!("{self} is being deleted"), within, async || match self.get(world).await {
            Ok(Some(object)) if object.metadata.deletion_timestamp.is_some() => Ok(()),
            Ok(Some(_)) => Err("it is not".to_owned()),
            Ok(None) => Err("it is gone".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })
        .await
    }

    /// Waits until it is there.
    pub async fn there(&self, world: &World, within: Duration) -> Result<()> {
        let start = Instant::now();
        while self.get(world).await?.is_none() {
            anyhow::ensure!(start.elapsed() < within, "{self} does not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until Ready has this reason and a message with all of these words in it, and gives back the message.
    pub async fn says(&self, world: &World, why: &str, words: &[&str], within: Duration) -> Result<String> {
        eventually(&format!("{self} says {why} and {words:?}"), within, async || {
            let object = self.get(world).await.map_err(|e| format!("{e:#}"))?;
            let object = object.ok_or("it is gone")?;
            let (found, text) = (reason(&object), message(&object));
            if found == why && words.iter().all(|word| text.contains(word)) {
                Ok(text.to_owned())
            } else {
                Err(format!("{found}: {text}"))
            }
        })
        .await
    }
}
