//! What is written beyond a bound is refused, however it is written; what is within all bounds is not.

use anyhow::{Context as _, Result, ensure};
use e2e::{quickstart, root};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use nova_testkit::{Identity, Manifests};
use serde_json::{Value, json};

use crate::{
    MOST, admin, app, apps, create, entries, finalizer, finalizers, of_manifest, owner, put, refused,
    resource, told, world,
};

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_the_metadata_may_have_so_many_entries_and_no_more() -> Result<()> {
    let apps = apps(&admin().await?);
    for (field, most) in MOST {
        create(&apps, app("new", &json!({field: entries(field, most)}))).await?.context(field)?;
        let answer = create(&apps, app("new", &json!({field: entries(field, most + 1)}))).await?;
        refused(
            field,
            answer,
            &format!("KN-422: metadata.{field} has {} entries, more than {most}", most + 1),
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_annotations_and_owners_are_bounded_in_length_too() -> Result<()> {
    let apps = apps(&admin().await?);
    let long = |length: usize| json!({"finalizers": [finalizer(length)]});
    create(&apps, app("new", &long(128))).await?.context("the longest finalizer")?;
    let answer = create(&apps, app("new", &long(129))).await?;
    refused(
        "a long finalizer",
        answer,
        "KN-422: metadata.finalizers has an entry of more than 128 characters",
    )?;

    let annotations =
        |bytes: usize| json!({"annotations": {"a": "x".repeat(30_000), "b": "ä".repeat(bytes / 2)}});
    create(&apps, app("new", &annotations(35_534))).await?.context("the longest annotations")?;
    let answer = create(&apps, app("new", &annotations(35_536))).await?;
    refused("long annotations", answer, "KN-422: metadata.annotations has 65538 bytes, more than 65536")?;

    let owner = |length: usize| json!({"ownerReferences": [owner(&"x".repeat(length))]});
    create(&apps, app("new", &owner(253))).await?.context("the longest owner")?;
    let answer = create(&apps, app("new", &owner(254))).await?;
    refused("a long owner", answer, "KN-422: metadata.ownerReferences names an owner with more than 253")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_that_kubectl_keeps_beside_it_does_not_count() -> Result<()> {
    let apps = apps(&admin().await?);
    let manifest = "# a comment <of> \"words\"\n".repeat(8_000);
    let kept = of_manifest("new", &json!({}), &manifest).to_string();
    ensure!(kept.len() > 200_000, "only {} bytes", kept.len());
    let metadata = json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": kept}});
    create(&apps, of_manifest("new", &metadata, &manifest)).await?.context("as kubectl applies it")?;
    Ok(())
}

/// Larger than etcd takes with one field more: it could be stored, and deleted by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_nobody_could_delete_is_not_stored() -> Result<()> {
    let apps = apps(&admin().await?);
    let answer = create(&apps, app("new", &json!({"finalizers": finalizers(12_000)}))).await?;
    refused("twelve thousand finalizers", answer, "KN-422: metadata.finalizers has 12000 entries")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_bounded() -> Result<()> {
    let client = admin().await?;
    let folder = root().join("examples");
    let mut examples = Manifests::from_dir(&folder, "tn-acme")?.objects().to_vec();
    examples.extend_from_slice(Manifests::from_dir(&folder.join("quickstart"), "tn-acme")?.objects());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for crd in nova_api::crds::all() {
        let kind = &crd.spec.names.kind;
        let example = examples.iter().find(|object| object.types.as_ref().is_some_and(|t| t.kind == *kind));
        let mut object = match example {
            Some(example) => example.clone(),
            // The one kind that nobody makes by hand.
            None => serde_json::from_value(json!({"apiVersion": "kubenova.io/v1alpha1", "kind": kind,
                "metadata": {"name": "local"}, "spec": {}}))?,
        };
        let resource = resource(kind, &crd.spec.names.plural);
        let api: Api<DynamicObject> = match object.namespace().filter(|_| crd.spec.scope == "Namespaced") {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        // Another test applies the examples themselves.
        if kind != "NovaCluster" {
            object.metadata.name = Some("bounded".to_owned());
        }
        api.create(&dry, &object).await.with_context(|| format!("an ordinary {kind}"))?;
        object.metadata.finalizers = Some(finalizers(9));
        refused(kind, api.create(&dry, &object).await, "KN-422: metadata.finalizers has 9 entries")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_holds_however_an_object_is_written() -> Result<()> {
    let client = admin().await?;
    let apps = apps(&client);
    let words = "KN-422: metadata.finalizers has 9 entries";
    let mut generated = app("", &json!({"generateName": "some-", "finalizers": finalizers(9)}));
    generated["metadata"].as_object_mut().context("no metadata")?.remove("name");
    refused("generateName", create(&apps, generated).await?, words)?;

    let beyond = app("ways", &json!({"finalizers": finalizers(9)}));
    let apply = PatchParams::apply("someone").force();
    refused("apply of a new object", apps.patch("ways", &apply, &Patch::Apply(&beyond)).await, words)?;

    apps.create(&PostParams::default(), &serde_json::from_value(app("ways", &json!({})))?).await?;
    let unchanged = PatchParams::default();
    let merge = Patch::Merge(json!({"metadata": {"finalizers": finalizers(9)}}));
    refused("merge patch", apps.patch("ways", &unchanged, &merge).await, words)?;
    let add = json!([{"op": "add", "path": "/metadata/finalizers", "value": finalizers(9)}]);
    let json_patch = Patch::Json::<()>(serde_json::from_value(add)?);
    refused("JSON patch", apps.patch("ways", &unchanged, &json_patch).await, words)?;
    refused("apply", apps.patch("ways", &apply, &Patch::Apply(&beyond)).await, words)?;
    let mut whole = apps.get("ways").await?;
    whole.metadata.finalizers = Some(finalizers(9));
    refused("PUT", put(&client, &whole).await?, words)?;

    // One by one does not get there either.
    for most in 1..=8 {
        let merge = Patch::Merge(json!({"metadata": {"finalizers": finalizers(most)}}));
        apps.patch("ways", &unchanged, &merge).await.with_context(|| format!("{most} finalizers"))?;
    }
    refused("the ninth", apps.patch("ways", &unchanged, &merge).await, words)
}

/// The API server itself keeps metadata out of a write to the status; this notices should it change its mind.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_does_not_get_in_through_the_status() -> Result<()> {
    let apps = apps(&admin().await?);
    apps.create(&PostParams::default(), &serde_json::from_value(app("status", &json!({})))?).await?;
    let metadata = json!({"finalizers": finalizers(9), "labels": entries("labels", 65)});
    let merge = json!({"metadata": metadata, "status": {"phase": "Deployed"}});
    // An answer of 200 and one of 422 are both well, as long as nothing comes of it.
    let answer = apps.patch_status("status", &PatchParams::default(), &Patch::Merge(&merge)).await;
    println!("| metadata by a status | {} |", told(answer));
    let apply = PatchParams::apply("someone").force();
    let whole = app("status", &metadata);
    let answer = apps.patch_status("status", &apply, &Patch::Apply(&whole)).await;
    println!("| the same by apply | {} |", told(answer));
    let live = apps.get("status").await?;
    ensure!(live.finalizers().is_empty() && live.labels().is_empty(), "{:?}", live.metadata);
    Ok(())
}

/// Managers of updates are merged by Kubernetes; those of apply are as many as somebody can think of names.
#[tokio::test(flavor = "multi_thread")]
async fn field_managers_are_bounded() -> Result<()> {
    let client = admin().await?;
    let operator = apps(&world().await?.plane.client(&Identity::operator()).await?);
    let apps = apps(&client);
    apps.create(&PostParams::default(), &serde_json::from_value(app("managers", &json!({})))?).await?;
    let as_manager = async |number: usize, metadata: Value| {
        let mut object = app("managers", &metadata);
        object.as_object_mut().map(|object| object.remove("spec"));
        let params = PatchParams::apply(&format!("manager-{number}"));
        apps.patch("managers", &params, &Patch::Apply(&object)).await
    };
    // The one who made it is the first.
    for number in 1..32 {
        as_manager(number, json!({"labels": {format!("l{number}"): "x"}}))
            .await
            .with_context(|| format!("manager {number}"))?;
    }
    let answer = as_manager(32, json!({"labels": {"l32": "x"}})).await;
    refused("one manager more", answer, "KN-422: metadata.managedFields has 33 entries, more than 32")?;
    as_manager(31, json!({"labels": {"l31": "y"}})).await.context("a manager that is there already")?;
    as_manager(31, json!({})).await.context("a manager that takes its fields away")?;
    as_manager(32, json!({"labels": {"l32": "x"}})).await.context("another in its place")?;

    let finalizer = Patch::Merge(json!({"metadata": {"finalizers": ["kubenova.io/novaapp"]}}));
    let own = PatchParams { field_manager: Some("kubenova/app".to_owned()), ..PatchParams::default() };
    operator.patch("managers", &own, &finalizer).await.context("the operator")?;
    let mut live = apps.get("managers").await?;
    ensure!(live.managed_fields().len() == 33, "{:?}", live.managed_fields());
    let instead =
        live.managed_fields_mut().iter_mut().find(|entry| entry.manager.as_deref() == Some("manager-2"));
    instead.context("no such manager")?.manager = Some("manager-99".to_owned());
    let words = "KN-422: metadata.managedFields has 33 entries";
    refused("a manager in the place of another", put(&client, &live).await?, words)?;
    as_manager(32, json!({"labels": {"l32": "y"}})).await.map(drop).context("one that is there already")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_within_all_bounds() -> Result<()> {
    let world = world().await?;
    let mut documents = quickstart("acme")?;
    for entry in std::fs::read_dir(root().join("examples"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            documents.push(std::fs::read_to_string(path)?);
        }
    }
    ensure!(documents.len() >= 7, "only {} examples", documents.len());
    let client = world.plane.admin().await?;
    for document in documents {
        Manifests::from_yaml(&document, "default")?.apply(&client).await?;
    }
    Ok(())
}
