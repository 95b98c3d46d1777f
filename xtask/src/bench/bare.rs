//! The bare client: the operator's own writes, copied from the audit log, without an operator. Does I/O.

use std::time::Instant;

use anyhow::{Context as _, Result};
use e2e::World;
use kube::Client;
use kube::api::{Patch, PatchParams};
use nova_testkit::Entry;
use serde_json::Value;

use super::measure::{self, server_cpu};
use super::observer::{End, Key, Observer};
use super::report::Bare;
use super::seen::Meta;
use super::workload::{self, Kind};
use super::{PATIENCE, operator::Operator};

/// A write of the operator, to be done again for another app.
#[derive(Clone, Debug)]
struct Write {
    kind: Kind,
    params: PatchParams,
    apply: bool,
    body: String,
}

/// What the operator writes for one app: its Application and the status that it has then.
#[derive(Clone, Debug)]
pub struct Template {
    uid: String,
    child: Write,
    status: Write,
}

impl Template {
    /// Lets the running operator deliver one app, and takes what it has written from the audit log.
    pub async fn take(world: &World, operator: &Operator, observer: &Observer) -> Result<Self> {
        let key = workload::sample();
        let places = [key.clone()];
        let mark = world.mark().await?;
        observer.want(workload::fresh(&places, End::Status));
        workload::write(&world.admin, &places).await?;
        observer.all(PATIENCE).await.context("the sample app")?;
        operator.check()?;
        let requests = measure::requests(world, mark).await?;
        let child = find(&requests, Kind::Application, &key)?;
        let status = find(&requests, Kind::App, &key)?;
        let api = Kind::App.api(&world.admin, &key.0);
        let uid = api.get(&key.1).await.context("read the sample app")?.metadata.uid;
        workload::delete(&world.admin, &places).await?;
        observer.empty(PATIENCE).await?;
        Ok(Self { uid: uid.context("an app without a UID")?, child, status })
    }

    async fn write(&self, write: &Write, client: &Client, key: &Key, app: &Meta) -> Result<()> {
        let body = self.body(write, key, app)?;
        let api = write.kind.api(client, &key.0);
        let patch = if write.apply { Patch::Apply(&body) } else { Patch::Merge(&body) };
        match write.kind {
            Kind::App => api.patch_status(&key.1, &write.params, &patch).await,
            Kind::Application => api.patch(&key.1, &write.params, &patch).await,
        }
        .with_context(|| format!("write {}/{} as the bare client", key.0, key.1))?;
        Ok(())
    }

    /// Does the operator's writes for apps that are there, [`workload::IN_FLIGHT`] at once, as the operator.
    pub async fn run(
        &self,
        world: &World,
        observer: &Observer,
        places: &[Key],
        round: usize,
    ) -> Result<Bare> {
        let client = world.plane.operator().await?;
        let apps = observer.parent_metas();
        let end = if world.plane.options().vela { End::Running } else { End::Status };
        observer.want(workload::fresh(places, end));
        let cpu = server_cpu(world)?;
        let start = Instant::now();
        workload::each(places, |key| {
            let (client, app) = (&client, apps.get(key));
            async move {
                let app = app.context("an app that was not seen")?;
                self.write(&self.child, client, key, app).await?;
                self.write(&self.status, client, key, app).await
            }
        })
        .await?;
        let done = observer.all(PATIENCE).await.context("the bare client")?;
        let after = server_cpu(world)?;
        Ok(Bare {
            round,
            seconds: done.saturating_duration_since(start).as_secs_f64(),
            writes: places.len() * 2,
            apiserver_cpu_seconds: after[0] - cpu[0],
            etcd_cpu_seconds: after[1] - cpu[1],
        })
    }

    /// The status that is written for an app.
    pub fn status_of(&self, key: &Key, app: &Meta) -> Result<Value> {
        Ok(self.body(&self.status, key, app)?["status"].take())
    }

    /// A body with the sample's names, UID and version replaced.
    fn body(&self, write: &Write, key: &Key, app: &Meta) -> Result<Value> {
        let sample = workload::sample();
        let text =
            write.body.replace(&self.uid, &app.uid).replace(&sample.0, &key.0).replace(&sample.1, &key.1);
        let mut body: Value = serde_json::from_str(&text).context("read a copied write")?;
        if write.kind == Kind::App
            && let Some(version) = body.pointer_mut("/metadata/resourceVersion")
        {
            *version = app.resource_version.clone().into();
        }
        Ok(body)
    }
}

/// The first write of the sample's Application, or of its status.
fn find(requests: &[Entry], kind: Kind, key: &Key) -> Result<Write> {
    let (resource, subresource) = match kind {
        Kind::App => ("novaapps", "status"),
        Kind::Application => ("applications", ""),
    };
    let entry = requests
        .iter()
        .find(|e| {
            let object = &e.object;
            e.is_write()
                && e.succeeded()
                && (object.resource.as_str(), object.subresource.as_str()) == (resource, subresource)
                && (&object.namespace, &object.name) == (&key.0, &key.1)
        })
        .with_context(|| {
            format!("the operator has not written {resource} {subresource} of the sample app")
        })?;
    let body = entry.body.as_ref().context("the audit log has no body of a write")?;
    let query = entry.uri.split_once('?').map_or("", |(_, query)| query);
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let params = PatchParams {
        field_manager: parameter("fieldManager"),
        force: parameter("force").as_deref() == Some("true"),
        ..PatchParams::default()
    };
    // Only an apply must name its kind.
    let apply = body.get("kind").is_some();
    Ok(Write { kind, params, apply, body: body.to_string() })
}
