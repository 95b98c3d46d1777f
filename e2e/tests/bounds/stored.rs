//! What is beyond a bound already may shrink and be deleted, and the operator finds room on it.

use anyhow::{Context as _, Result, ensure};
use e2e::eventually;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use nova_testkit::Identity;
use serde_json::json;

use crate::{MOST, PATIENCE, admin, app, apps, entries, finalizers, lengths, refused, told, world};

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_finds_room_on_an_object_that_is_full() -> Result<()> {
    let world = world().await?;
    let full = app("full", &json!({"finalizers": finalizers(8), "labels": entries("labels", 64)}));
    apps(&world.plane.admin().await?).create(&PostParams::default(), &serde_json::from_value(full)?).await?;
    let operator = apps(&world.plane.client(&Identity::operator()).await?);
    let mut more = finalizers(8);
    more.push("kubenova.io/novaapp".to_owned());
    let merge = Patch::Merge(json!({"metadata": {"finalizers": more}}));
    operator.patch("full", &PatchParams::default(), &merge).await.context("its finalizer")?;
    let status = Patch::Merge(json!({"status": {"phase": "Pending"}}));
    operator.patch_status("full", &PatchParams::default(), &status).await.context("its status")?;

    // What it added is no room for others, or they could make the object grow with each of its passes.
    let owner = apps(&world.plane.admin().await?);
    let merge = Patch::Merge(json!({"metadata": {"finalizers": finalizers(9)}}));
    let answer = owner.patch("full", &PatchParams::default(), &merge).await;
    refused(
        "a finalizer in the place of the operator's",
        answer,
        "KN-422: metadata.finalizers has 9 entries",
    )?;
    let edit = Patch::Merge(json!({"spec": {"displayName": "Full"}}));
    owner.patch("full", &PatchParams::default(), &edit).await.context("an ordinary edit")?;
    Ok(())
}

async fn gone(apps: &Api<DynamicObject>, name: &str) -> Result<()> {
    eventually(&format!("{name} is gone"), PATIENCE, async || match apps.get_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(live)) => Err(format!("{} finalizers", live.finalizers().len())),
        Err(error) => Err(error.to_string()),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_may_shrink_and_be_deleted_but_not_grow() -> Result<()> {
    let apps = apps(&admin().await?);
    let (name, params) = ("old-metadata", PatchParams::default());
    let live = apps.get(name).await?;
    ensure!(live.finalizers().len() == 50 && live.labels().len() == 106, "{:?}", live.metadata);
    for (field, most) in MOST {
        let merge = Patch::Merge(json!({"metadata": {field: entries(field, most + 43)}}));
        let words = format!("KN-422: metadata.{field} has {} entries", most + 43);
        refused(&format!("one of {field} more"), apps.patch(name, &params, &merge).await, &words)?;
    }
    let edit = Patch::Merge(
        json!({"metadata": {"labels": {"example.com/k0": "w"}}, "spec": {"displayName": "Old"}}),
    );
    apps.patch(name, &params, &edit).await.context("an edit that adds nothing")?;
    let one_less = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
    let one_less = Patch::Json::<()>(serde_json::from_value(one_less)?);
    apps.patch(name, &params, &one_less).await.context("a finalizer less")?;

    apps.delete(name, &DeleteParams::foreground()).await.context("the deletion")?;
    let live = apps.get(name).await.context("it waits for its finalizers")?;
    ensure!(
        live.metadata.deletion_timestamp.is_some() && live.finalizers().len() >= 49,
        "{:?}",
        live.metadata
    );
    apps.patch(name, &params, &one_less).await.context("a finalizer less while it is being deleted")?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    apps.patch(name, &params, &none).await.context("no finalizer")?;
    gone(&apps, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_already_may_stay_and_be_deleted_but_not_grow() -> Result<()> {
    let apps = apps(&admin().await?);
    let (name, params) = ("old-lengths", PatchParams::default());
    for (field, words) in [
        ("finalizers", "KN-422: metadata.finalizers has an entry of more than 128 characters"),
        ("annotations", "KN-422: metadata.annotations has 65539 bytes"),
        ("ownerReferences", "KN-422: metadata.ownerReferences names an owner with more than 253 characters"),
    ] {
        let longer = Patch::Merge(json!({"metadata": {field: lengths(2)[field]}}));
        refused(&format!("{field} that grow"), apps.patch(name, &params, &longer).await, words)?;
    }
    let edit = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"displayName": "Old"}}));
    apps.patch(name, &params, &edit).await.context("an edit of something else")?;
    apps.delete(name, &DeleteParams::default()).await.context("the deletion")?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    apps.patch(name, &params, &none).await.context("no finalizer")?;
    gone(&apps, name).await
}

/// Its deletion may end with `etcdserver: request is too large`, because it makes it larger: something has to go first.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_nobody_can_delete_can_be_mended() -> Result<()> {
    let apps = apps(&admin().await?);
    let (name, params) = ("old-finalizers", PatchParams::default());
    println!("| its deletion | {} |", told(apps.delete(name, &DeleteParams::default()).await));
    let one_less = json!([{"op": "remove", "path": "/metadata/finalizers/0"}]);
    apps.patch(name, &params, &Patch::Json::<()>(serde_json::from_value(one_less)?))
        .await
        .context("one less")?;
    let few = Patch::Merge(json!({"metadata": {"finalizers": finalizers(3)}}));
    apps.patch(name, &params, &few).await.context("a few")?;
    apps.delete(name, &DeleteParams::default()).await?;
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    apps.patch(name, &params, &none).await.context("none")?;
    gone(&apps, name).await
}
