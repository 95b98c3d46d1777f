//! The apps of a bench run: tenants and projects for them, the apps themselves, and what is done to them. Does I/O.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::World;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, ResourceExt as _};
use serde_json::{Value, json};

use super::observer::{End, Key, Wanted};

/// Requests at once.
pub const IN_FLIGHT: usize = 32;
/// Tenants, each with two projects.
const TENANTS: usize = 10;
const PROJECTS: [&str; 2] = ["one", "two"];
const IMAGE: &str = "nginxinc/nginx-unprivileged";
const TAG: &str = "1.29";

/// Kind of an object, as far as it is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `NovaApp`.
    App,
    /// An Application.
    Application,
}

impl Kind {
    /// Objects of this kind in a namespace.
    pub fn api(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        let (group, version, kind, plural) = match self {
            Self::App => ("kubenova.io", "v1alpha1", "NovaApp", "novaapps"),
            Self::Application => ("core.oam.dev", "v1beta1", "Application", "applications"),
        };
        let gvk = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, plural))
    }
}

/// Namespace and name of the app that shows what the operator writes.
pub fn sample() -> Key {
    (namespace(0, PROJECTS[0]), "bench-sample".to_owned())
}

/// So many apps, spread over all projects of all tenants.
pub fn places(count: usize) -> Vec<Key> {
    let namespaces: Vec<String> =
        (0..TENANTS).flat_map(|tenant| PROJECTS.map(|project| namespace(tenant, project))).collect();
    (0..count).map(|n| (namespaces[n % namespaces.len()].clone(), format!("app-{n}"))).collect()
}

/// So many apps of one tenant, those that [`places`] gives it among them.
pub fn places_of_one(count: usize, spread: usize) -> Vec<Key> {
    let (mut own, _) = split(places(spread));
    own.truncate(count);
    let missing = count - own.len();
    own.extend((0..missing).map(|n| (namespace(0, PROJECTS[n % PROJECTS.len()]), format!("more-{n}"))));
    own
}

/// Apps of that one tenant, and those of the others.
pub fn split(places: Vec<Key>) -> (Vec<Key>, Vec<Key>) {
    places.into_iter().partition(|(space, _)| PROJECTS.iter().any(|project| *space == namespace(0, project)))
}

fn namespace(tenant: usize, project: &str) -> String {
    format!("tn-bench{tenant}-app-{project}")
}

/// Image that an app has at first.
pub fn first_image() -> String {
    format!("{IMAGE}:{TAG}")
}

/// The first state of apps, to be waited for.
pub fn fresh(places: &[Key], end: End) -> impl Iterator<Item = (Key, Wanted)> {
    let image = first_image();
    places.iter().map(move |key| (key.clone(), Wanted::new(&image, end)))
}

/// Tenants and projects, Ready; the operator must be running.
pub async fn make_room(world: &World) -> Result<()> {
    let plan = json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaPlan", "metadata": {"name": "bench"},
        "spec": {"quotas": {"pods": 100_000}}});
    let mut documents = vec![plan.to_string()];
    for tenant in 0..TENANTS {
        documents.push(
            json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaTenant",
                "metadata": {"name": format!("bench{tenant}")}, "spec": {"plan": "bench"}})
            .to_string(),
        );
        for project in PROJECTS {
            documents.push(
                json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaProject",
                    "metadata": {"name": project, "namespace": format!("tn-bench{tenant}")}, "spec": {}})
                .to_string(),
            );
        }
    }
    world.apply_until_accepted(&documents, Duration::from_mins(3)).await?;
    for tenant in 0..TENANTS {
        world.ready(&format!("bench{tenant}"), Duration::from_mins(3)).await?;
    }
    Ok(())
}

/// Writes apps, in their first state.
pub async fn write(client: &Client, places: &[Key]) -> Result<()> {
    each(places, |key| async move {
        let api = Kind::App.api(client, &key.0);
        let params = PatchParams::apply("kubenova-bench").force();
        api.patch(&key.1, &params, &Patch::Apply(&app(key))).await.context("apply an app")?;
        Ok(())
    })
    .await
}

/// Deletes apps; garbage collection takes their Applications.
pub async fn delete(client: &Client, places: &[Key]) -> Result<()> {
    each(places, |key| async move {
        let api = Kind::App.api(client, &key.0);
        api.delete(&key.1, &DeleteParams::default()).await.context("delete an app")?;
        Ok(())
    })
    .await
}

/// Gives an app another tag, as a user does; the image is [`edited_image`].
pub async fn edit(client: &Client, key: &Key, turn: usize) -> Result<()> {
    let patch = json!({"spec": {"source": {"containerImage": {"tag": edited_tag(turn)}}}});
    let api = Kind::App.api(client, &key.0);
    api.patch(&key.1, &PatchParams::default(), &Patch::Merge(&patch)).await.context("edit an app")?;
    Ok(())
}

fn edited_tag(turn: usize) -> String {
    format!("{TAG}-e{turn}")
}

/// Image after an edit.
pub fn edited_image(turn: usize) -> String {
    format!("{IMAGE}:{}", edited_tag(turn))
}

/// Gives an Application an image that nobody wanted; returns its version then.
pub async fn spoil(client: &Client, key: &Key) -> Result<u64> {
    let component =
        json!({"name": key.1, "type": "webservice", "properties": {"image": "example.com/foreign:1"}});
    let patch = json!({"spec": {"components": [component]}});
    let api = Kind::Application.api(client, &key.0);
    let written = api.patch(&key.1, &PatchParams::default(), &Patch::Merge(&patch)).await;
    let version = written.context("change an Application")?.resource_version();
    version.and_then(|version| version.parse().ok()).context("an Application without a version")
}

/// Deletes an Application.
pub async fn delete_child(client: &Client, key: &Key) -> Result<()> {
    let api = Kind::Application.api(client, &key.0);
    api.delete(&key.1, &DeleteParams::default()).await.context("delete an Application")?;
    Ok(())
}

/// Does something to each place, [`IN_FLIGHT`] at once.
pub async fn each<'p, F>(places: &'p [Key], work: impl Fn(&'p Key) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    stream::iter(places).map(work).buffer_unordered(IN_FLIGHT).try_collect().await
}

fn app((namespace, name): &Key) -> Value {
    json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {"kind": "containerImage", "containerImage": {
            "image": IMAGE, "tag": TAG, "ports": [{"port": 8080, "expose": true}]}}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_keeps_its_own_apps_when_it_is_given_more() {
        let one = places_of_one(1000, 100);
        assert_eq!(one.len(), 1000);
        let (own, others) = split(places(100));
        assert_eq!((own.len(), others.len()), (10, 90));
        assert_eq!(one[..own.len()], own);
        assert!(others.iter().all(|key| !one.contains(key)));
        let mut names = one.clone();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), one.len());
    }

    #[test]
    fn of_more_than_enough_apps_one_tenant_gives_only_as_many_as_asked_for() {
        assert_eq!(places_of_one(1000, 20_000).len(), 1000);
    }
}
